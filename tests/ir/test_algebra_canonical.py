"""The canonical form: the same meaning, and one object for all copies."""

import random

import numpy as np
import pytest
from random_forms import forms, meaning, permuted

from diffgraph.ir.affine import affine, index
from diffgraph.ir.canonical import canonical, canonical_term
from diffgraph.ir.dimension import symbol
from diffgraph.ir.evaluate import evaluate_form
from diffgraph.ir.expression import Affine, Call, Const, Extent, Index, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.program import Term
from diffgraph.ir.simplify import ZERO, add, call, mul, recip, where

N = symbol("N")


def place(constant, *terms):
    return affine(constant, [(Index(k), c) for k, c in terms])


def read(slot, *axes):
    return Read(slot, tuple(index(k) for k in axes), None)


def summed(domain, shape, operands, body, op="sum"):
    """A form that writes its first indices."""
    return Form(domain, op, tuple(map(index, range(len(shape)))), shape, operands, body)


def check(form, arrays, sizes, expected):
    found, kept = canonical(form)
    np.testing.assert_array_equal(meaning(found, [arrays[k] for k in kept], sizes), expected)
    np.testing.assert_array_equal(evaluate_form(found, [arrays[k] for k in kept], sizes).astype(float), expected)
    assert canonical(found) == (found, tuple(range(len(kept)))), "the canonical form is its own canonical form"
    return found


@pytest.mark.parametrize("seed", range(6))
def test_sums_keep_their_meaning(seed):
    for form, arrays, sizes, expected in forms(seed, 40, symbolic=seed % 2 == 0):
        check(form, arrays, sizes, expected)


@pytest.mark.parametrize("op", ["max", "min", "prod", "argmax", "argmin", "any", "all"])
def test_reductions_keep_their_meaning(op):
    for form, arrays, sizes, expected in forms(11, 25, op=op):
        check(form, arrays, sizes, expected)


@pytest.mark.parametrize("op", ["sum", "max", "argmax"])
def test_renamed_copies_have_one_form(op):
    rng = random.Random(3)
    for form, _, _, _ in forms(21, 25, op=op):
        found, kept = canonical(form)
        for _ in range(12):
            copy, _ = permuted(form, rng)
            again, kept_again = canonical(copy)
            assert again is found
            assert [copy.operands[k] for k in kept_again] == [form.operands[k] for k in kept]


SQUARE = Operand((5, 5))


def cycle(*axes):
    """Reads around a cycle of indices, in both directions at once."""
    pairs = list(zip(axes, (*axes[1:], axes[0])))
    return [add(read(0, a, b), read(0, b, a)) for a, b in pairs]


