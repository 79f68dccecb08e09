"""Loops whose samples are apart: threads go through them share by share, and every batch gives what the interpreter gives, the
same bits with one thread and with two."""

import numpy as np
import pytest

from diffgraph.compiler import loads
from diffgraph.ir.dimension import symbol
from diffgraph.kernels.apart import BATCHED, SAME, SUM, Samples
from diffgraph.kernels.regions import Region, divided
from diffgraph.kernels.steps import shares_of_samples
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.passes.pipeline import optimize

#: name -> a net with a loop, as text. 
NETS = {
    "states are read outside": """
        input x[N, 6, 4]
        target y[N, 5]
        h = x -> rnn(5)
        output last = h[:, 5, :]
        output h
        loss mse(last, y)""",
    "chunks and checkpoints": """
        input x[N, 70, 3]
        target y[N, 4]
        h = scan t in 0..70 from h = zeros([N, 4]) checkpoint 12 { next h = (x[:, t, :], h) -> rnn_cell(4) }
        loss mse(h, y)""",
    "two loops, and all samples between them": """
        input x[N, 5, 4]
        target y[N, 4]
        a = x -> rnn(4)
        h = (a - mean(a, axis = 0)) -> rnn(4)
        loss mse(h[:, 2, :], y)""",
    "a sum of rows": """
        input x[N, 6, 4]
        target y[N, 4]
        s = scan t in 0..6 from s = zeros([N, 4]), h = zeros([N, 4]) {
            next s = s + x[:, t, :]
            next h = tanh(h * s)
            yield s * t + h
        }
        z = mean(s, axis = 0)
        loss mse(z, y)""",
    "sums and counts are carried": """
        input x[N, 5, 4]
        target y[N, 3]
        param w[3, 4] = 0.1
        s, h = scan t in 0..5 from s = zeros([3, 4]), h = zeros([N, 3]) {
            next s = s + w * t
            next h = tanh(h + x[:, t, :] @ transpose(s, 0, 1) + t)
        }
        output s
        output h
        loss mse(h, y)""",
}


def ragged(text, threads, target="cpu"):
    """Outputs, loss and gradients for batches of many sizes."""
    net = loads(f"net m {{{text}}}", precision="f64", threads=threads, target=target)
    rng = np.random.default_rng(7)
    inputs = net.network().inputs
    for samples in (1, 8, 13, 70):
        arrays = {
            i.name: rng.standard_normal([s if isinstance(s, int) else samples for s in i.tensor.shape])
            for i in (*inputs, *net.network().targets)
        }
        loss, gradients = net.gradients(**arrays, wrt=["x"] if "axis" in text else None)
        outputs = net(x=arrays["x"]) if "output" in text else {}
        yield {**outputs, **gradients, "loss": np.array(loss)}


@pytest.mark.parametrize("name", NETS)
def test_every_batch_agrees_with_the_interpreter_bit_by_bit_the_same_on_two_threads(name):
    runs = zip(*(list(ragged(NETS[name], *how)) for how in ((1,), (2,), (1, "reference"))))
    for one, two, reference in runs:
        for key, expected in reference.items():
            assert np.array_equal(one[key], two[key]), key
            np.testing.assert_allclose(one[key], expected, rtol=1e-9, atol=1e-12, err_msg=key)


def regions(name):
    """The regions of the training program of a net."""
    from diffgraph.inspect.stages import gradient_program

    network = elaborate(load_text(f"net m {{{NETS[name]}}}"), training=True)
    program = optimize(gradient_program(network))
    return [p for p in divided(program, list(program.statements), frozenset(program.roots)) if isinstance(p, Region)]


@pytest.mark.parametrize(("name", "count", "sums"), [("states are read outside", 1, 5), ("chunks and checkpoints", 1, 9)])
def test_a_loop_and_its_derivative_are_one_region(name, count, sums):
    found = regions(name)
    assert len(found) == count
    # The loss, and the gradients by weights and biases: twice where some steps are left over.
    assert len(found[0].sums) == sums
    assert set(found[0].views) <= {"x", "y"}


def test_samples_that_look_at_each_other_are_not_apart():
    (program,) = [elaborate(load_text(f"net m {{{text}}}")).program for text in (
        """input x[N, 3]
           input w[3, 3]
           output a = x @ w
           output b = sum(x, axis = 0)
           output c = x @ transpose(x, 0, 1)
           d[n, k] = x[n, k] * n
           output d
           e[n < 4, k] = (x[n - 1, k] else 0)
           output e""",)]  # fmt: skip
    samples = Samples(symbol("N"))
    known = {i.tensor.name: samples.kind_of(i.tensor) for i in program.inputs}
    assert known == {"x": BATCHED, "w": SAME}
    found = {}
    for output in program.outputs:
        made = samples.judge(program.maker[output.tensor], program.tensors, known)
        found[output.name] = made and made[output.tensor]
    assert found == {"a": BATCHED, "b": SUM, "c": None, "d": None, "e": None}


def test_shares_cover_every_batch():
    for samples in range(1, 500):
        size, count = shares_of_samples(samples)
        assert (count - 1) * size < samples <= count * size
        assert size <= 32
