"""Index notation (LANGUAGE.md section 6), against NumPy: reads, extents, guards, reductions, scatters, and every fault."""

from __future__ import annotations

import numpy as np
import pytest
from elaboration import body, network, problem, values_of

from diffgraph.ir.form import alone_index
from diffgraph.ir.program import Definition
from diffgraph.ir.verify import verify

RNG = np.random.default_rng(11)
X, W, B = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3)), RNG.normal(size=4)
IMAGE, KERNEL = RNG.normal(size=(2, 3, 7, 6)), RNG.normal(size=(4, 3, 3, 3))
TOKEN, TABLE = RNG.integers(0, 11, size=(2, 5)), RNG.normal(size=(11, 4))
ANY = RNG.integers(-3, 9, size=(2, 5))
PORTS = "input x[N, 3]; input w[4, 3]; input b[4]"
VALUES = dict(x=X, w=W, b=B)
IMAGES = "input x[N, 3, H, W]; input k[4, 3, 3, 3]"
IMAGE_VALUES = dict(x=IMAGE, k=KERNEL)
TOKENS = "input t[N, T]: int < 11; input u[N, T]: int; input table[11, 4]"
TOKEN_VALUES = dict(t=TOKEN, u=ANY, table=TABLE)


def program(statements: str, ports: str = PORTS, head: str = ""):
    return network(body(f"{ports}\n{statements}\noutput y", head)).program


def definition(statements: str, ports: str = PORTS) -> Definition:
    """The definition of `y`."""
    made = program(statements, ports)
    return made.maker[made.output("y")]


