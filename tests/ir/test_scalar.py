"""Every scalar function: its value against references, its derivative against differences, its kernel text against it."""

import inspect
import itertools
import math

import numpy as np
import pytest

from diffgraph.autodiff.adjoint import adjoint
from diffgraph.ir import random, special
from diffgraph.ir.evaluate import evaluate_form
from diffgraph.ir.expression import Affine, Call, Const, Index, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.scalar import FUNCTIONS, KERNEL_FUNCTIONS, argument_kinds, evaluate, kind_of, result_kind

#: Where each function of floats is smooth, away from kinks.
GRIDS = {
    "log": (0.1, 5), "log1p": (-0.8, 5), "log2": (0.1, 5), "log10": (0.1, 5), "sqrt": (0.1, 5), "recip": (0.2, 5),
    "asin": (-0.9, 0.9), "acos": (-0.9, 0.9), "tan": (-1.4, 1.4), "normal_quantile": (0.02, 0.98), "pow": (0.2, 3),
    "div": (0.3, 4), "mod": (0.3, 4),
}  # fmt: skip
SPECIAL = [-np.inf, -1e300, -745.0, -3.5, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0, 2.0, 30.0, 710.0, 1e300, np.inf, np.nan]

OF_FLOATS = [f.name for f in FUNCTIONS.values() if f.arguments in ("float", "common") and f.name != "random"]
SMOOTH = [n for n in OF_FLOATS if FUNCTIONS[n].derivative is not None]


def arity(name):
    return FUNCTIONS[name].arity or 2


def value(name, *arguments, real=np.float64):
    return evaluate(name, arguments, ["float"] * len(arguments), real)


def form_of(name, count):
    """y[i] = f(a[i], b[i], ...)"""
    place = (Affine(0, ((Index(0), 1),)),)
    operands = tuple(Operand((count,)) for _ in range(arity(name)))
    reads = tuple(Read(slot, place, None) for slot in range(arity(name)))
    return Form((count,), "sum", place, (count,), operands, Call(name, reads))


def derivatives(name, arguments):
    """The partial derivative by each argument, by the adjoint of a form; 0 where there is none."""
    form = form_of(name, len(arguments[0]))
    found = [np.zeros(len(arguments[0])) for _ in arguments]
    standing = {"cotangent": np.ones(len(arguments[0])), "result": value(name, *arguments)}
    for part in adjoint(form).parts:
        operands = [standing[r] if isinstance(r, str) else arguments[r] for r in part.reads]
        found[part.slot] = found[part.slot] + evaluate_form(part.form, operands)
    return found


# ------------------------------------------------------------------------------------------------ values


