"""Simplifying keeps values and kinds; and does what is promised of it."""

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest

from diffgraph.ir import scalar
from diffgraph.ir.affine import affine, divide, index, interval, is_injective, is_inside
from diffgraph.ir.dimension import floor_divide, is_nonnegative, symbol
from diffgraph.ir.evaluate import evaluate_form
from diffgraph.ir.expression import Affine, Call, Const, Extent, Index, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.rewrite import rewrite
from diffgraph.ir.simplify import ONE, ZERO, add, call, mul, negate, recip, where

X = Read(0, (index(0),), None)
Y = Read(1, (index(1),), None)
T = Read(2, (index(0),), None)
B = Read(3, (index(1),), None)
KINDS = ("float", "float", "int", "bool")
DOMAIN = (4, 3)
OPERANDS = tuple(Operand((n,), kind) for n, kind in zip((4, 3, 4, 3), KINDS))
VALUES = (
    np.array([-2.0, 0.5, 3.0, 1.0]),
    np.array([1.5, -1.0, 0.25]),
    np.array([-3, 0, 2, 7]),
    np.array([True, False, True]),
)


def value(expr):
    form = Form(DOMAIN, "sum", (index(0), index(1)), DOMAIN, OPERANDS, expr)
    return evaluate_form(form, VALUES)


def random_expression(rng, depth):
    """A raw tree of calls, as an elaborator might write it."""
    if depth == 0 or rng.random() < 0.15:
        return rng.choice(
            [X, Y, T, B, Index(0), Index(1), index(0), Const(0), Const(1), Const(2), Const(-1), ZERO, ONE, Const(0.5)]
            + [Const(Fraction(1, 3)), Const(True), Const(False), Const(3)]
        )
    inner = lambda: random_expression(rng, depth - 1)
    name = rng.choice(
        [
            "add",
            "add",
            "mul",
            "mul",
            "mul",
            "sub",
            "neg",
            "where",
            "where",
            "where",
            "eq",
            "lt",
            "ge",
            "and",
            "or",
            "not",
            "max",
            "min",
            "abs",
            "relu",
            "float",
            "int",
            "powi",
        ]
    )
    if name in ("add", "mul", "and", "or"):
        return Call(name, tuple(inner() for _ in range(rng.randint(2, 3))))
    if name == "where":
        args = [inner(), inner(), inner()]
        if rng.random() < 0.6:
            args[rng.choice([1, 2])] = rng.choice([ZERO, Const(0)])
        return Call("where", tuple(args))
    if name == "powi":
        return Call("powi", (inner(), Const(rng.randint(0, 3))))
    return Call(name, tuple(inner() for _ in range(scalar.FUNCTIONS[name].arity)))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kinds", [(), KINDS], ids=["unknown", "known"])
def test_simplified_expressions_have_the_same_values_and_kinds(seed, kinds):
    rng = random.Random(seed)
    different = 0
    for _ in range(150):
        raw = random_expression(rng, 4)
        simple = rewrite(raw, lambda e: e, kinds)
        expected, found = value(raw), value(simple)
        np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=1e-12, atol=1e-12)
        if kinds:
            assert scalar.kind_of(simple, kinds) == scalar.kind_of(raw, kinds), raw
        different += simple is not raw
        assert rewrite(simple, lambda e: e, kinds) is simple, "simplifying twice is simplifying once"
    assert different > 75


def test_rationals_stay_exact():
    assert mul(Const(49), call("div", ONE, Const(49))) is Const(1.0)
    third = call("div", X, Const(3), kinds=KINDS)
    assert third.args[0] is Const(Fraction(1, 3))
    assert mul(third, Const(3), kinds=KINDS) is X
    assert mul(Const(Fraction(1, 2)), X) is mul(Const(0.5), X)


def test_constants_of_different_kinds_differ():
    values = [1, 1.0, True, -0.0, 0.0, 0]
    assert len({id(Const(v)) for v in values}) == len(values)


def test_a_guard_leaves_a_product_so_that_it_is_never_zero_times_infinity():
    c = Call("gt", (X, ZERO))
    guarded = mul(where(c, recip(X), ZERO, kinds=KINDS), Y, kinds=KINDS)
    assert guarded.function == "where" and guarded.args[0] is c and guarded.args[2] is ZERO
    form = Form((1, 1), "sum", (), (), (Operand((1,)), Operand((1,))), guarded)
    assert evaluate_form(form, [np.zeros(1), np.ones(1)]) == 0