def same(statements: str, expected, ports: str = PORTS, values=VALUES, head: str = ""):
    made = network(body(f"{ports}\n{statements}\noutput y", head))
    verify(made.program)
    found = values_of(made, **values)["y"]
    assert found.shape == np.shape(expected), f"{found.shape} for {np.shape(expected)}"
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def fault(statement: str, ports: str = PORTS, head: str = ""):
    return problem(body(f"{ports}\n{statement}\noutput y", head))


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    "statements, expected",
    [
        ("y[n, u] = sum[d](w[u, d] * x[n, d]) + b[u]", X @ W.T + B),
        ("y[n, u] = -sum[d](w[u, d] * x[n, d]) - b[u]", -(X @ W.T) - B),
        ("y[n, u] = sum[d](w[u, d] * x[n, d]) / 3 + 2 * b[u]", X @ W.T / 3 + 2 * B),
        ("y[n, u] = sum[d](x[n, d]) + b[u]", X.sum(1)[:, None] + B),
        ("y[n] = mean[d](x[n, d])", X.mean(1)),
        ("y[d] = mean[n](x[n, d])", X.mean(0)),
        ("y[n, u] = exp(-sum[d]((x[n, d] - w[u, d])^2) * b[u]^2)",
         np.exp(-((X[:, None] - W) ** 2).sum(-1) * B**2)),
        ("y[n] = sum[u](exp(sum[d](w[u, d] * x[n, d])))", np.exp(X @ W.T).sum(1)),
        ("y[n] = sum[u](mean[d](w[u, d] * x[n, d]))", (X @ W.T).sum(1) / 3),
        ("y = sum[u](b[u])", np.array(B.sum())),
        ("y[n] = max[d](x[n, d]) + min[d](x[n, d]) * prod[d](x[n, d])", X.max(1) + X.min(1) * X.prod(1)),
        ("y[n] = -max[d](x[n, d])", -X.max(1)),
        ("y[n] = argmax[d](x[n, d])", X.argmax(1)),
        ("y = argmin[n, d](x[n, d])", np.array(X.argmin())),
        ("y[n] = max[d](x[n, d] > 0) + 1", (X > 0).max(1) + 1),
        ("y[n] = all[d](int(x[n, d] * 9))", ((X * 9).astype(int) != 0).all(1)),
        ("y[n] = any[d](x[n, d] > 1)", (X > 1).any(1)),
        ("y[n] = all[d](x[n, d] > -1)", (X > -1).all(1)),
        ("y[n] = sum[d](x[n, d] > 0)", (X > 0).sum(1)),
        ("y[n] = mean[d](x[n, d] > 0)", (X > 0).mean(1)),
        ("y[n, d] = x[n, d] * d + n", X * np.arange(3) + np.arange(5)[:, None]),
        ("y[n, d] = where(d == 1, 0, x[n, d])", np.where(np.arange(3) == 1, 0, X)),
        ("y[n, d] = x[n, d] if d > 0 and x[n, d] > 0 else -1", np.where((np.arange(3) > 0) & (X > 0), X, -1)),
        ("y[n, k < 4] = x[n, 0]^k", X[:, :1] ** np.arange(4)),
        ("y[n, k < 6] = x[n, k % 3] * (k // 3)", np.concatenate([X * 0, X], 1)),
        ("y[n, d] = x[n, d] / (d + 1)", X / (np.arange(3) + 1)),
        ("y[n, d < 3] = sum[e](x[n, e] if e <= d else 0)", np.cumsum(X, 1)),
        ("y[n, d] = x[N - 1 - n, 2 - d]", X[::-1, ::-1]),
        ("y[j, i] = x[i, j]", X.T),
        ("y[n, 0] = x[n, 1]", X[:, 1:2]),
        ("y[n] = x[n, 0] * N / 2", X[:, 0] * 2.5),
        ("m = mean(x); y[n, d] = x[n, d] - m", X - X.mean()),
        ("y[n, d] = x[n, d] - mean(x) * 2", X - X.mean() * 2),
        ("y[n] = b[0] * x[n, 0]", B[0] * X[:, 0]),
        ("y[n, d] = softmax(x)[n, d] * 2", 2 * np.exp(X) / np.exp(X).sum(1, keepdims=True)),
        ("y[n, d] = (x * 2 + 1)[n, d]", 2 * X + 1),
        ("y[n] = x[n, 0] * sum(w[0])", X[:, 0] * W[0].sum()),
        ("m[n] = argmax[d](x[n, d]); y[n] = x[n, m[n]]", X.max(1)),
        ("y[n] = x[n, argmax[d](x[n, d])]", X.max(1)),
        ("m = [1, 2, 3]; y[n, d] = x[n, d] * m[d]", X * [1, 2, 3]),
        ("m = [b, b * 2]; y[n, k < 2] = x[n, 0] * m[k, 1]", np.stack([X[:, 0] * B[1], X[:, 0] * B[1] * 2], 1)),
        ("m = [b, b * 2]; y[u] = m[1][u]", 2 * B),
        ("total = sum[u](b[u]) * 2; y[n] = x[n, 0] * total", X[:, 0] * B.sum() * 2),
    ],
)  # fmt: skip
def test_values(statements, expected):
    same(statements, expected)


@pytest.mark.parametrize(
    "statements, expected",
    [
        ("y[n, ...] = x[n, ...] * 2", IMAGE * 2),
        ("y[n, ...] = x[n, ...] - mean[m](x[m, ...])", IMAGE - IMAGE.mean(0)),
        ("y[n] = sum[...](x[n, ...])", IMAGE.sum((1, 2, 3))),
        ("y[n, c] = max[...](x[n, c, ...])", IMAGE.max((2, 3))),
        ("mu[c] = mean[n, ...](x[n, c, ...]); y[n, c, ...] = x[n, c, ...] - mu[c]",
         IMAGE - IMAGE.mean((0, 2, 3), keepdims=True)),
        ("y[n, c, h, w, ...] = 2 * x[n, c, h, w, ...]", IMAGE * 2),
        ("y[..., k] = x[..., W - 1 - k]", IMAGE[..., ::-1]),
        ("y[n] = mean[...](x[n, ...]) / sum[...](x[n, ...]^2)",
         IMAGE.mean((1, 2, 3)) / (IMAGE**2).sum((1, 2, 3))),
    ],
)  # fmt: skip
def test_ellipsis(statements, expected):
    same(statements, expected, IMAGES, IMAGE_VALUES)


