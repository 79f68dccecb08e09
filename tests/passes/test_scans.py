"""Loops of many steps in every surrounding: the passes change nothing, and neither does a checkpoint."""

import numpy as np
import pytest

from diffgraph.compiler import loads
from diffgraph.ir.interpret import interpret
from diffgraph.ir.verify import verify
from diffgraph.passes.pipeline import optimize

HEAD = """
fn soft_sign(x) = sign(x) with gradient(dy) = dy * exp(-x^2)

layer cell(units)(x, h) {
    param w[units, units] ~ normal(0, 0.4)
    y[n, i] = tanh(sum[j](w[i, j] * h[n, j]) + x[n, i])
    return y
}

layer loop(steps)(x[N, D]) {
    h = scan t in 0..steps from h = x KEPT { next h = (x, h) -> cell(D) as step }
    return h
}
"""

#: name -> the statements of a net of x[N, 3] that make y.
CASES = {
    "a layer in a for": "y = x\n for i in 0..2 { y = y -> loop(70) as block[i] }",
    "nested": """y = scan t in 0..66 from h = x KEPT {
        inner = scan s in 0..3 from g = h { next g = (x, g) -> cell(3) as step }
        next h = 0.5 * inner + 0.01 * t
    }""",
    "a gradient of one's own": """y = scan t in 0..70 from h = x KEPT {
        s[n, i] = sum[j](0.3 * x[n, j] * h[n, i])
        next h = 0.3 * soft_sign(s) + 0.9 * h
    }""",
    "several carries": """param k[3] = [0.5, 0.3, 0.2]
    p, v, c = scan t in 0..80 from p = x, v = 0 * x, c = 0 * floor(x[0, 0]) % 3 KEPT {
        next p = p + 0.05 * v
        next v = 0.98 * v - 0.05 * k * p
        next c = c + 1
    }
    y = p * v + c""",
    "inputs by the step": """param u[3, 3] ~ normal(0, 0.4)
    z[n, t < 72, i] = sin(x[n, i] * (t + 1))
    y = scan t in 0..72 from h = x KEPT { next h = tanh(z[:, t, :] @ u + h @ transpose(u, 0, 1)) }""",
    "a path backwards": """param u[3, 3] ~ normal(0, 0.4)
    path = scan t in 70..3 step -1 from h = x KEPT { next h = tanh(h @ u + 0.01 * t)\n yield h, h @ u }
    a, b = path
    y = mean(a * sin(b), axis = 0)""",
    "read by a sum over the steps and by the step": """param drag = 0.5
    param pull = 0.3
    y = scan t in 0..100 from p = x, v = 0.1 + x KEPT {
        speed = sqrt(sum(v^2) + 0.01)
        next p = p + 0.02 * v
        next v = v + 0.02 * (-pull - drag * speed * v)
        yield p
    }""",
    "one step": "y = scan t in 0..1 from h = x KEPT { next h = (x, h) -> cell(3) as step }",
    "no steps": "y = scan t in 0..0 from h = x KEPT { next h = (x, h) -> cell(3) as step }",
    "over the batch": """param w = 0.5
    s = scan t in 0..N from s = zeros([3]) KEPT { next s = sin(w * s + x[t]) }
    y = x * s""",
}


def values_of(program, rng):
    found = {}
    for i in program.inputs:
        shape = [s if isinstance(s, int) else 4 for s in i.tensor.shape]
        found[i.tensor.name] = 0 if i.role == "run" else 0.5 * rng.standard_normal(shape)
    return found


def gradients_of(name, kept="", second=False):
    """The program of a loss and its gradients; of the square of a gradient for the second ones."""
    loss = "sum(grad(sum(y^2), x)^2)" if second else "mean(y^2)"
    text = f"{HEAD}net case {{\ninput x[N, 3]\n{CASES[name]}\nloss {loss}\n}}".replace("KEPT", kept)
    net = loads(text)
    return net.gradient([*(v.path for v in net.network(True).parameters), "x"])


@pytest.mark.parametrize("name", CASES)
def test_passes_and_checkpoints_change_nothing(name):
    plain = gradients_of(name)
    given = values_of(plain, np.random.default_rng(0))
    expected = interpret(plain, given)
    expected = {o.name: expected[o.tensor] for o in plain.outputs}
    for kept in ("", "checkpoint 7"):
        program = gradients_of(name, kept)
        faster = optimize(program)
        verify(faster, name)
        found = interpret(faster, values_of(program, np.random.default_rng(0)))
        for o in faster.outputs:
            np.testing.assert_allclose(found[o.tensor], expected[o.name], rtol=1e-8, atol=1e-11, err_msg=o.name)


@pytest.mark.parametrize("name", ["a gradient of one's own", "several carries", "inputs by the step", "one step"])
def test_second_derivatives(name):
    plain = gradients_of(name, second=True)
    given = values_of(plain, np.random.default_rng(0))
    faster = optimize(plain)
    verify(faster, name)
    expected, found = interpret(plain, given), interpret(faster, given)
    for a, b in zip(plain.outputs, faster.outputs):
        np.testing.assert_allclose(found[b.tensor], expected[a.tensor], rtol=1e-7, atol=1e-10, err_msg=a.name)