def test_stop_gradient_is_opaque():
    stopped = Call("stop_gradient", (mul(Const(2.0), X),))
    assert add(stopped, mul(Const(-2.0), X), kinds=KINDS) is not ZERO
    assert call("stop_gradient", where(Call("gt", (X, ZERO)), X, ZERO)).function == "stop_gradient"


def test_like_terms_merge_and_sums_are_in_one_order():
    assert add(X, X, kinds=KINDS) is mul(Const(2.0), X, kinds=KINDS)
    assert add(X, negate(X), kinds=KINDS) is ZERO
    assert add(X, Y) is add(Y, X)
    assert call("sub", X, call("sub", X, Y), kinds=KINDS) is Y
    assert add(Index(0), Const(2), negate(Index(1))) is affine(2, ((Index(0), 1), (Index(1), -1)))


def test_a_neutral_float_stays_where_it_decides_the_kind():
    as_int = mul(ONE, T)
    assert scalar.kind_of(as_int, KINDS) == "float"
    assert mul(ONE, X, kinds=KINDS) is X
    assert scalar.kind_of(mul(ONE, T, kinds=KINDS), KINDS) == "float"


# ------------------------------------------------------------------------------------------------ places


def at(expr, point):
    match expr:
        case Affine(constant, terms):
            return constant + sum(c * at(a, point) for a, c in terms)
        case Index(axis):
            return point[axis]
        case Call("floordiv", (a, Const(q))):
            return at(a, point) // q
        case Call("mod", (a, Const(q))):
            return at(a, point) % q


@pytest.mark.parametrize("seed", range(4))
def test_division_and_intervals_agree_with_numbers(seed):
    rng = random.Random(seed)
    simplified = 0
    for _ in range(300):
        domain = tuple(rng.randint(1, 6) for _ in range(3))
        coefficients = [1, 2, 3, 4, 6, 8, 12, -1, -2, -4]
        place = affine(
            rng.randint(-5, 9), [(Index(k), rng.choice(coefficients)) for k in range(3) if rng.random() < 0.7]
        )
        result, steps = place, []
        for _ in range(rng.randint(1, 3)):
            step = rng.choice([2, 3, 4, 6, 8, 12, 24, -3]), rng.choice(["floordiv", "mod"])
            steps.append(step)
            result = divide(result, step[0], domain, step[1])
        low, high = interval(result, domain)
        injective = is_injective(result, domain)
        seen = {}
        for point in itertools.product(*map(range, domain)):
            expected = at(place, point)
            for q, function in steps:
                expected = expected // q if function == "floordiv" else expected % q
            assert at(result, point) == expected
            assert low <= expected <= high
            own = tuple(point[k] for k in sorted(result.indices))
            if injective:
                assert seen.setdefault(expected, own) == own
        simplified += all(type(a) is Index for a, _ in result.terms)
    assert simplified > 60


def test_digits_go_together_again():
    domain = (32,)
    high = divide(index(0), 16, domain, "floordiv")
    middle = divide(divide(index(0), 4, domain, "floordiv"), 4, domain, "mod")
    low = divide(index(0), 4, domain, "mod")
    assert affine(0, ((high, 16), (middle, 4), (low, 1))) is index(0)


def test_digits_of_a_number_made_of_digits_are_found():
    domain = (3, 4, 4)
    number = affine(0, ((Index(0), 16), (Index(1), 4), (Index(2), 1)))
    assert divide(number, 16, domain, "floordiv") is index(0)
    assert divide(divide(number, 4, domain, "floordiv"), 4, domain, "mod") is index(1)
    assert divide(number, 4, domain, "mod") is index(2)


def test_symbolic_extents():
    n, h = symbol("N"), symbol("H")
    rows = floor_divide(h - 3, 2) + 1
    window = affine(0, ((Index(0), 2), (Index(1), 1)))
    assert is_inside(window, h, (rows, 3))
    assert not is_inside(affine(-1, ((window, 1),)), h, (rows, 3))
    assert not is_inside(window, h, (rows + 1, 3))
    assert is_inside(index(0), n + 1, (n,)) and not is_inside(index(0), n - 1, (n,))
    assert interval(affine(0, ((Index(0), 1), (Extent(n), -1))), (n,)) == (-n, -1)
    assert affine(0, ((Extent(2 * n + 1), 1), (Extent(n), -2))) is affine(1)
    assert is_nonnegative(n * h - 1) and not is_nonnegative(n - h)