def _convolved(pad=0, stride=1):
    x = np.pad(IMAGE, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("ncijpq,ocpq->noij", windows, KERNEL)


@pytest.mark.parametrize(
    "statements, expected",
    [
        ("y[n, o, i, j] = sum[c, p, q](k[o, c, p, q] * x[n, c, i + p, j + q])", _convolved()),
        ("y[n, o, i < H, j < W] = sum[c, p, q](k[o, c, p, q] * (x[n, c, i + p - 1, j + q - 1] else 0))", _convolved(1)),
        ("y[n, o, i, j] = sum[c, p, q](k[o, c, p, q] * x[n, c, 2 * i + p, 2 * j + q])", _convolved(0, 2)),
        ("y[n, c, i, j] = max[p < 2, q < 2](x[n, c, 2 * i + p, 2 * j + q])",
         IMAGE[:, :, :6].reshape(2, 3, 3, 2, 3, 2).max((3, 5))),
        ("y[n, c, i, j] = x[n, c, i // 2, j]", IMAGE.repeat(2, 2)),
    ],
)  # fmt: skip
def test_windows(statements, expected):
    same(statements, expected, IMAGES, IMAGE_VALUES)


@pytest.mark.parametrize(
    "statements, expected",
    [
        ("y[n, s, d] = table[t[n, s], d]", TABLE[TOKEN]),
        ("y[..., d] = table[t[...], d]", TABLE[TOKEN]),
        ("y[n, s] = table[(t[n, s] + 3) % 11, 0]", TABLE[(TOKEN + 3) % 11, 0]),
        ("y[n, s] = table[clamp(t[n, s] + 3, 0, 10), 0]", TABLE[np.clip(TOKEN + 3, 0, 10), 0]),
        ("y[n, s] = (table[u[n, s] + 3, 0] else 0)",
         np.where(ANY + 3 < 11, TABLE[np.clip(ANY + 3, 0, 10), 0], 0)),
        ("z = t // 2; y[n, s] = table[z[n, s] + 5, 1]", TABLE[TOKEN // 2 + 5, 1]),
        ("z = 10 - t; y[n, s] = table[z[n, s], 1]", TABLE[10 - TOKEN, 1]),
        ("y[v < 11] = sum[n, s](1 if t[n, s] == v else 0)", np.bincount(TOKEN.ravel(), minlength=11)),
        ("y[v < 11] = sum[n, s](t[n, s] == v)", np.bincount(TOKEN.ravel(), minlength=11)),
        ("y[v < 4] = sum[n, s](1 if u[n, s] == v else 0)", [(ANY == v).sum() for v in range(4)]),
        ("y[v < 11, d] = sum[n, s](table[t[n, s], d] if t[n, s] == v else 0)",
         np.bincount(TOKEN.ravel(), minlength=11)[:, None] * TABLE),
    ],
)  # fmt: skip
def test_places_that_are_computed(statements, expected):
    same(statements, expected, TOKENS, TOKEN_VALUES)


# ---------------------------------------------------------------- guards


@pytest.mark.parametrize(
    "statements, expected",
    [
        ("y[n, d < 3] = (x[n, d - 1] else 0)", np.pad(X, [(0, 0), (1, 0)])[:, :3]),
        ("y[n, d < 4] = (x[n, d - 1] else -inf)", np.pad(X, [(0, 0), (1, 0)], constant_values=-np.inf)),
        ("y[n, d < 4] = (x[n, d - 1] * 2 + 1 else 7)", np.pad(X * 2 + 1, [(0, 0), (1, 0)], constant_values=7)),
        ("y[n, d < 4] = (x[n, d - 1] else b[d])", np.concatenate([np.full((5, 1), B[0]), X], 1)),
        ("y[n, d < 4] = (x[n, d - 1] else d + n)", np.concatenate([np.arange(5)[:, None], X], 1)),
        ("y[n, d < 3] = (x[n, d - 1] else 0) + (x[n, d + 1] else 0)",
         np.pad(X, [(0, 0), (1, 0)])[:, :3] + np.pad(X, [(0, 0), (0, 1)])[:, 1:]),
        ("y[n, d < 3] = (x[n, d - 1] * x[n, d + 1] else 5)",
         np.stack([np.full(5, 5.0), X[:, 0] * X[:, 2], np.full(5, 5.0)], 1)),
    ],
)  # fmt: skip
def test_guards(statements, expected):
    same(statements, expected)


def test_a_lone_guarded_read_stays_a_read():
    (term,) = definition("y[n, d < 3] = (x[n, d - 1] else 0)").terms
    assert type(term.form.body).__name__ == "Read" and term.form.body.otherwise.value == 0.0


# ---------------------------------------------------------------- functions on elements

FUNCTIONS = """
fn distance(a, b) = (a - b)^2
fn spread(a, b) = sum[i]((b[i] - a)^2)
fn energy(b) {
    m = max[i](b[i])
    e = exp(b - m)
    return sum[i](e[i])
}
fn doubled(b) {
    z[i] = b[i] * 2
    return z
}
fn ste(x) = sign(x) with gradient(dy) = dy
"""


@pytest.mark.parametrize(
    "statements, expected",
    [
        ("y[n, u] = distance(x[n, 0], b[u])", (X[:, :1] - B) ** 2),
        ("y[n] = spread(x[n, 0], b)", ((X[:, :1] - B) ** 2).sum(1)),
        ("y[n, d] = spread(x[n, d], b) + spread(x[n, 0], w[0])",
         ((X[..., None] - B) ** 2).sum(-1) + ((X[:, :1] - W[0]) ** 2).sum(1)[:, None]),
        ("y[n] = energy(b) * x[n, 0]", np.exp(B - B.max()).sum() * X[:, 0]),
        ("y[n] = doubled(b)[1] * x[n, 0]", 2 * B[1] * X[:, 0]),
        ("y[n, u] = doubled(b)[u] * sum[d](ste(x[n, d]))", 2 * B * np.sign(X).sum(1)[:, None]),
    ],
)  # fmt: skip
def test_functions(statements, expected):
    same(statements, expected, head=FUNCTIONS)


# ---------------------------------------------------------------- what is made of it


def test_addends_that_are_sums_are_terms_of_one_definition():
    contraction, bias = definition("y[n, u] = sum[d](w[u, d] * x[n, d]) + b[u]").terms
    assert [str(s) for s in contraction.form.domain] == ["N", "4", "3"] and contraction.operands == ("w", "x")
    assert [str(s) for s in bias.form.domain] == ["N", "4"] and bias.operands == ("b",)


def test_a_number_in_front_of_a_sum_goes_into_its_term():
    (term,) = definition("y[n, u] = -2 * sum[d](w[u, d] * x[n, d]) / 4").terms
    assert term.form.body.args[0].value == -0.5


def test_a_sum_inside_a_function_is_a_definition_named_after_the_whole():
    made = program("y[n] = exp(sum[d](x[n, d]))")
    assert [s.tensor.name for s in made.statements] == ["y_sum", "y"]


def test_a_sum_that_does_not_vary_with_an_output_is_computed_once():
    made = program("y[n, u] = sum[d](x[n, d]) + b[u]")
    inner, outer = made.statements
    assert inner.tensor.shape == outer.tensor.shape[:1] and len(outer.terms) == 1


def test_a_sum_of_a_sum_is_one_sum():
    (term,) = definition("y[n] = sum[u](sum[d](w[u, d] * x[n, d]))").terms
    assert [str(s) for s in term.form.domain] == ["N", "4", "3"]


def test_the_domain_has_outputs_first_then_reduced_indices_in_order():
    form = definition("y[j, i] = sum[p, q](x[i, p] * w[j, q])").terms[0].form
    assert [str(s) for s in form.domain] == ["4", "N", "3", "3"]
    assert [alone_index(w) for w in form.write] == [0, 1]


@pytest.mark.parametrize(
    "statement, expected",
    [
        ("y[h < 9] = sum[i, p](w[0, p] * b[i] if h == 2 * i + p - 1 else 0)",
         [sum(W[0, p] * B[i] for i in range(4) for p in range(3) if h == 2 * i + p - 1) for h in range(9)]),
        ("y[i < 4] = sum[j < 4](b[j] if j == 3 - i else 0)", B[::-1]),
        ("y[i < 5] = sum[j < 4](b[j] if j == i - 1 else 0)", np.r_[0, B]),
        ("y[i < 4] = sum[j < 4](b[j] * b[i] if i - 1 == j else 0)", np.r_[0, B[:-1]] * B),
    ],
)  # fmt: skip
def test_an_equality_is_a_place_never_a_search(statement, expected):
    same(statement, expected)
    (term,) = definition(statement).terms
    assert "eq" not in _functions(term.form.body)


def _functions(expr) -> set[str]:
    own = {expr.function} if hasattr(expr, "function") else set()
    return own.union(*(_functions(c) for c in expr.children))


def test_a_histogram_writes_at_the_value_read():
    (term,) = definition("y[v < 11] = sum[n, s](1 if t[n, s] == v else 0)", TOKENS).terms
    assert len(term.form.domain) == 2 and term.form.write[0].slots


@pytest.mark.parametrize(
    "statements, bound",
    [
        ("y[n] = argmax[d](x[n, d])", 3),
        ("y = argmax[n, d](x[n, d])", "3 * N"),
        ("y[n, d] = d if x[n, d] > 0 else 2", 3),
        ("y[n, d] = d - 1 if x[n, d] > 0 else 2", None),
        ("y[n, d] = int(x[n, d])", None),
        ("y[n, d < 3] = (d * 2) % 5 + (0 if x[n, d] > 0 else 1)", 6),
        ("y[n] = clamp(int(x[n, 0]), 2, 7)", 8),
    ],
)
def test_ranges_of_ints(statements, bound):
    found = definition(statements).tensor.bound
    assert str(found) == str(bound)


# ---------------------------------------------------------------- extents


@pytest.mark.parametrize(
    "statements, shape",
    [
        ("y[n, d < 2] = x[n, d]", ["N", "2"]),  # a stated bound
        ("y[n, d] = x[n, d] + (w[0, d - 1] else 0)", ["N", "3"]),  # alone and unguarded
        ("y[n, d] = (x[n, d] else 0)", ["N", "3"]),  # alone and guarded
        ("y[u] = sum[d](w[0, d] * b[u + d])", ["2"]),  # the largest that stays inside
        ("y[i] = b[2 * i + 1]", ["2"]),
        ("y[i] = b[3 - i]", ["4"]),
        ("y[i, j < 2] = b[i + j]", ["3", "2"]),
        ("y[i] = b[i // 3]", ["12"]),
        ("y[i, j] = k[0, 0, i, j + 1]", ["3", "2"]),
        ("y[i] = x[0, 0, i + 2, 0]", ["H - 2"]),
        ("y[i] = x[0, 0, 2 * i + 1, 0]", ["H // 2"]),
        ("y[i] = sum[j, p](x[0, 0, j + p, i] * b[p])", ["W"]),
    ],
)
def test_extents(statements, shape):
    ports = PORTS if "k[" not in statements and "x[0, 0" not in statements else f"{IMAGES}; input b[4]"
    assert [str(s) for s in definition(statements, ports).tensor.shape] == shape


def test_the_first_rule_that_applies_counts():
    """`i` stands alone in b, so rule 4 does not shorten it for x: the read of x is an error."""
    assert fault("y[n, i] = x[n, i + 1] + b[i]").code == "DG423"


def test_extents_follow_from_one_another():
    assert definition("y[i] = sum[p, q](w[p, q] * b[p + i])").tensor.shape == (1,)
    form = definition("y[i] = sum[j, p](x[0, 0, j + p, i] * b[p])", f"{IMAGES}; input b[4]").terms[0].form
    assert [str(s) for s in form.domain] == ["W", "H - 3", "4"]


def test_symbolic_sizes_run_at_any_size():
    made = network(body(f"{IMAGES}\ny[n, o, i, j] = sum[c, p, q](k[o, c, p, q] * x[n, c, i + p, j + q])\noutput y"))
    for height, width in ((3, 5), (9, 4)):
        x = RNG.normal(size=(1, 3, height, width))
        assert values_of(made, x=x, k=KERNEL)["y"].shape == (1, 4, height - 2, width - 2)


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    "statement, code, span, message, help_",
    [
        ("y[n, u] = sum[d](w[u, d] * b[d])", "DG421", "b[d]", "`d` runs over 3 in w[u, d] and over 4 in b[d]", "`d < 3`"),
        ("y[n, d] = x[n, d] + w[n, d]", "DG421", "w[n, d]", "`n` runs over N", None),
        ("y[n, d] = x[n]", "DG411", "x[n]", "has 2 axes, and 1 subscript", "..."),
        ("y[n, d] = x[n, d, 0]", "DG411", "x[n, d, 0]", "3 subscripts", None),
        ("y[n] = x[n, d]", "DG201", "d", "`d`", "sum[d](...)"),
        ("y[n, d] = x", "DG401", "x", "[N, 3]", "index"),
        ("y[n, d] = x[n, d] + b", "DG401", "b", "[4]", "index"),
        ("y[n, k] = x[n, 0] * k", "DG420", "k", "`k`", "`k < 10`"),
        ("y[i] = (b[i + 1] else 0)", "DG420", "i", "`i`", "`i < 4`"),
        ("y[i] = sum[p](b[i + p])", "DG420", "i", "open", "`i < 4`"),
        ("y[n, d < 3] = x[n, d + 1]", "DG423", "x[n, d + 1]", "the places 1 to 3 of axis 1 of `x` [N, 3]", "`d < 2`"),
        ("y[n, d] = x[n, d - 1]", "DG423", "x[n, d - 1]", "the places -1 to 2", "(x[n, d - 1] else 0)"),
        ("y[n, k < 4] = x[n, 2 - k]", "DG423", "x[n, 2 - k]", "the places -1 to 2", "else 0"),
        ("y[n] = x[n, 3]", "DG423", "x[n, 3]", "the place 3", "else 0"),
        ("y[n, d] = x[n + 1, d] + x[n, d]", "DG423", "x[n + 1, d]", "1 to N", "`n < N - 1`"),
        ("y[i] = sum[p](w[0, p] * b[i + p + 2])", "DG424", "b[i + p + 2]", "no place for `i`", "else 0"),
        ("y[n] = w[int(x[n, 0]), 0]", "DG422", "w[int(x[n, 0]), 0]", "`int` has no known range", "clamp(..., 0, 3)"),
        ("y[n] = w[x[n, 0], 0]", "DG412", "x[n, 0]", "`x` holds floats", "declare it as an int"),
        ("y[n, n] = x[n, n]", "DG414", "n", "bound already", None),
        ("y[n, d] = sum[d](x[n, d])", "DG414", "d", "bound already", None),
        ("y[n, ...] = x[n, ...] + w[...]", "DG410", "w[...]", "2 axes here and for 1 axis", None),
        ("y[n, ...] = x[n, 0]", "DG417", "...", "how many axes", "x[n, ...]"),
        ("y[n, ...] = x[n, ...] - mean[...](x[n, ...])", "DG414", "...", "bound already", None),
        ("y[..., ...] = x[...]", "DG414", "...", "twice", None),
        ("y[n, 2] = x[n, 0]", "DG416", "2", "one place", "concat"),
        ("y[n, d] = x[n, :]", "DG418", "x[n, :]", "slice", None),
        ("y[n] = (3 else 0)", "DG407", "3 else 0", "no read", None),
        ("y[n] = sum(x[n, 0])", "DG344", "sum(x[n, 0])", "single element", "`sum[i](...)`"),
        ("y[d < 2.5] = b[d]", "DG350", "2.5", "not a size", None),
        ("y[d < x] = b[d]", "DG350", "x", "not a size", None),
    ],
)  # fmt: skip
def test_faults(statement, code, span, message, help_):
    found = fault(statement)
    assert found.code == code, found.render()
    assert found.span.text.strip("()") == span.strip("()"), found.render()
    assert message in found.message, found.message
    assert help_ is None or help_ in (found.help or ""), found.render()


def test_repairs_repair():
    """What a message proposes is accepted."""
    for broken, mended in (
        ("y[n, d < 3] = x[n, d + 1]", "y[n, d < 2] = x[n, d + 1]"),
        ("y[n, d] = x[n + 1, d] + x[n, d]", "y[n < N - 1, d] = x[n + 1, d] + x[n, d]"),
        ("y[n, d < 3] = x[n, d - 1]", "y[n, d < 3] = (x[n, d - 1] else 0)"),
        ("y[n] = w[int(x[n, 0]), 0]", "y[n] = w[clamp(int(x[n, 0]), 0, 3), 0]"),
        ("y[n] = w[int(x[n, 0]), 0]", "y[n] = w[int(x[n, 0]) % 4, 0]"),
    ):
        fault(broken)
        definition(mended)


def test_an_unbounded_int_is_no_place():
    found = fault("y[n, s] = table[u[n, s], 0]", TOKENS)
    assert found.code == "DG422" and "`u` has no known range" in found.message and ": int < 11" in found.help


def test_a_range_that_is_too_wide_is_shown():
    found = fault("y[n, s] = table[t[n, s] + 1, 0]", TOKENS)
    assert found.code == "DG423" and "the places 1 to 11" in found.message


def test_a_condition_does_not_guard():
    assert fault("y[n, d] = x[n, d - 1] if d > 0 else 0").code == "DG423"


def test_a_disagreement_shows_both_reads_and_their_tensors():
    found = fault("z = b * 2\ny[n, u] = sum[d](w[u, d] * z[d])")
    assert {n.span.text for n in found.notes} == {"w[u, d]", "input w[4, 3]", "z = b * 2"}


def test_a_definition_inside_a_function_takes_whole_tensors():
    found = fault("y[n] = doubled(x[n, 0])[0]", head="fn doubled(a) {\nz[k < 3] = a * k\nreturn z\n}")
    assert found.code == "DG415"


def test_a_place_that_only_symbols_can_settle_becomes_a_requirement():
    made = network(body(f"{IMAGES}\ny[n] = x[n, 0, 3, 0]\noutput y"))
    assert [r.split(",")[0] for r in made.requirements] == ["H >= 4"]


@pytest.mark.parametrize(
    "statements, expected",
    [
        ("y[n, k < H * W] = x[n, 0, k // W, k % W]", IMAGE[:, 0].reshape(2, -1)),
        ("f = reshape(x, [N, 3 * H * W])\ny[n, c < 3, i < H, j < W] = f[n, c * H * W + i * W + j]", IMAGE),
        ("y[n, i < 2 * H] = x[n, 0, i * H // (2 * H), 0]", IMAGE[:, 0, :, 0].repeat(2, 1)),
    ],
)
def test_places_with_symbolic_coefficients(statements, expected):
    same(statements, expected, IMAGES, IMAGE_VALUES)


def test_a_bool_by_its_element_is_a_bool():
    made = network("net n { input k[N, 5]: int < 7; m[n, h < 1, j] = k[n, j] != 0; e[n, j] = k[n, j] == 3; output m; output e }")
    verify(made.program, "elaborated")
    found = values_of(made, k=np.array([[0, 3, 6, 0, 1]]))
    assert found["m"].tolist() == [[[False, True, True, False, True]]]
    assert found["e"].tolist() == [[False, True, False, False, False]]


def test_the_range_of_a_place_is_exact_where_an_index_occurs_twice():
    made = network("net n { input x[8]; y[i < 8] = x[i - i % 4 + i % 2 + 2]; output y }")
    np.testing.assert_array_equal(values_of(made, x=np.arange(8.0))["y"], [2, 3, 2, 3, 6, 7, 6, 7])
    wrong = problem("net n { input x[8]; y[i < 8] = x[i - i % 4 + i % 2 + 4]; output y }")
    assert "reads the places 4 to 9" in wrong.message


def test_half_an_axis_must_be_whole():
    text = "net n { input x[N, T]; y[n, t < T / 2] = x[n, 2 * t] + x[n, 2 * t + 1]; output y }"
    assert "T % 2 == 0" in " ".join(network(text).requirements)
    assert values_of(network(text, sizes={"T": 4}), x=np.ones((1, 4)))["y"].tolist() == [[2, 2]]
    problem(text, sizes={"T": 5})
    problem("net n { input x[N, 3]; y[i < N / 2, d] = x[i, d]; output y }")
