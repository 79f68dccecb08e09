"""What happens to values without indices: compile-time arithmetic, broadcasting, the functions of the core, against NumPy
(LANGUAGE.md sections 3, 4 and 6)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from elaboration import body, network, problem, values_of

from diffgraph.ir.dimension import symbol
from diffgraph.ir.program import Argsort, Definition
from diffgraph.ir.verify import verify
from diffgraph.language import sizes
from diffgraph.language.numbers import compute, show
from diffgraph.language.values import Undecided

RNG = np.random.default_rng(7)
X, C, V = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 3)), RNG.normal(size=3)
M, Q = RNG.normal(size=(2, 4, 3)), RNG.normal(size=(2, 3, 5))
I, L = RNG.integers(-5, 6, size=(5, 3)), RNG.integers(0, 4, size=5)
B = X > 0.3
PORTS = """
input x[N, 3]; input c[N, 3]; input v[3]; input m[2, 4, 3]; input q[2, 3, 5]
input i[N, 3]: int; input l[N]: int < 4; input b[N, 3]: bool
"""
VALUES = dict(x=X, c=C, v=V, m=M, q=Q, i=I, l=L, b=B)


def value(text: str, head: str = ""):
    """`y` of a net in which x, c, v, m, q, i, l and b are inputs."""
    statements = text if "y =" in text else f"y = {text}"
    made = network(body(f"{PORTS}\n{statements}\noutput y", head))
    verify(made.program)
    return values_of(made, **VALUES)["y"]


def fault(text: str):
    statements = text if "y =" in text else f"y = {text}"
    return problem(body(f"{PORTS}\n{statements}\noutput y"))


def same(text: str, expected, head: str = ""):
    found = value(text, head)
    assert found.shape == np.shape(expected), f"{text}: {found.shape} for {np.shape(expected)}"
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=text)


# ---------------------------------------------------------------- numbers known now

N, H = symbol("N"), symbol("H")


@pytest.mark.parametrize(
    "name, arguments, expected",
    [
        ("div", (6, 3), 2),
        ("div", (1, 3), Fraction(1, 3)),
        ("mul", (Fraction(1, 3), 3), 1),
        ("powi", (2, 10), 1024),
        ("powi", (2, -2), Fraction(1, 4)),
        ("powi", (0, 0), 1),
        ("floordiv", (7, -2), -4),
        ("mod", (-7, 3), 2),
        ("mod", (7, -3), -2),
        ("mod", (-0.5, 2), 1.5),
        ("floor", (2.5,), 2),
        ("ceil", (Fraction(5, 2),), 3),
        ("max", (N, 1), N),
        ("mul", (N, 3), 3 * N),
        ("div", (3 * N * H, H), 3 * N),
        ("div", (N, 2 * N), Fraction(1, 2)),
        ("mul", (compute("div", (N, 3)), 3), N),
        ("floordiv", (N, 4), N // 4),
        ("eq", ("a", 3), False),
        ("eq", (True, 1), True),
        ("eq", ([N, 1], [N, 1]), True),
        ("eq", ([N, 1], [N, 2]), False),
        ("eq", ([N], [N, 1]), False),
        ("ge", (N, 1), True),
        ("lt", (N + 1, N), False),
        ("eq", (2 * H, 3), False),
        ("add", ("a", "b"), "ab"),
    ],
)
def test_numbers_are_exact(name, arguments, expected):
    found = compute(name, arguments)
    assert found == expected and type(found) is type(expected)


def test_a_comparison_that_a_symbol_leaves_open_is_undecided():
    assert str(compute("eq", ([N, H], [H, H]))) == "N == H"
    assert str(compute("eq", (compute("mod", (H, 4)), 0))) == "H % 4 == 0"
    assert compute("not", (compute("lt", (N, H)),)) == Undecided(((">=", N, H),))
    assert compute("and", (False, compute("lt", (N, H)))) is False


def test_what_only_the_run_knows_is_left_to_it():
    assert compute("sqrt", (N,)) is None
    assert compute("mul", (N, 0.5)) is None
    assert compute("sqrt", (4,)) == 2.0


def test_values_as_text():
    assert show([N, True, "a", Fraction(1, 2), range(3)]) == '[N, true, "a", 1/2, 0..3]'


def test_powers_that_would_fill_the_machine_are_floats():
    assert compute("powi", (10, 10_000)) == np.inf


@pytest.mark.parametrize(
    "value_, low, high",
    [(H % 4, 0, 3), (N * H, 1, None), (3 - N, None, 2), ((H - 2) // 2 + 1, 0, None), (2 * N + 1, 3, None)],
)
def test_bounds_of_sizes(value_, low, high):
    assert sizes.bounds(value_) == (low, high)


def test_bounds_hold_for_values_of_the_symbols():
    for size in (H % 4, (H - 2) // 2 + 1, 3 * (H // 2) - H, H - 4 * (H // 4) + N * (H // 3)):
        low, high = sizes.bounds(size)
        found = [_at(size, N=n, H=h) for n in range(1, 6) for h in range(1, 20)]
        assert low is None or low <= min(found)
        assert high is None or high >= max(found)


def _at(size, **values):
    from diffgraph.ir.dimension import evaluate

    return evaluate(size, values)


# ---------------------------------------------------------------- elementwise


@pytest.mark.parametrize(
    "text, expected",
    [
        ("x + v * 2", X + V * 2),
        ("x[:, 0:1] + v", X[:, :1] + V),
        ("1 - x", 1 - X),
        ("i / 2", I / 2),
        ("i // 3", I // 3),
        ("i % 3", I % 3),
        ("i % -3", I % -3),
        ("x % 0.7", np.mod(X, 0.7)),
        ("x // 0.5", np.floor(X / 0.5)),
        ("x^2 + x^0 + x^-1", X**2 + 1 + 1 / X),
        ("abs(x)^0.5", np.abs(X) ** 0.5),
        ("i^2", I**2),
        ("2.0^i", 2.0**I),
        ("v^(len(x) - 3)", V**2),
        ("-x", -X),
        ("x > 0", X > 0),
        ("x > 0 and not (c > 0) or i == 2", (X > 0) & ~(C > 0) | (I == 2)),
        ("b + b", B.astype(int) * 2),
        ("b * x", B * X),
        ("x if b else c * 0.1", np.where(B, X, C * 0.1)),
        ("where(x > 0, 1, 0)", np.where(X > 0, 1, 0)),
        ("where(true, v, 0)", V),
        ("clamp(x, -0.5, 0.5)", np.clip(X, -0.5, 0.5)),
        ("clamp(x, min(c, 0), 1)", np.clip(X, np.minimum(C, 0), 1)),
        ("clamp(x, low = 0)", np.maximum(X, 0)),
        ("max(x, c, 0.1)", np.maximum(np.maximum(X, C), 0.1)),
        ("min(x, 0)", np.minimum(X, 0)),
        ("int(x * 3)", np.trunc(X * 3).astype(int)),
        ("float(i)", I.astype(float)),
        ("bool(i)", I != 0),
        ("stop_gradient(x)", X),
        ("atan2(x, c)", np.arctan2(X, C)),
        ("log10(abs(x))", np.log10(np.abs(X))),
        ("sqrt(4) * v + exp(0) + floor(2.5)", 2 * V + 3),
        ('v if "a" == "b" else v * 2', V * 2),
    ],
)
def test_elementwise(text, expected):
    same(text, expected)


@pytest.mark.parametrize("text, kind", [("i / i", "float"), ("i // 2", "int"), ("b + b", "int"), ("x > 0", "bool"),
                                        ("i * 0.5", "float"), ("i^2", "int"), ("where(b, i, l[0])", "int"),
                                        ("where(b, b, b)", "bool"), ("i % 2.0", "float")])  # fmt: skip
def test_kinds(text, kind):
    made = network(body(f"{PORTS}\ny = {text}\noutput y"))
    assert made.program.tensors[made.program.output("y")].kind == kind


@pytest.mark.parametrize(
    "text, expected",
    [
        ("v / sqrt(x.shape[0])", V / np.sqrt(5)),
        ("v * (N / (N - 1))", V * 5 / 4),
        ("v + N % 2", V + 1),
        ("v + N // 2", V + 2),
        ("v * (N * 0.5)", V * 2.5),
        ("x.size / 3 * v", 5 * V),
        ("where(N > 3, v, 0)", V),
        ("N * 1.5", np.array(7.5)),
        ("len(x) * v", 5 * V),
    ],
)
def test_sizes_as_numbers(text, expected):
    same(text, expected)


def test_a_long_chain_is_one_definition_of_its_own_size():
    """x + x doubles a tree twenty times, but an expression is a graph: each part is there once."""
    text = "t = x\n" + "\n".join("t = t + t * t" for _ in range(3)) + "\ny = " + "(x + x)" * 1
    assert len(network(body(f"{PORTS}\n{text}\noutput y")).program.statements) < 6
    nested = "x"
    for _ in range(12):
        nested = f"tanh({nested}) * ({nested})" if len(nested) < 2000 else f"tanh({nested})"
    made = network(body(f"{PORTS}\ny = {nested}\noutput y"))
    assert len(made.program.statements) == 1


# ---------------------------------------------------------------- lists


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[1, 2, 3] * v", np.array([1, 2, 3]) * V),
        ("[0, -v[0], 2]", np.array([0, -V[0], 2])),
        ("[v, v * 2] @ v", np.array([V @ V, 2 * (V @ V)])),
        ("v + [[1, 2, 3], [4, 5, 6.5]]", V + [[1, 2, 3], [4, 5, 6.5]]),
        ("[v, 1] * v", np.stack([V, np.ones(3)]) * V),
        ("[1, 2, 3, 4][1:-1][0] * v", 2 * V),
        ("([1] + [2, 3])[-1] * v", 3 * V),
        ("[v, v * 2][1]", V * 2),
        ("max([1, 5, 2]) + sum([1, 2]) + v", 8 + V),
        ("(0..3) * v", np.arange(3) * V),
        ("[10, 20, 30, 40][l[0]] + v", np.array([10, 20, 30, 40])[L[0]] + V),
    ],
)
def test_lists(text, expected):
    same(text, expected)


# ---------------------------------------------------------------- products


@pytest.mark.parametrize(
    "text, expected",
    [
        ("x @ transpose(c)", X @ C.T),
        ("x @ v", X @ V),
        ("v @ transpose(x, 0, 1)", V @ X.T),
        ("v @ v", np.array(V @ V)),
        ("m @ q", M @ Q),
        ("m @ q[0]", M @ Q[0]),
        ("m[0] @ q", M[0] @ Q),
        ("m @ v", M @ V),
        ("(x * 2 + 1) @ transpose(c - 1)", (X * 2 + 1) @ (C - 1).T),
        ("i @ transpose(i)", I @ I.T),
    ],
)
def test_matrix_products(text, expected):
    same(text, expected)


# ---------------------------------------------------------------- reductions


@pytest.mark.parametrize("op", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1)])
@pytest.mark.parametrize("keep", [False, True])
def test_reductions(op, axis, keep):
    axes = "" if axis is None else f", axis = {list(axis) if isinstance(axis, tuple) else axis}"
    expected = getattr(np, op)(X * 2, axis=axis, keepdims=keep)
    same(f"{op}(x * 2{axes}, keep = {str(keep).lower()})", expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("argmax(x, axis = 1)", X.argmax(1)),
        ("argmin(m)", np.array(M.argmin())),
        ("argmax(x, axis = 0, keep = true)", X.argmax(0)[None]),
        ("argmax(m, axis = [1, 2])", M.reshape(2, -1).argmax(1)),
        ("any(x > 1, axis = 1)", (X > 1).any(1)),
        ("all(x > -9)", np.array(True)),
        ("sum(x > 0)", np.array((X > 0).sum())),
        ("mean(b, axis = 0)", B.mean(0)),
        ("sum(i, axis = 0)", I.sum(0)),
        ("mean(i)", np.array(I.mean())),
        ("mean(m, axis = -2..0)", M.mean((1, 2))),
        ("max(x > 0, axis = 1)", (X > 0).max(1)),
        ("prod(b, axis = 0)", B.prod(0)),
        ("argmax(b, axis = 1)", B.argmax(1)),
        ("any(i, axis = 0)", (I != 0).any(0)),
        ("sum(v[0])", np.array(V[0])),
        ("norm(x)", np.array(np.linalg.norm(X))),
        ("norm(x, axis = 1, keep = true)", np.linalg.norm(X, axis=1, keepdims=True)),
    ],
)
def test_more_reductions(text, expected):
    same(text, expected)


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    "text, expected",
    [
        ("concat(x, c, v * 0 + x, axis = 1)", np.concatenate([X, C, X], 1)),
        ("concat(x, c)", np.concatenate([X, C])),
        ("concat([x, c], axis = -1)", np.concatenate([X, C], -1)),
        ("concat(i, i + 1, axis = 1)", np.concatenate([I, I + 1], 1)),
        ("concat(x > 0, b, axis = 1)", np.concatenate([X > 0, B], 1)),
        ("concat(x, i, axis = 1)", np.concatenate([X, I], 1)),
        ("stack(x, c)", np.stack([X, C])),
        ("stack(x, c, axis = -1)", np.stack([X, C], -1)),
        ("stack([v, v * 2], axis = 1)", np.stack([V, V * 2], 1)),
        ("stack(l, l + 1, axis = 1)", np.stack([L, L + 1], 1)),
        ("a, d = split(m, 2, axis = 1)\ny = a - d", M[:, :2] - M[:, 2:]),
        ("a, d = split(m, [1, 3], axis = 1)\ny = sum(a) - sum(d)", np.array(M[:, :1].sum() - M[:, 1:].sum())),
        ("reshape(m, [8, -1])", M.reshape(8, 3)),
        ("reshape(x, [N * 3])", X.ravel()),
        ("reshape(x * 2, [3, -1])", (X * 2).reshape(3, -1)),
        ("reshape(m, 24)", M.ravel()),
        ("transpose(m, 0, 2)", M.transpose(2, 1, 0)),
        ("transpose(m, -1, -2)", M.transpose(0, 2, 1)),
        ("transpose(x)", X.T),
        ("pad(v, 1)", np.pad(V, 1)),
        ("pad(m, [1, 2])", np.pad(M, [[0, 0], [0, 0], [1, 2]])),
        ("pad(x, [[1, 2], [0, 1]], value = 3)", np.pad(X, [[1, 2], [0, 1]], constant_values=3)),
        ("x[:, 0]", X[:, 0]),
        ("m[:, 1:-1]", M[:, 1:-1]),
        ("m[:, -9:99]", M),
        ("m[:, 3:1]", M[:, 3:1]),
        ("x[-1]", X[-1]),
        ("m[..., 1]", M[..., 1]),
        ("m[1, ..., 0]", M[1, :, 0]),
        ("m[:, l[0], 0]", M[:, L[0], 0]),
        ("last(x)", X[-1]),
        ("zeros([2, 3]) + 1", np.ones((2, 3))),
        ("zeros([N, 2])", np.zeros((5, 2))),
        ("ones(3)", np.ones(3)),
        ("full([2], 3.5)", np.full(2, 3.5)),
        ("eye(3)", np.eye(3)),
        ("range(4)", np.arange(4)),
        ("range(N) * 2", np.arange(5) * 2),
        ("one_hot(l, 4)", np.eye(4)[L]),
        ("pair(3)[1] * v + pair([1, 2])[0]", 3 * V + 1),
        ("out_size(28, 5, 2, 1, 1) * v", 13 * V),
        ("x.shape[0] * v + len(x.shape)", 5 * V + 2),
        ("y = reshape(m, [4, 6])[1]", M.reshape(4, 6)[1]),
    ],
)
def test_shapes(text, expected):
    same(text, expected)


def test_concat_of_floats_is_a_sum_of_disjoint_writes():
    made = network(body(f"{PORTS}\noutput y = concat(x, c, axis = 1)")).program
    (definition,) = made.statements
    assert isinstance(definition, Definition) and len(definition.terms) == 2


# ---------------------------------------------------------------- order


@pytest.mark.parametrize(
    "text, expected",
    [
        ("sort(x)", np.sort(X)),
        ("sort(x, axis = 0, descending = true)", -np.sort(-X, 0)),
        ("argsort(x, axis = 0)", np.argsort(X, 0)),
        ("a, d = top_k(x, 2)\ny = a + d", -np.sort(-X, 1)[:, :2] + np.argsort(-X, 1)[:, :2]),
        ("a, d = top_k(m, 2, axis = 1)\ny = a + d", -np.sort(-M, 1)[:, :2] + np.argsort(-M, 1)[:, :2]),
    ],
)
def test_order(text, expected):
    same(text, expected)


def test_sorting_is_a_gather_by_one_argsort():
    made = network(body(f"{PORTS}\noutput y = sort(x)")).program
    assert sum(isinstance(s, Argsort) for s in made.statements) == 1


# ---------------------------------------------------------------- symbols


def test_an_equality_that_symbols_leave_open_becomes_a_requirement():
    made = network(body("input x[N, H, W]; input z[N, M, W]\noutput y = x + z"))
    assert [r.split(",")[0] for r in made.requirements] == ["H == M"]


def test_an_assert_on_symbols_becomes_a_requirement():
    made = network(body("input x[N, H]\nassert H % 4 == 0\noutput y = x"))
    assert [r.split(",")[0] for r in made.requirements] == ["H % 4 == 0"]


def test_requirements_that_follow_from_others_are_left_out():
    pool = "fn halve(x) {\ny[n, i < x.shape[1] // 2] = x[n, 2 * i]\nreturn y\n}\n"
    double = "fn double(x) {\ny[n, i < 2 * x.shape[1]] = x[n, i // 2]\nreturn y\n}\n"
    text = "input x[N, H]\na = halve(x); c = halve(a); u = double(c)\nd = concat(u, a)\noutput y = concat(double(u), x)"
    made = network(body(text, pool + double))
    assert made.requirements == ("H % 4 == 0, from concat at line 14",)


def test_a_chain_of_halves_asks_for_one_divisor():
    """As in a U-Net that joins what came up to what was there, whose shape the result has."""
    head = "fn halve(x) {\ny[n, i < x.shape[1] // 2] = x[n, 2 * i]\nreturn y\n}\n"
    head += "fn join(skip, x) {\ny[n, i < 2 * x.shape[1]] = x[n, i // 2]\nreturn skip + y\n}\n"
    text = "input x[N, H]\na = halve(x); b = halve(a); c = halve(b); d = halve(c)\n"
    text += "output join(x, join(a, join(b, join(c, d))))"
    assert [r.split(",")[0] for r in network(body(text, head)).requirements] == ["H % 16 == 0"]


def test_nothing_is_required_of_the_batch():
    found = problem(body("input x[N, 3]\noutput y = x + sum(x, axis = 1)"))
    assert found.code == "DG301" and "reshape(..., [N, 1])" in found.help


def test_an_assert_on_the_batch_is_checked_at_the_call():
    made = network(body('input x[N, 3]\nassert N > 2, "too few"\noutput y = x'))
    assert not made.requirements
    assert [c.message for c in made.program.checks] == ["too few"]


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    "text, code, message, help_",
    [
        ("x + m", "DG301", "[N, 3] and [2, 4, 3] do not broadcast: N against 4 on axis -2", None),
        ("v + m[:, :, 0]", "DG301", "[3] and [2, 4] do not broadcast: 3 against 4", None),
        ("m[0] + transpose(m[0])", "DG301", "4 against 3", "transpose(..., -1, -2)"),
        ("v @ m[0]", "DG343", "3 against 4", "transpose(b, -1, -2)"),
        ("v @ 3", "DG342", "not numbers", "`*`"),
        ("concat(x, v)", "DG358", "the ranks differ", None),
        ("concat(m[0], q[0], axis = 0)", "DG358", "3 against 5 on axis 1", None),
        ("stack(v, m[0, :, 0])", "DG358", "stack of [3] and [4]", "concat(..., axis = 0)"),
        ("reshape(m, [5, -1])", "DG353", "24 elements of [2, 4, 3] do not divide by 5", None),
        ("reshape(m, [5, 3])", "DG351", "24 elements", "-1"),
        ("reshape(m, [2.5, -1])", "DG350", "2.5", None),
        ("transpose(x, 0, 2)", "DG340", "no axis 2 in a tensor of 2 axes", "0 to 1"),
        ("sum(x, 1)", "DG231", "not 2 values", "axis = 1"),
        ("sum(x, axes = 1)", "DG230", "no argument `axes`", "`axis`"),
        ("softmax(x, axs = 1)", "DG230", "`axs`", "`axis`"),
        ("sqrt(x, 2)", "DG231", "sqrt", None),
        ('sqrt("a")', "DG320", "", None),
        ('x + "a"', "DG320", "", None),
        ("m[5]", "DG355", "no place 5 on an axis of 2", None),
        ("x[5]", "DG355", "no place 5 on an axis of N", "batch"),
        ("m[0.5]", "DG354", "", None),
        ("m[:, i[0, 0]]", "DG422", "may be any int", "clamp(..., 0, 3)"),
        ("m[:, :, l[0]]", "DG422", "is below 4", "clamp(..., 0, 2)"),
        ("split(v, 2)", "DG356", "", None),
        ("split(v, [1, 1])", "DG356", "", None),
        ("out_size(4, 7)", "DG331", "a window of 7 does not fit into 4", "pad = 2"),
        ("pair([1, 2], 3)", "DG332", "", None),
        ("1 / 0 + v", "DG311", "1 / 0", None),
        ("x and b", "DG322", "floats", "!= 0"),
        ("not i", "DG322", "ints", "!= 0"),
        ("one_hot(x, 3)", "DG361", "", None),
        ("top_k(m, 9)", "DG362", "", None),
        ("[] + x", "DG321", "", None),
        ("[[1, 2], [3]] * v", "DG323", "[2] and [1]", None),
        ('constant("../a.npy")', "DG372", "", None),
        ("x[0, 0, 0]", "DG411", "", None),
    ],
)
def test_faults(text, code, message, help_):
    found = fault(text)
    assert found.code == code, found.render()
    assert message in found.message, found.message
    assert help_ is None or help_ in (found.help or ""), found.render()


def test_a_shape_error_shows_where_both_sides_come_from():
    found = fault("a = x @ transpose(m[0])\nz = sum(q, axis = 0)\ny = a + z")
    places = {note.span.text: note.message for note in found.notes if note.span is not None}
    assert places == {"x @ transpose(m[0])": "this is [N, 4]", "sum(q, axis = 0)": "this is [3, 5]"}


def test_an_if_on_a_symbol_is_an_error():
    found = problem(body("input x[N, H]\nif H > 3 { y = x } else { y = -x }\noutput y"))
    assert found.code == "DG310" and "H > 3" in found.message


def test_a_table_is_read_from_the_directory_only(tmp_path):
    from diffgraph.language.elaborate import elaborate
    from diffgraph.language.module import load_text

    np.save(tmp_path / "table.npy", np.arange(3.0))
    inside = tmp_path / "model"
    inside.mkdir()
    np.save(inside / "table.npy", np.arange(4))
    made = elaborate(load_text(body('output y = constant("table.npy")'), folder=inside))
    assert made.program.tensors[made.program.output("y")].bound == 4
    for path, code in (("../table.npy", "DG373"), ("missing.npy", "DG371"), (str(tmp_path / "table.npy"), "DG373")):
        with pytest.raises(Exception, match=code):
            elaborate(load_text(body(f'output y = constant("{path}")'), folder=inside))


def test_a_file_that_claims_too_much_is_refused(tmp_path):
    from diffgraph.language.elaborate import elaborate
    from diffgraph.language.module import load_text

    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }"
    pad = -(10 + len(header) + 1) % 64
    (tmp_path / "t.npy").write_bytes(b"\x93NUMPY\x01\x00" + (len(header) + pad + 1).to_bytes(2, "little") + header
                                     + b" " * pad + b"\n")  # fmt: skip
    with pytest.raises(Exception, match="DG371"):
        elaborate(load_text(body('output y = constant("t.npy")'), folder=tmp_path))


def test_a_tensor_that_no_machine_holds_is_refused():
    assert fault("y = zeros([1000000, 1000000, 1000]) + x[0, 0]").code == "DG598"
    found = problem(body(f"{PORTS}\ny[i < 1000000000000000] = i * v[0]\noutput y"))
    assert found.code == "DG598"


def test_rounding_up_and_back_asks_for_divisibility():
    text = """net n {
        input x[N, 1, H]
        half = x -> conv(1, 3, 2, pad = 1)
        quarter = half -> conv(1, 3, 2, pad = 1)
        output y = (quarter -> upsample(2)) + half
        output z = (quarter -> upsample(4)) + x
    }"""
    assert [r.split(",")[0] for r in network(text).requirements] == ["H % 4 == 0"]
