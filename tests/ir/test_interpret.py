"""The executable specification, against NumPy written by hand."""

import numpy as np
import pytest

from diffgraph.diagnostics import CompilerBug, DiffgraphError
from diffgraph.ir import evaluate
from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import symbol
from diffgraph.ir.evaluate import evaluate_form
from diffgraph.ir.expression import Call, Const, Extent, Index, Read
from diffgraph.ir.form import OPS, Form, Operand
from diffgraph.ir.interpret import argsort, interpret, solve_sizes
from diffgraph.ir.program import Argsort, Builder, Carry, Check, Definition, Output, Scan, Tensor, Term, Yield

N = symbol("N")
generator = np.random.default_rng(0)


def places(*axes):
    return tuple(index(k) for k in axes)


def reduction(op, shape, kind="float"):
    """y[k, i] = op[j](x[i, j, k])"""
    body = Read(0, places(0, 1, 2), None)
    return Form(shape, op, places(2, 0), (shape[2], shape[0]), (Operand(shape, kind),), body)


@pytest.fixture(params=[1 << 22, 7, 1], ids=["whole", "boxes", "points"])
def points(request, monkeypatch):
    """However the domain is cut, the result is the same."""
    monkeypatch.setattr(evaluate, "POINTS", request.param)


@pytest.mark.parametrize("op", OPS)
def test_reductions(op, points):
    x = np.round(generator.standard_normal((4, 5, 3)))
    x[1, 2, 0] = np.nan
    np.testing.assert_array_equal(evaluate_form(reduction(op, (4, 5, 3)), [x]), getattr(np, op)(x, axis=1).T)


@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_the_first_extreme_wins_and_nan_is_extreme(op, points):
    x = np.array([[3, 1, 3], [1, 1, 5], [2, np.nan, np.nan]])[:, :, None]
    found = evaluate_form(reduction(op, (3, 3, 1)), [x])
    np.testing.assert_array_equal(found, getattr(np, op)(x, axis=1).T)


def test_extremes_over_two_axes_are_row_major(points):
    x = np.array([[1, 7, 2], [7, 7, 0]])
    form = Form((2, 3), "argmax", (), (), (Operand((2, 3)),), Read(0, places(0, 1), None))
    assert evaluate_form(form, [x]) == 1


@pytest.mark.parametrize(
    "op, expected",
    [("sum", 0), ("prod", 1), ("max", -np.inf), ("min", np.inf), ("argmax", 0), ("any", False), ("all", True)],
)
def test_nothing_reduces_to_the_identity(op, expected):
    found = evaluate_form(reduction(op, (2, 0, 3)), [np.zeros((2, 0, 3))])
    assert found.shape == (3, 2)
    assert (found == expected).all()


def test_empty_results_and_symbols():
    form = Form((N, 3), "sum", places(0), (N,), (Operand((N, 3)),), Read(0, places(0, 1), None))
    assert evaluate_form(form, [np.zeros((0, 3))], {"N": 0}).shape == (0,)
    assert evaluate_form(form, [np.ones((2, 3))], {"N": 2}).tolist() == [3, 3]


def test_bools_count(points):
    x = generator.standard_normal((4, 5, 3)) > 0
    found = evaluate_form(reduction("sum", (4, 5, 3), "bool"), [x])
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, x.sum(axis=1).T)


def test_a_padded_convolution(points):
    x, w = generator.standard_normal((2, 3, 6)), generator.standard_normal((4, 3, 3))
    at = affine(-1, [(Index(2), 2), (Index(4), 1)])
    body = Call("mul", (Read(0, (*places(0, 3), at), Const(0.0)), Read(1, places(1, 3, 4), None)))
    form = Form((2, 4, 3, 3, 3), "sum", places(0, 1, 2), (2, 4, 3), (Operand(x.shape), Operand(w.shape)), body)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
    windows = np.stack([padded[:, :, 2 * i : 2 * i + 3] for i in range(3)])
    expected = np.einsum("incp,ocp->noi", windows.transpose(0, 1, 2, 3), w)
    np.testing.assert_allclose(evaluate_form(form, [x, w]), expected, rtol=1e-12)


def test_guards_do_not_multiply():
    """where(c, a, 0) * b is exactly 0 where c fails, also when b is infinite."""
    x = np.array([0.0, 2.0])
    inner = Read(0, places(0), None)
    body = Call("where", (Call("gt", (inner, Const(0.0))), Call("recip", (inner,)), Const(0.0)))
    form = Form((2,), "sum", places(0), (2,), (Operand((2,)),), body)
    assert evaluate_form(form, [x]).tolist() == [0.0, 0.5]


def test_scatter_adds_and_drops_what_is_outside(points):
    """y[2 i + p - 1] += x[i]"""
    form = Form(
        (5, 2), "sum", (affine(-1, [(Index(0), 2), (Index(1), 1)]),), (8,), (Operand((5,)),), Read(0, places(0), None)
    )
    assert evaluate_form(form, [np.arange(5)]).tolist() == [0, 1, 1, 2, 2, 3, 3, 4]


