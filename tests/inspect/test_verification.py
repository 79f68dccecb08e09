"""A program through every pass and on the cpu, against the interpreter."""

from diffgraph.compiler import loads
from diffgraph.inspect.verification import verify_net


def test_results_of_every_kind_are_compared():
    text = "net n { input k[N, 4]: int < 5; output a = k > 2; output b = sum(k, axis = 1); output c = k / 2 }"
    steps = verify_net(loads(text, precision="f64"))
    assert all(s.ok for s in steps) and steps[-1].name == "cpu"


def test_inputs_are_such_as_a_formula_can_take():
    assert all(s.ok for s in verify_net(loads("net n { input x[N, 3]; loss mean(log(x)) }", precision="f64")))
