"""Programs whose samples are side by side in memory: against the interpreter, with a last block that is not full."""

import numpy as np
import pytest

import diffgraph as dg
from diffgraph.runtime.variants import MANY, BySamples

#: What fills up the last block reads zeros: a logarithm or a quotient of them must not be seen anywhere.
NETS = {
    "windows": ((2, 9, 8), """
        h = log(x) -> conv(5, 3, pad = 1) -> tanh -> avgpool(2)
        y = h -> conv(6, 3, pad = 1) -> global_avgpool -> linear(3)"""),
    "matrices": ((3,), """
        h = (1 / x) -> linear(7) -> tanh -> dropout(0.3) -> linear(6) -> softplus
        y = h -> linear(3)"""),
}  # fmt: skip


def net_of(name, target, threads=None):
    shape, text = NETS[name]
    sizes = ", ".join(map(str, ("N", *shape)))
    body = f"input x[{sizes}]\ntarget t[N, 3]\n{text}\noutput y\nloss mean((y - t)^2)"
    precision = "f64" if target == "reference" else "f32"
    return dg.loads(f"net example {{\n{body}\n}}", target=target, precision=precision, threads=threads, seed=3)


def samples(name, batch, rng):
    return {"x": 0.5 + rng.random((batch, *NETS[name][0])), "t": rng.standard_normal((batch, 3))}


@pytest.mark.parametrize("name", NETS)
def test_interleaved_samples_mean_the_same(name, rng):
    ours, theirs = net_of(name, "cpu"), net_of(name, "reference")
    assert isinstance(ours.training_executable(), BySamples)
    for batch in (19, 16):
        given = samples(name, batch, rng)
        (loss, found), (expected_loss, expected) = (n.gradients(**given) for n in (ours, theirs))
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        for path, gradient in expected.items():
            scale = max(1e-3, float(np.abs(gradient).max()))
            np.testing.assert_allclose(found[path], gradient, 1e-4, 1e-5 * scale, err_msg=path)


def test_few_samples_are_not_interleaved(rng):
    ours, theirs = (net_of("windows", target) for target in ("cpu", "reference"))
    executable = ours.inference_executable()
    x = samples("windows", MANY, rng)["x"]
    few, many = (executable.for_inputs({"x": x[:n]}) for n in (MANY - 1, MANY))
    blocks = [any(len(t.shape) == 5 for t in part.program.tensors.values()) for part in (few, many)]
    assert blocks == [False, True]
    for _ in range(2):
        for n in (MANY - 1, MANY):
            np.testing.assert_allclose(ours(x=x[:n])["y"], theirs(x=x[:n])["y"], 1e-4, 1e-5)
        # What is written to parameters is seen by both.
        for net in (ours, theirs):
            net.parameters["linear1.bias"] = np.full(3, 2.0)


def test_what_an_axis_of_one_element_holds_is_made_before_it_is_read(rng):
    """The place on such an axis is 0 whatever its loop is: the mean must not be read before that loop."""
    text = "net example {\ninput x[N, 24, 1, 2]\ny = x -> layernorm\noutput y\n}"
    ours, theirs = (dg.loads(text, target=target, precision="f64") for target in ("cpu", "reference"))
    x = rng.standard_normal((MANY - 1, 24, 1, 2))
    np.testing.assert_allclose(ours(x=x)["y"], theirs(x=x)["y"], 1e-9, 1e-12)


def test_filter_gradients_go_block_by_block():
    source = net_of("windows", "cpu").training_executable().source()
    assert "along=True" in source and ".pause(" in source


def test_the_same_bits_for_any_number_of_threads(rng):
    given = samples("windows", 64, rng)
    (one, first), (two, second) = (net_of("windows", "cpu", threads).gradients(**given) for threads in (1, 2))
    assert one == two
    for path, gradient in first.items():
        np.testing.assert_array_equal(gradient, second[path], err_msg=path)