SYMMETRIC = {
    "triangle": Form((5,) * 3, "sum", (), (), (SQUARE,), mul(read(0, 0, 1), read(0, 1, 2), read(0, 2, 0))),
    "hexagon": Form((5,) * 6, "sum", (), (), (SQUARE,), mul(*cycle(*range(6)))),
    "two triangles": Form((5,) * 6, "sum", (), (), (SQUARE,), mul(*cycle(0, 1, 2), *cycle(3, 4, 5))),
    "sum of eight": summed((5, 5), (5, 5), (SQUARE,) * 8, add(*(read(k, 0, 1) for k in range(8)))),
    "sum of products": summed(
        (5, 5), (5, 5), (SQUARE,) * 6, add(*(mul(read(k, 0, 1), read(k + 1, 1, 0)) for k in (0, 2, 4)))
    ),
    "chain of equations": Form(
        (5, 5, 5), "sum", (), (), (SQUARE,),
        where(Call("and", (Call("eq", (Index(0), place(1, (1, 1)))), Call("eq", (Index(1), place(1, (2, 1)))))),
              read(0, 0, 2), ZERO),
    ),
    "convolution": Form(
        (N, 4, 8, 8, 3, 3, 3), "sum", tuple(map(index, range(4))), (N, 4, 8, 8),
        (Operand((N, 3, 15, 15)), Operand((4, 3, 3, 3))),
        mul(read(1, 1, 4, 5, 6),
            Read(0, (index(0), index(4), place(-1, (2, 2), (5, 1)), place(-1, (3, 2), (6, 1))), ZERO)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_copies_have_one_form(name):
    rng = random.Random(5)
    form = SYMMETRIC[name]
    assert len({canonical(permuted(form, rng)[0])[0] for _ in range(200)}) == 1


def test_what_refinement_cannot_tell_apart_is_still_told_apart():
    # Each vertex of a hexagon sees what each vertex of two triangles sees.
    assert canonical(SYMMETRIC["hexagon"])[0] is not canonical(SYMMETRIC["two triangles"])[0]
    mixed = Form((5,) * 12, "sum", (), (), (SQUARE,), mul(*cycle(*range(6)), *cycle(6, 7, 8), *cycle(9, 10, 11)))
    rng = random.Random(0)
    assert len({canonical(permuted(mixed, rng)[0])[0] for _ in range(5)}) == 1


def test_extents_of_one_vanish():
    form = Form((N, 1, 4, 1), "sum", (index(0), index(1)), (N, 1), (Operand((N, 1, 4, 1)),), read(0, 0, 1, 2, 3))
    found, _ = canonical(form)
    zero = affine()
    assert found.domain == (N, 1, 4) and found.is_projection
    assert found.body is Read(0, (index(0), zero, index(2), zero), None)


def test_guards_are_proved_by_intervals():
    inside = Read(0, (place(-1, (0, 1), (1, 1)),), ZERO)
    outside = Read(0, (place(-1, (0, 1)),), ZERO)
    found, _ = canonical(summed((N, 3), (N,), (Operand((N + 1,)),), add(inside, ZERO)))
    assert found.body.otherwise is ZERO
    found, _ = canonical(summed((N,), (N,), (Operand((N + 2,)),), Read(0, (place(1, (0, 1)),), ZERO)))
    assert found.body.otherwise is None
    found, _ = canonical(summed((N,), (N,), (Operand((N,)),), outside))
    assert found.body.otherwise is ZERO


def test_digits_of_a_summed_index_are_indices():
    places = (index(0), affine(0, ((call("floordiv", Index(2), Const(16)), 1),)))
    middle = affine(0, ((call("mod", call("floordiv", Index(2), Const(4)), Const(4)), 1),))
    low = affine(0, ((call("mod", Index(2), Const(4)), 1),))
    flat = mul(Read(0, (*places, middle, low), None), read(1, 1, 2))
    form = summed((N, 5, 32), (N, 5), (Operand((N, 2, 4, 4)), Operand((5, 32))), flat)
    found, _ = canonical(form)
    assert found.domain == (N, 5, 2, 4, 4)
    assert Read(0, (index(0), index(2), index(3), index(4)), None) in found.body.args


def test_a_flattening_map_stays_a_map():
    places = tuple(affine(0, ((call(f, Index(0), Const(4)), 1),)) for f in ("floordiv", "mod"))
    found, _ = canonical(summed((12,), (12,), (Operand((3, 4)),), Read(0, places, None)))
    assert found.is_pointwise and found.domain == (12,)


def test_a_guard_that_bounds_a_summed_index_becomes_its_extent():
    guarded = where(call("lt", Index(0), Const(4)), read(0, 0), ZERO)
    found, _ = canonical(Form((9,), "sum", (), (), (Operand((9,)),), guarded))
    assert found.domain == (4,) and found.body is read(0, 0)
    guarded = where(call("ge", Index(0), Const(4)), read(0, 0), ZERO)
    found, _ = canonical(Form((N + 4,), "sum", (), (), (Operand((N + 4,)),), guarded))
    assert found.domain == (N,) and found.body is Read(0, (place(4, (0, 1)),), None)


def test_a_guard_of_a_maximum_stays():
    guarded = where(call("lt", Index(0), Const(4)), read(0, 0), ZERO)
    found, _ = canonical(Form((9,), "max", (), (), (Operand((9,)),), guarded))
    assert found.domain == (9,)


def test_a_guard_made_by_a_read_is_dropped_only_in_a_product_of_reads():
    shifted = Read(0, (place(-1, (0, 1)),), ZERO)
    condition = call("ge", Index(0), Const(1))
    operands = (Operand((4,)), Operand((4,)))
    plain = summed((4,), (4,), operands, where(condition, mul(shifted, read(1, 0)), ZERO))
    assert canonical(plain)[0] is canonical(summed((4,), (4,), operands, mul(shifted, read(1, 0))))[0]
    risky = summed((4,), (4,), operands, where(condition, mul(shifted, recip(read(1, 0))), ZERO))
    found, kept = canonical(risky)
    assert found.body.function == "where"
    values = [np.ones(4), np.array([0.0, 1, 1, 1])]
    assert evaluate_form(found, [values[k] for k in kept])[0] == 0


def test_a_summed_index_that_does_not_occur_is_a_factor():
    found, _ = canonical(summed((4, 3, N), (4,), (Operand((4,)),), read(0, 0)))
    assert found.domain == (4,) and found.body is mul(Const(3.0), Extent(N), read(0, 0), kinds=("float",))
    found, _ = canonical(summed((4, 3), (4,), (Operand((4,)),), read(0, 0), op="max"))
    assert found.is_pointwise and found.op == "sum"


def test_the_order_of_reduced_indices_is_kept_except_in_sums():
    operand = Operand((3, 4))
    rows = Form((3, 4), "argmax", (), (), (operand,), read(0, 0, 1))
    columns = Form((4, 3), "argmax", (), (), (operand,), read(0, 1, 0))
    assert canonical(rows)[0] is not canonical(columns)[0]
    table = np.array([[0.0, 5, 0, 0], [0, 0, 0, 0], [5, 0, 0, 0]])
    for form, first in ((rows, 1), (columns, 2)):
        found, _ = canonical(form)
        assert evaluate_form(found, [table]) == first
    as_sums = [Form(f.domain, "sum", (), (), f.operands, f.body) for f in (rows, columns)]
    assert canonical(as_sums[0])[0] is canonical(as_sums[1])[0]


def test_ints_and_floats_that_mean_the_same_are_one_form():
    operand = (Operand((4,)),)
    bodies = [mul(Const(2), read(0, 0)), mul(Const(2.0), read(0, 0)), Call("add", (read(0, 0), read(0, 0)))]
    assert len({canonical(summed((4,), (4,), operand, b))[0] for b in bodies}) == 1


def test_comparisons_of_ints_are_written_in_one_way():
    operands = (Operand((9,)), Operand((9,)))
    i, j = Index(0), Index(1)
    equal = [
        call("lt", i, affine(3, ((j, 1),))),
        call("le", i, affine(2, ((j, 1),))),
        call("gt", affine(3, ((j, 1),)), i),
        call("lt", affine(-6, ((i, 2), (j, -1))), j),
    ]
    bodies = [where(c, mul(read(0, 0), read(1, 1)), ZERO) for c in equal]
    assert len({canonical(summed((9, 9), (9, 9), operands, b))[0] for b in bodies}) == 1


def test_draws_are_told_apart_by_their_site():
    draw = lambda site: Call("random", (read(0), read(1), Const(site), Index(0)))
    scalars = (Operand((), "int"), Operand((), "int"))
    one, other = (canonical(summed((N,), (N,), scalars, draw(site)))[0] for site in (1, 2))
    assert one is not other
    copy, kept = canonical(summed((N,), (N,), scalars, Call("random", (read(1), read(0), Const(1), Index(0)))))
    assert copy is one and canonical(summed((N,), (N,), scalars, draw(1)))[1] != kept


def test_indices_are_in_the_order_in_which_they_are_written():
    # A part of a concatenation: the axis that is moved does not move in the loops.
    form = Form((4, N, 6, 3), "sum", (index(1), place(2, (3, 1)), index(0), index(2)), (N, 9, 4, 6),
                (Operand((N, 3, 4, 6)),), read(0, 1, 3, 0, 2))  # fmt: skip
    found, _ = canonical(form)
    assert found.domain == (N, 3, 4, 6) and found.body is read(0, 0, 1, 2, 3)


def test_a_computed_place_keeps_its_slot():
    table, token = Operand((N, 3)), Operand((N,), "int", 11)
    at = affine(0, ((read(1, 0), 1),))
    scatter = Form((N, 3), "sum", (at, index(1)), (11, 3), (table, token), read(0, 0, 1))
    found, kept = canonical(scatter)
    assert sorted(kept) == [0, 1] and type(found.write[0]) is Affine
    assert found.operands[next(iter(found.write[0].slots))] == token


def test_a_term_reads_each_tensor_through_one_slot():
    pair = (Operand((4,)), Operand((4,)))
    square = summed((4,), (4,), pair, mul(read(0, 0), read(1, 0)))
    assert canonical_term(Term(square, ("x", "x"))).operands == ("x",)
    total = summed((4,), (4,), pair, add(read(0, 0), read(1, 0)))
    assert canonical_term(Term(total, ("a", "b"))) == canonical_term(Term(total, ("b", "a")))
    difference = summed((4,), (4,), pair, call("sub", read(0, 0), read(1, 0), kinds=("float",) * 2))
    assert canonical_term(Term(difference, ("a", "b"))) != canonical_term(Term(difference, ("b", "a")))
