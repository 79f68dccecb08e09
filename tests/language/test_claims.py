"""What expect blocks claim (LANGUAGE.md section 12)."""

from __future__ import annotations

import numpy as np
import pytest

from diffgraph.diagnostics import DiffgraphError
from diffgraph.language.claims import check_claim, claimed_network, judge
from diffgraph.language.module import load_text

NET = (
    "net a(width = 2) {\ninput x[N, 3]\ntarget t[N, 1]\ny = x -> linear(width) as fc\n"
    "output y\noutput z = y -> tanh\nloss mean(y)\nmetric best = max(y)\n}\n"
)


class Facts:
    """Facts as they are given."""

    def __init__(self, **given):
        self.given = given

    def number(self, name):
        return self.given[name]

    def output(self, name, given, trained=False):
        return self.given["output"](name, *given.values())

    def initial(self, path):
        return np.asarray(self.given[path.replace(".", "_")])

    def trained(self, name):
        return self.given["trained"][name]

    def gradients(self):
        return self.given.get("gradients")

    def fused(self, paths):
        return set(paths) <= {"fc", "tanh1"}


def verdict(claim: str, settings: str = "", **facts):
    module = load_text(f"{NET}expect a{settings} {{\n{claim}\n}}")
    (block,) = module.expects
    network = claimed_network(block, module)
    check_claim(block.claims[0], module, network)
    return judge(block.claims[0], module, network, Facts(**facts))


def problem(claim: str, **facts):
    with pytest.raises(DiffgraphError) as caught:
        verdict(claim, **facts)
    (found,) = caught.value.diagnostics
    return found


def test_numbers_of_the_program():
    assert verdict("parameters == 8", parameters=8).holds
    found = verdict("parameters == 9", parameters=8)
    assert not found.holds and found.measured == "parameters is 8"
    assert verdict("macs / 2 <= 10 and kernels < 5", macs=20, kernels=4).holds
    assert verdict("peak_memory < 4 * 1024^2", peak_memory=2**20).holds


def test_shapes():
    assert verdict("z.shape == [N, 2]").holds
    assert verdict("z.shape == [N, 5]", settings="(width = 5)").holds
    assert not verdict("z.shape == [N, 3]").holds
    assert not verdict("z.shape == [7, 2]").holds
    assert verdict("fc.weight.shape == [2, 3]").holds
    assert verdict("x.shape[1] == 3").holds


def test_values_on_given_inputs():
    def output(name, x):
        assert name == "z" and x.tolist() == [[0, 1, 2]]
        return np.array([[0.3, 0.4]])

    assert verdict("z([[0, 1, 2]]) ~= [[0.3, 0.4]]", output=output).holds
    assert verdict("z([[0, 1, 2]]) ~= [[0.3005, 0.4]] within 1e-3", output=output).holds
    assert not verdict("z([[0, 1, 2]]) ~= [[0.3005, 0.4]] within 1e-4", output=output).holds
    assert verdict("z([[0, 1, 2]]) < 1", output=output).holds
    assert not verdict("z([[0, 1, 2]]) < 0.35", output=output).holds


def test_claims_are_formulas_over_what_is_measured():
    """Reductions, elements and shapes of an output on inputs; inputs by name; settings and symbols of the net."""
    given = {"output": lambda name, x: np.array([[0.25, 0.75]] * len(x))}
    for claim in (
        "sum(z([[0, 1, 2]])) ~= 1",
        "sum(z([[0, 1, 2]]), axis = 1) ~= [1]",
        "argmax(z([[0, 1, 2]]), axis = 1) == [1]",
        "z([[0, 1, 2]])[0, 1] == 0.75",
        "z(x = [[0, 1, 2]]).shape == [1, width]",
        "z([[0, 1, 2], [3, 4, 5]])[0] ~= z([[0, 1, 2]])[0]",
        "all(z([[0, 1, 2]]) > 0) and parameters == 8",
        "z.shape == [N, width]",
        "fc.weight.size == 3 * width",
        "norm(fc.bias) == 5",
        "fc.bias == [3, 4]",
    ):
        assert verdict(claim, parameters=8, fc_bias=[3, 4], **given).holds, claim
    assert not verdict("all(z([[0, 1, 2]]) > 0.5)", **given).holds
    assert problem("z(t = [[1]]) ~= 0", **given).code == "DG645"


def test_a_loss_on_inputs_and_targets():
    def output(name, x, t):
        assert name == "loss" and x.shape == (1, 3) and t.shape == (1, 1)
        return 0.5

    assert verdict("loss([[0, 1, 2]], [[1]]) < 1", output=output).holds


def test_equal_in_float32():
    assert verdict("fc.bias == 9.81", fc_bias=np.float32([9.81, 9.81])).holds
    assert not verdict("fc.bias == 9.81001", fc_bias=np.float32([9.81, 9.81])).holds


def test_outputs_after_training():
    given = dict(output=lambda name, x: np.array([[2.0, 2.0]]), trained={"loss": 0.1})
    assert verdict("trains to z([[0, 1, 2]]) ~= 2 within 0.1", **given).holds


def test_nearly_equal_is_relative():
    assert verdict("parameters ~= 1000.001", parameters=1000).holds
    assert not verdict("parameters ~= 1001", parameters=1000).holds


def test_initial_values():
    assert verdict("fc.bias == 0", fc_bias=[0, 0]).holds
    assert not verdict("fc.bias == 0", fc_bias=[0, 1]).holds


def test_training():
    trained = {"loss": 0.01, "best": 0.98, "fc.bias": np.array([9.805, 9.81])}
    assert verdict("trains to loss < 0.02", trained=trained).holds
    assert not verdict("trains to best > 0.99", trained=trained).holds
    assert verdict("trains to fc.bias ~= 9.81 within 0.01", trained=trained).holds
    assert not verdict("trains to fc.bias ~= 9.81 within 0.001", trained=trained).holds


def test_gradients():
    assert verdict("gradients ok").holds
    found = verdict("gradients ok", gradients="fc.weight is off")
    assert not found.holds and found.measured == "fc.weight is off"


def test_fusion():
    assert verdict("fused(fc, tanh1)").holds
    assert verdict("not fused(fc, fc.bias)").holds


def test_constants_and_functions_of_the_file():
    module = load_text("most = 10\nfn twice(n) = 2 * n\n" + NET + "expect a { parameters < twice(most) }")
    (block,) = module.expects
    network = claimed_network(block, module)
    check_claim(block.claims[0], module, network)
    assert judge(block.claims[0], module, network, Facts(parameters=19)).holds


def test_claims_that_mean_nothing():
    assert problem("paramters == 8").help == "did you mean `parameters`?"
    assert problem("trains to accuracy > 0.9").code == "DG641"
    assert problem("parameters", parameters=8).code == "DG640"
    assert problem("parameters < 9 within 1", parameters=8).code == "DG640"
    assert problem("z ~= 0").code == "DG642"
    assert problem("z([1, 2]) ~= [1, 2, 3]", output=lambda name, x: np.zeros(2)).code == "DG643"
