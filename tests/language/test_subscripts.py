"""Subscripts of whole tensors (LANGUAGE.md section 6: as in NumPy), guards outside of index notation, `~=`, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from elaboration import body, problem, run

A = np.arange(6.0).reshape(2, 3)
R = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
K, KK, J = np.array([1, 0, 2]), np.array([[0, 1], [2, 2]]), np.array([3, 1])


def value(text: str, ports: str, head: str = "", **inputs):
    statements = text if "y = " in text else f"y = {text}"
    return run(f"{ports}\n{statements}\noutput y", head, **inputs)["y"]


@pytest.mark.parametrize("shape", ["[2, 3]", "[N, C]"])
@pytest.mark.parametrize(
    "text, expected",
    [
        ("x[::2]", A[::2]),
        ("x[:, ::2]", A[:, ::2]),
        ("x[:, 1::2]", A[:, 1::2]),
        ("x[::-1]", A[::-1]),
        ("x[:, ::-2]", A[:, ::-2]),
        ("x[..., ::-1]", A[..., ::-1]),
        ("x[:, range(2)]", A[:, :2]),
        ("x[:, 0..2]", A[:, :2]),
    ],
)
def test_slices_with_steps(shape, text, expected):
    np.testing.assert_array_equal(value(text, f"input x{shape}", x=A), expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("x[:, 2:0:-1]", A[:, 2:0:-1]),
        ("x[:, [0, -1]]", A[:, [0, -1]]),
        ("x[:, 2..0 step -1]", A[:, [2, 1]]),
        ("[1, 2, 3, 4][::-2] + x[0, 0]", [4, 2]),
        ("range(2, 5)", [2, 3, 4]),
        ("range(5, 0, -2)", [5, 3, 1]),
        ("range(4)", [0, 1, 2, 3]),
        ("transpose(x, 1, 0)", A.T),
        ("transpose(x, [1, 0])", A.T),
        ("reshape(x, 3, -1)", A.reshape(3, 2)),
        ("zeros(2, 1) + ones([2])", np.ones((2, 2))),
        ("eye(2, 3)", np.eye(2, 3)),
        ("x ~= [0, 1.000001, 2.1]", [[True, True, False], [False, False, False]]),
        ("1 if 3 ~= 3.00001 and not (3 ~= 3.001) else 0", 1),
    ],
)
def test_without_indices(text, expected):
    np.testing.assert_array_equal(value(text, "input x[2, 3]", x=A), expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("x[:, k]", R[:, KK]),
        ("x[:, k, j]", R[:, KK, J]),
        ("x[..., k]", R[..., KK]),
        ("x[:, k, 0]", R[:, KK, 0]),
        ("x[range(2) % 2, k]", R[np.arange(2), KK]),
        ("transpose(x, 0, 2, 3, 1)", R.transpose(0, 2, 3, 1)),
        ("[10, 20, 30][k]", np.array([10, 20, 30])[KK]),
        ("(x[:, k - 1] else 7)[:, 0, 0]", np.full((2, 4, 5), 7.0)),
    ],
)
def test_gathers(text, expected):
    ports = "input x[2, 3, 4, 5]; input k[2, 2]: int < 3; input j[2]: int < 4"
    np.testing.assert_array_equal(value(text, ports, x=R, k=KK, j=J), expected)


def test_the_derivative_of_a_gather_adds_up():
    found = value("grad(sum(x[k]^2), x)", "input x[2, 3]; input k[3]: int < 2", x=A, k=np.array([1, 1, 0]))
    np.testing.assert_allclose(found, 2 * A * [[1], [2]])


@pytest.mark.parametrize(
    "step, expected",
    [
        ("(x[:, t - 1] else 0)", [0 * A[:, 0], A[:, 0], A[:, 1]]),
        ("2 * (x[:, t - 1] else -1)", [0 * A[:, 0] - 2, 2 * A[:, 0], 2 * A[:, 1]]),
        ("(x[:, t - 1] + x[:, t + 1] else x[:, 0])", [A[:, 0], A[:, 0] + A[:, 2], A[:, 0]]),
        ("(x[0, 5 * t] else 1)", [0, 1, 1]),
    ],
)
def test_guards_in_a_loop(step, expected):
    found = value(f"y = scan t in 0..3 {{ yield {step} }}", "input x[2, 3]", x=A)
    np.testing.assert_allclose(found, expected)


def test_the_derivative_of_a_guard_in_a_loop():
    text = "y = grad(scan t in 0..3 from s = 0 { next s = s + sum((x[:, t - 1] else 0)^2) }, x)"
    np.testing.assert_allclose(value(text, "input x[2, 3]", x=A), 2 * A * [1, 1, 0])


@pytest.mark.parametrize(
    "text, code, help",
    [
        ("x[:, 5]", "DG355", "its places are 0 to 2"),
        ("x[:, [0, 3]]", "DG355", "its places are 0 to 2"),
        ("x[:, k]", "DG422", "`% 3` or `clamp(..., 0, 2)`"),
        ("x[x > 0]", "DG354", "where(mask, x, 0)"),
        ("x[:, x]", "DG354", "int(...)"),
        ("x[:, ::0]", "DG354", None),
        ("[1, 2, 3][::0]", "DG354", None),
        ("x[[0], :, [1]]", "DG411", None),
        ("transpose(x, 0, 0, 1)", "DG340", "each of its 2 axes once"),
        ("reshape(x)", "DG233", "shape = "),
        ("zeros([2], shape = [3])", "DG232", "leave"),
        ("(x[:, 0] else 0)", "DG407", None),
        ("scan t in 0..4 { yield x[:, t] }", "DG422", "let the scan run to 3"),
    ],
)
def test_what_cannot_be_read(text, code, help):
    found = problem(body(f"input x[2, 3]; input k[2]: int\ny = {text}\noutput y"))
    assert found.code == code
    assert help is None or help in found.help


def test_places_on_both_sides_of_a_slice():
    text = "input x[2, 3, 4, 5]; input k[2, 2]: int < 2\ny = x[k, :, k]\noutput y"
    assert problem(body(text)).code == "DG354"


def test_a_function_gives_several_values():
    head = "fn two(x) = x, x^2\nfn times(a, b) = a * b with gradient(dy) = dy * 2, dy * 3"
    np.testing.assert_allclose(value("p, q = two(x)\ny = p + q", "input x[2, 3]", head, x=A), A + A**2)
    np.testing.assert_allclose(value("grad(times(x, x + 0), x)", "input x[2, 3]", head, x=A), np.full((2, 3), 5.0))


def test_a_parameter_called_like_a_table_of_the_compiler():
    """Lists become constants of the program, which no name of the user means."""
    from diffgraph.compiler import loads

    text = "net a { input x[N, 3]\nparam table[3] = 2\noutput y = x * table + [1, 2, 3] }"
    np.testing.assert_allclose(loads(text, target="reference")(x=np.ones((1, 3)))["y"], [[3, 4, 5]])
