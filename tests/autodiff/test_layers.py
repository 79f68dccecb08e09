"""First and second derivatives of the usual layers, against PyTorch and against finite differences."""

import numpy as np
import pytest
from checks import by_difference, by_torch
from layers import LAYERS

#: Not twice differentiable, or not smooth where they are tried.
KINKED = {"maxpool with ties", "selected logarithm"}


@pytest.mark.parametrize("name", LAYERS)
def test_against_torch(name):
    F = pytest.importorskip("torch.nn.functional")
    case, result, formula = LAYERS[name]()
    errors = by_torch(case, result, lambda **leaves: formula(F, **leaves))
    assert max(errors) < 1e-10, errors


@pytest.mark.parametrize("name", [n for n in LAYERS if n not in KINKED])
def test_against_differences(name):
    case, result, _ = LAYERS[name]()
    total = case.close(result)
    found = case.gradients(total)
    assert all(found.values())
    assert by_difference(case, total, found) < 1e-7
    second = case.weighed_gradients(found)
    assert by_difference(case, second, case.gradients(second)) < 1e-6


def test_a_wrong_derivative_is_caught(monkeypatch):
    from dataclasses import replace

    from diffgraph.autodiff import adjoint
    from diffgraph.ir import scalar

    wrong = replace(scalar.FUNCTIONS["exp"], derivative=lambda call: (scalar._mul(0.999, call),))
    monkeypatch.setitem(scalar.FUNCTIONS, "exp", wrong)
    adjoint.adjoint.cache_clear()
    try:
        case, result, _ = LAYERS["radial basis"]()
        total = case.close(result)
        assert by_difference(case, total, case.gradients(total)) > 1e-5
    finally:
        adjoint.adjoint.cache_clear()


def test_the_gradient_of_a_tie_goes_to_the_first():
    from checks import Case

    case = Case({"x": np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])}, "x")
    case.let("y[n] = max[d](x[n, d])")
    total = case.let("s = sum[n](y[n])")
    (gradient,) = case.run(case.gradients(total)["x"])
    assert gradient.tolist() == [[0, 1, 0], [1, 0, 0]]