REFERENCES = {
    "erf": "erf", "normal_quantile": "ndtri", "sigmoid": "expit", "expm1": "expm1", "log1p": "log1p",
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
def test_special_functions_against_torch(name):
    torch = pytest.importorskip("torch")
    low, high = (1e-12, 1 - 1e-12) if name == "normal_quantile" else (-0.999, 40) if name == "log1p" else (-40, 40)
    x = np.concatenate([np.linspace(low, high, 20001), np.array(SPECIAL), np.logspace(-300, -1, 600)])
    expected = getattr(torch.special, REFERENCES[name])(torch.tensor(x)).numpy()
    np.testing.assert_allclose(value(name, x), expected, rtol=2e-15, atol=1e-300)


def test_softplus_is_accurate_at_both_ends():
    x = np.array([-745.0, -50.0, 0.0, 50.0, 1e300])
    expected = [math.exp(-745), math.exp(-50), math.log(2), 50.0, 1e300]
    np.testing.assert_allclose(value("softplus", x), expected, rtol=1e-15)


def test_quantile_is_the_inverse_of_erf():
    p = np.linspace(0.001, 0.999, 999)
    np.testing.assert_allclose((1 + special.erf(special.normal_quantile(p) / math.sqrt(2))) / 2, p, rtol=1e-14)


@pytest.mark.parametrize("name", OF_FLOATS)
def test_float32_stays_float32(name):
    arguments = [np.float32([0.25, 0.75])] * arity(name)
    wide = value(name, *(a.astype(np.float64) for a in arguments))
    narrow = value(name, *arguments, real=np.float32)
    assert narrow.dtype == (np.float32 if result_kind(name, ["float"] * arity(name)) == "float" else wide.dtype)
    np.testing.assert_allclose(narrow, wide, rtol=1e-6)


@pytest.mark.parametrize("n", [-3, -1, 0, 1, 2, 5, 10])
def test_int_powers_are_repeated_multiplication(n):
    x = np.array([-2.0, 0.0, 0.5, np.inf, np.nan])
    with np.errstate(all="ignore"):
        expected = np.power(x, float(n))
    np.testing.assert_allclose(evaluate("powi", [x, n], ["float", "int"]), expected)


def test_int_functions_are_those_of_python():
    a, b = (np.array(v) for v in zip(*itertools.product(range(-7, 8), (-3, -2, 1, 4))))
    assert evaluate("floordiv", [a, b], ["int", "int"]).tolist() == [x // y for x, y in zip(a.tolist(), b.tolist())]
    assert evaluate("mod", [a, b], ["int", "int"]).tolist() == [x % y for x, y in zip(a.tolist(), b.tolist())]
    assert evaluate("powi", [a, np.abs(b)], ["int", "int"]).tolist() == [
        x ** abs(y) for x, y in zip(a.tolist(), b.tolist())
    ]


def test_bools_count_as_ints():
    yes = np.array([True, False])
    assert evaluate("add", [yes, yes], ["bool", "bool"]).tolist() == [2, 0]
    assert evaluate("mul", [yes, 2.5], ["bool", "float"]).tolist() == [2.5, 0]
    assert evaluate("neg", [yes], ["bool"]).tolist() == [-1, 0]


def test_maximum_of_nan_is_nan():
    assert np.isnan(value("max", [np.nan, 1.0], [1.0, np.nan])).all()
    assert np.isnan(value("relu", [np.nan])).all()


# ------------------------------------------------------------------------------------------------ kinds


@pytest.mark.parametrize(
    "name, kinds, expected, casts",
    [
        ("add", ["int", "bool"], "int", ("int", "int")),
        ("add", ["int", "float"], "float", ("float", "float")),
        ("exp", ["int"], "float", ("float",)),
        ("powi", ["float", "int"], "float", ("float", "int")),
        ("powi", ["int", "int"], "int", ("int", "int")),
        ("where", ["bool", "int", "float"], "float", ("bool", "float", "float")),
        ("where", ["bool", "bool", "bool"], "bool", ("bool", "bool", "bool")),
        ("lt", ["int", "float"], "bool", ("float", "float")),
        ("int", ["float"], "int", ("float",)),
        ("stop_gradient", ["bool"], "bool", ("bool",)),
        ("random", ["int"] * 4, "float", ("int",) * 4),
    ],
)
def test_kinds(name, kinds, expected, casts):
    assert result_kind(name, kinds) == expected
    assert argument_kinds(name, kinds) == casts


def test_kind_of_an_expression():
    body = Call("where", (Call("lt", (Index(0), Const(3))), Read(0, (), None), Const(1)))
    assert kind_of(body, ["int"]) == "int"
    assert kind_of(body, ["float"]) == "float"


# ------------------------------------------------------------------------------------------------ derivatives


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_against_differences(name):
    generator = np.random.default_rng(5)
    low, high = GRIDS.get(name, (-3, 3))
    arguments = [generator.uniform(low, high, 200) for _ in range(arity(name))]
    if name == "clamp":
        arguments[1:] = [np.full(200, -1.0), np.full(200, 1.5)]
    step = 1e-6
    for k, found in enumerate(derivatives(name, arguments)):
        above, below = (
            value(name, *(a + sign * step if j == k else a for j, a in enumerate(arguments))) for sign in (1, -1)
        )
        expected = (above - below) / (2 * step)
        # A step over a kink of floor, relu, ... is no difference quotient.
        smooth = np.abs(expected) < 1e4
        assert smooth.sum() > 190
        np.testing.assert_allclose(found[smooth], expected[smooth], rtol=2e-7, atol=2e-8)


@pytest.mark.parametrize(
    "name, at, expected",
    [
        ("relu", [0.0], [0.0]),
        ("abs", [0.0], [0.0]),
        ("sign", [0.0], [0.0]),
        ("max", [2.0, 2.0], [0.5, 0.5]),
        ("min", [2.0, 2.0], [0.5, 0.5]),
        ("max", [2.0, 1.0], [1.0, 0.0]),
        ("min", [2.0, 1.0], [0.0, 1.0]),
        ("pow", [0.0, 0.0], [0.0, 0.0]),
        ("pow", [0.0, 2.0], [0.0, 0.0]),
        ("floor", [1.5], [0.0]),
        ("clamp", [5.0, -1.0, 1.0], [0.0, 0.0, 1.0]),
        ("sigmoid", [800.0], [0.0]),
        ("softplus", [-800.0], [0.0]),
        ("tanh", [400.0], [0.0]),
    ],
)
def test_derivatives_at_special_points(name, at, expected):
    found = derivatives(name, [np.array([x]) for x in at])
    assert [d.item() for d in found] == expected


@pytest.mark.parametrize("power, expected", [(0, 0.0), (1, 1.0), (2, 0.0), (5, 0.0)])
def test_int_powers_at_zero(power, expected):
    place = (Affine(0, ((Index(0), 1),)),)
    body = Call("powi", (Read(0, place, None), Const(power)))
    parts = adjoint(Form((1,), "sum", place, (1,), (Operand((1,)),), body)).parts
    standing = {"cotangent": np.ones(1), "result": np.array([0.0**power])}
    total = sum(
        evaluate_form(p.form, [standing.get(r, np.zeros(1)) if isinstance(r, str) else np.zeros(1) for r in p.reads])
        for p in parts
    )
    assert float(np.sum(total)) == expected


# ------------------------------------------------------------------------------------------------ draws


def test_philox_gives_the_published_bits():
    """Known answers of Random123 for philox2x32-10."""
    word = 0xFFFFFFFF
    cases = [
        ((0, 0, 0), (0xFF1DAE59, 0x6CD10DF2)),
        ((word, word, word), (0x2C3F628B, 0xAB4FD7AD)),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E), (0xDD7CE038, 0xF62A4C12)),
    ]
    for counter, expected in cases:
        assert tuple(int(w) for w in random.philox(*map(np.uint64, counter))) == expected