def test_scatter_at_a_computed_place(points):
    token, dy = np.array([2, 0, 2, 5]), np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]])
    write = (affine(0, [(Read(0, places(0), None), 1)]), index(1))
    form = Form(
        (4, 2), "sum", write, (3, 2), (Operand((4,), "int"), Operand((4, 2))), Read(1, places(0, 1), None)
    )
    assert evaluate_form(form, [token, dy]).tolist() == [[3, 4], [0, 0], [6, 8]]


@pytest.mark.parametrize("op, empty", [("sum", 0), ("max", -np.inf)])
def test_writes_to_slices(op, empty, points):
    """y[1, i + 2] = op[j](x[i, j]), and the identity elsewhere"""
    write = (affine(1), affine(2, [(Index(0), 1)]))
    form = Form((4, 3), op, write, (2, 5), (Operand((4, 3)),), Read(0, places(0, 1), None))
    x = generator.standard_normal((4, 3))
    expected = np.full((2, 5), empty, float)
    expected[1, 2:] = getattr(x, op)(axis=1)[:3]
    np.testing.assert_allclose(evaluate_form(form, [x]), expected)


def test_unguarded_reads_outside_are_bugs():
    form = Form((4,), "sum", places(0), (4,), (Operand((3,)),), Read(0, places(0), None))
    with pytest.raises(CompilerBug, match="outside"):
        evaluate_form(form, [np.zeros(3)])


def test_float32_is_computed_in_float32():
    form = Form((3,), "sum", (), (), (Operand((3,)),), Call("mul", (Read(0, places(0), None), Extent(N))))
    found = evaluate_form(form, [np.array([1, 2, 3.0])], {"N": 7}, np.float32)
    assert found.dtype == np.float32 and found == 42


@pytest.mark.parametrize("descending", [False, True])
def test_sorting_is_stable_and_nan_is_largest(descending):
    x = np.array([[2.0, np.nan, 1.0, 2.0, np.nan, -np.inf]])
    assert argsort(x, descending).tolist() == [[1, 4, 0, 3, 2, 5] if descending else [5, 2, 0, 3, 1, 4]]


# ------------------------------------------------------------------------------------------------ programs


def rowsum(builder, x):
    form = Form((N, 3), "sum", places(0), (N,), (Operand((N, 3)),), Read(0, places(0, 1), None))
    return builder.define("y", (form, (x,)), kind="float").name


def test_programs_run_and_keep_what_is_asked_for():
    builder = Builder()
    x = builder.input("x", (N, 3), "input").name
    y = rowsum(builder, x)
    z = builder.reshape("z", y, (N, 1)).name
    order = builder.append(Argsort(Tensor("order", (N,), "int", N), y)).name
    builder.outputs.append(Output("z", z))
    program = builder.program()
    values = {"x": np.array([[3.0, 0, 0], [1, 0, 0]])}
    assert interpret(program, values).keys() == {"z"}
    assert interpret(program, values)["z"].tolist() == [[3], [1]]
    assert interpret(program, values, keep=[order])[order].tolist() == [1, 0]
    assert interpret(program, values, keep="all").keys() == {"x", "y", "z", "order"}
    assert interpret(program, values, "f32")["z"].dtype == np.float32


def test_terms_are_added():
    form = Form((2,), "sum", places(0), (2,), (Operand((2,)),), Read(0, places(0), None))
    builder = Builder()
    builder.input("x", (2,), "input")
    builder.append(Definition(Tensor("y", (2,)), (Term(form, ("x",)), Term(form, ("x",)))))
    assert interpret(builder.program(), {"x": [1, 2]}, keep=["y"])["y"].tolist() == [2, 4]


def test_scans_carry_and_stack():
    for reverse, expected in ((False, [1, 12, 123]), (True, [321, 32, 3])):
        body = Builder()
        body.input("h", (), "free")
        body.input("e", (), "free")
        step = Call("add", (Call("mul", (Const(10.0), Read(0, (), None))), Read(1, (), None)))
        body.define("o", (Form((), "sum", (), (), (Operand(()), Operand(())), step), ("h", "e")), kind="float")
        builder = Builder()
        builder.input("x", (N,), "input")
        builder.input("h0", (), "input")
        carry = Carry("h", "h0", "o", Tensor("end", ()))
        rows = Yield("o", Tensor("rows", (N,)))
        builder.append(Scan(N, "", (carry,), (("e", "x"),), (), (rows,), body.program(), reverse))
        found = interpret(builder.program(), {"x": [1, 2, 3], "h0": 0}, keep=["rows", "end"])
        assert found["rows"].tolist() == expected
        assert found["end"] == max(expected)


def test_failed_checks_are_told():
    builder = Builder()
    builder.input("ok", (), "input", kind="bool")
    builder.checks.append(Check("ok", "all is well"))
    interpret(builder.program(), {"ok": True})
    with pytest.raises(DiffgraphError, match="all is well"):
        interpret(builder.program(), {"ok": False})


def test_symbols_are_solved():
    M = symbol("M")
    shapes = [((2 * N + 1, 3), (9, 3), "x"), ((N * M,), (12,), "y")]
    assert solve_sizes(shapes) == {"N": 4, "M": 3}


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"y has the shape \[5\], not \[N\]"):
        solve_sizes([((N, 3), (4, 3), "x"), ((N,), (5,), "y")])
    with pytest.raises(ValueError, match="axes|shape"):
        solve_sizes([((N, 3), (4,), "x")])
