"""A step of training that fits into a given memory, with the same numbers; or an error that says by how much it does
not."""

import numpy as np
import pytest

import diffgraph as dg
from diffgraph.diagnostics import DiffgraphError
from diffgraph.inspect.memory import peak_bytes
from diffgraph.runtime.amounts import bytes_of_text, readable
from diffgraph.runtime.fit import arena_bytes, kept_bytes

NET = """
net example {
    input  x[N, 24]
    target t[N, 24]
    h = x
    for k in 0..6 { h = tanh(h -> linear(24)) }
    output h
    loss mse(h, t)
}
train example {
    optimizer sgd(lr = 0.1, momentum = 0.9)
    epochs 2
    batch 64
}
"""


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((128, 24)), rng.standard_normal((128, 24)) * 0.1


def needed(net):
    """Bytes of a gradient of 64 samples without a limit."""
    program = net.optimized(net.gradient([v.path for v in net.network(True).parameters]))
    return kept_bytes(program, {"N": 64}, "f64"), arena_bytes(program, {"N": 64}, "f64")


def test_gradients_in_less_memory():
    x, t = (a[:64] for a in data())
    free = dg.loads(NET, precision="f64")
    kept, between = needed(free)
    limit = kept + int(0.8 * between)
    tight = dg.loads(NET, precision="f64", memory=limit)
    (loss, expected), (other, found) = (n.gradients(x=x, t=t) for n in (free, tight))
    assert other == loss
    for path in expected:
        np.testing.assert_allclose(found[path], expected[path], rtol=1e-12)
    (executable,) = [e for key, e in tight._made.items() if key[0] == "gradients"]
    assert peak_bytes(executable.memory({"N": 64})) <= limit


def test_training_in_less_memory():
    free, tight = dg.loads(NET, precision="f64"), dg.loads(NET, precision="f64", memory="135 kB")
    a, b = (n.train(data()) for n in (free, tight))
    assert a.losses == pytest.approx(b.losses, rel=1e-12)


def test_what_cannot_fit_is_told():
    net = dg.loads(NET, precision="f64", memory="30 kB")
    x, t = (a[:64] for a in data())
    with pytest.raises(DiffgraphError, match=r"DG815.*at least, .* more than the 29.3 KiB"):
        net.gradients(x=x, t=t)


@pytest.mark.parametrize(
    ("text", "amount"), [("2GiB", 2 << 30), ("500 MB", 500_000_000), ("1.5kib", 1536), (77, 77), ("12", 12)]
)
def test_amounts(text, amount):
    assert bytes_of_text(text) == amount


@pytest.mark.parametrize("text", ["", "GiB", "-3", "2 GiG", 0, True, "0"])
def test_no_amounts(text):
    with pytest.raises(DiffgraphError, match="DG816"):
        bytes_of_text(text)


def test_amounts_as_a_person_reads_them():
    assert [readable(n) for n in (3, 1536, 3 << 20, 5 << 30)] == ["3 bytes", "1.5 KiB", "3 MiB", "5 GiB"]