def test_draws_are_uniform_and_independent():
    streams = np.array([random.uniform(s, t, p, np.arange(20000)) for s, t, p in itertools.product((0, 1), repeat=3)])
    assert streams.min() > 0 and streams.max() < 1
    np.testing.assert_allclose(streams.mean(axis=1), 0.5, atol=0.01)
    np.testing.assert_allclose(streams.var(axis=1), 1 / 12, atol=0.003)
    correlations = np.corrcoef(streams) - np.eye(8)
    assert np.abs(correlations).max() < 0.03
    counts = np.histogram(streams, bins=64, range=(0, 1))[0]
    expected = streams.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 120


def test_draws_are_exact_in_float32():
    drawn = random.uniform(7, 1, 2, np.arange(5000))
    assert (drawn.astype(np.float32) == drawn).all()
    assert np.isfinite(special.normal_quantile(drawn)).all()


# ------------------------------------------------------------------------------------------------ kernel text


@pytest.fixture(scope="module")
def compiled():
    """A function that compiles kernel text of functions into one that takes and gives a tuple of scalars."""
    numba = pytest.importorskip("numba")
    names = {"math": math, "np": np, "float32": np.float32, "float64": np.float64, "bool_": np.bool_}
    for function in KERNEL_FUNCTIONS:
        exec(inspect.getsource(function), names)
        names[function.__name__] = numba.njit(names[function.__name__])

    def build(rows, real):
        values = ", ".join(
            f.cpu.format("a", "b", "c", type=real if f.kind != "bool" else "bool_") for f in rows
        )
        exec(f"def kernel(a, b, c):\n    return ({values},)", names)
        return numba.njit(error_model="numpy")(names["kernel"])

    return build, names


@pytest.mark.parametrize("real", ["float64", "float32"])
@pytest.mark.parametrize("count", [1, 2])
def test_kernel_text_means_the_same(compiled, real, count):
    rows = [FUNCTIONS[n] for n in OF_FLOATS if arity(n) == count and n not in ("floordiv", "mod", "pow")]
    kernel = compiled[0](rows, real)
    dtype = np.dtype(real).type
    with np.errstate(over="ignore"):
        points = np.array(SPECIAL).astype(dtype)
    tolerance = 1e-14 if real == "float64" else 2e-6
    for point in itertools.product(points, repeat=count):
        got = kernel(*point, *[dtype(0)] * (3 - count))
        for row, value_ in zip(rows, got):
            expected = value(row.name, *point, real=dtype)
            close = np.isclose(value_, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
            assert close, (row.name, point, value_, expected)


def test_kernel_draws_are_the_same_bits(compiled):
    _, names = compiled
    for arguments in [(0, 0, 0, 0), (3, 5, 7, 2**33 + 5), (2**40 + 1, 9, 2**32 - 1, 123456)]:
        assert names["draw"](*map(np.uint64, arguments)) == random.uniform(*arguments)
