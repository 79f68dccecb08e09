"""What counts as a wrong derivative, and what does not."""

import numpy as np
import pytest

from diffgraph.compiler import loads
from diffgraph.inspect.gradcheck import check_net


def verdict(statements: str, head: str = ""):
    text = f"{head}\nnet n {{\n    input x[N, 3]\n{statements}\n}}"
    return check_net(loads(text, target="reference", precision="f64"))


def test_a_minimum_is_no_kink():
    (c,) = [c for c in verdict("    param w = 0\n    loss mean(x^2) + w^2") if c.path == "w"]
    assert c.ok and c.derivative == 0 and abs(c.difference) < 1e-6


def test_a_net_that_starts_on_a_kink_is_compared_beside_it():
    statements = "    param b[3] = 0\n    loss mean(relu(b + 0 * x)) + mean(x)"
    assert all(c.ok and np.isfinite(c.derivative) for c in verdict(statements))


def test_what_stop_gradient_gives_is_held():
    loss = "    loss mean(stop_gradient(exp(w)) * w * x) + mean(stop_gradient(x) * x)"
    statements = f"    param w[3] ~ normal(0, 1)\n{loss}"
    assert all(c.ok for c in verdict(statements))
    loop = "    s = scan t in 0..3 from s = x { next s = tanh(s * stop_gradient(s + 1)) }\n    loss mean(s)"
    assert all(c.ok for c in verdict(loop))


def test_inputs_are_such_as_a_formula_can_take():
    assert all(c.ok for c in verdict("    loss mean(log(x) + sqrt(x))"))
    assert all(c.ok for c in verdict("    assert all(x > 0), \"positive\"\n    loss mean(x^1.5)"))


@pytest.mark.parametrize("rule, right", [("2 * x * dy", True), ("3 * x * dy", False), ("dy", False)])
def test_a_wrong_rule_of_ones_own_is_found(rule, right):
    found = verdict("    loss mean(square(x))", f"fn square(x) = x^2 with gradient(dy) = {rule}")
    assert all(c.ok for c in found) is right


def test_an_own_gradient_of_a_function_of_ints_is_used():
    text = """fn spike(v) = where(v > 0, 1, 0) with gradient(dy) = dy / (1 + abs(v))^2
    net n { input x[N, 2]; output y = spike(x); loss sum(y) }"""
    net = loads(text, target="reference", precision="f64")
    _, gradients = net.gradients(wrt=["x"], x=[[1.0, -3.0]])
    np.testing.assert_allclose(gradients["x"], [[1 / 4, 1 / 16]])
