"""Solving, phases, substitution and equalities keep the meaning of random forms, and do what they are for."""

import random

import numpy as np
import pytest
from random_forms import forms, meaning, random_body

from diffgraph.ir.absorb import absorb
from diffgraph.ir.affine import affine, index
from diffgraph.ir.canonical import canonical, canonical_term
from diffgraph.ir.digits import quasi_affine_atoms, split_digits
from diffgraph.ir.dimension import symbol
from diffgraph.ir.expression import Call, Const, Index, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.inline import inline
from diffgraph.ir.phases import phases
from diffgraph.ir.program import Term
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import ZERO, add, call, mul, recip, where
from diffgraph.ir.solve import solve

N = symbol("N")


def place(constant, *terms):
    return affine(constant, [(Index(k), c) for k, c in terms])


def read(slot, *axes):
    return Read(slot, tuple(index(k) for k in axes), None)


@pytest.mark.parametrize("seed", range(5))
def test_rewrites_keep_the_meaning_of_random_forms(seed):
    solved = phased = split = 0
    for form, arrays, sizes, expected in forms(100 + seed, 60, symbolic=seed == 4):
        if (gather := solve(form)) is not None:
            assert gather.is_projection
            np.testing.assert_array_equal(meaning(gather, arrays, sizes), expected)
            solved += gather is not form
        if (parts := phases(form)) is not None:
            np.testing.assert_array_equal(sum(meaning(p, arrays, sizes) for p in parts), expected)
            phased += 1
        digits = split_digits(form)
        np.testing.assert_array_equal(meaning(digits, arrays, sizes), expected)
        split += digits is not form
        np.testing.assert_array_equal(meaning(absorb(form), arrays, sizes), expected)
    assert solved > 15 and phased > 5 and (split or seed)


@pytest.mark.parametrize("op", ["max", "argmax", "prod"])
def test_splitting_digits_keeps_the_order_of_reductions(op):
    for form, arrays, sizes, expected in forms(7, 30, op=op):
        np.testing.assert_array_equal(meaning(split_digits(form), arrays, sizes), expected)


@pytest.mark.parametrize("seed", range(3))
def test_substitution_keeps_the_meaning_of_random_forms(seed):
    rng = random.Random(seed)
    guarded = 0
    for consumer, arrays, sizes, expected in forms(200 + seed, 30):
        shape = consumer.operands[0].shape
        operands = (Operand((6, 5)), Operand((7,)), Operand((5,), "int", 4))
        body = random_body(rng, operands, len(shape), shape)
        producer = Form(shape, "sum", tuple(map(index, range(len(shape)))), shape, operands, body)
        given = [rng_array(rng, (6, 5)), rng_array(rng, (7,)), np.array([0, 3, 1, 1, 2])]
        made = meaning(producer, given)
        expected = meaning(consumer, [made, *arrays[1:]], sizes)
        fused = inline(consumer, 0, producer)
        assert fused.operands[3:] == operands and 0 not in fused.body.slots
        np.testing.assert_allclose(meaning(fused, [*arrays, *given], sizes), expected, rtol=1e-12)
        guarded += expected.any()
    assert guarded > 15


def rng_array(rng, shape):
    return np.random.default_rng(rng.randrange(1 << 30)).integers(1, 9, shape).astype(float)


# ------------------------------------------------------------------------------------------------ solving


def transposed_convolution(rows, taps, stride, dilation, pad, out):
    """dx[s * i + d * p - pad] += w[p] * dy[i]"""
    write = (place(-pad, (0, stride), (1, dilation)),)
    return Form((rows, taps), "sum", write, (out,), (Operand((rows,)), Operand((taps,))), mul(read(0, 0), read(1, 1)))


WINDOWS = [
    (8, 3, 1, 1, 1),
    (8, 3, 2, 1, 1),
    (7, 3, 2, 2, 2),
    (6, 4, 3, 2, 1),
    (5, 1, 2, 1, 0),
    (9, 7, 2, 1, 3),
    (4, 4, 4, 1, 0),
]


@pytest.mark.parametrize("rows, taps, stride, dilation, pad", WINDOWS)
def test_data_gradients_of_convolutions(rows, taps, stride, dilation, pad):
    out = stride * (rows - 1) + dilation * (taps - 1) + 1 - 2 * pad + 1
    form = transposed_convolution(rows, taps, stride, dilation, pad, out)
    arrays = [np.arange(1.0, rows + 1), np.arange(1.0, taps + 1) ** 2]
    expected = meaning(form, arrays)
    np.testing.assert_array_equal(meaning(solve(form), arrays), expected)
    parts = phases(form)
    if parts is None:
        assert dilation * (taps - 1) < stride or taps == 1
        return
    np.testing.assert_array_equal(sum(meaning(p, arrays) for p in parts), expected)
    assert all(not quasi_affine_atoms(p) and phases(p) is None for p in parts)
    points = sum(p.domain[0] * p.domain[1] for p in parts)
    assert points <= rows * taps + 2 * taps, "phases do no more than the window itself"


def test_the_fibre_of_a_strided_window_is_the_filter():
    solved = solve(transposed_convolution(8, 3, 2, 1, 1, 15))
    assert solved.domain == (15, 3)


def test_a_write_in_mixed_radix_is_solved_by_digits():
    form = Form((3, 4, 5), "sum", (place(0, (0, 20), (1, 5), (2, 1)),), (60,), (Operand((3, 4, 5)),), read(0, 0, 1, 2))
    solved = solve(form)
    assert solved.domain == (60,) and solved.is_pointwise
    array = np.arange(60.0).reshape(3, 4, 5)
    np.testing.assert_array_equal(meaning(solved, [array]), array.ravel())


def test_axes_that_share_an_index_are_solved_together():
    # A diagonal, and a shear: the second axis becomes an equation or a place.
    diagonal = Form((4,), "sum", (index(0), index(0)), (4, 4), (Operand((4,)),), read(0, 0))
    shear = Form((4, 3), "sum", (index(0), place(0, (0, 1), (1, 1))), (4, 6), (Operand((4, 3)),), read(0, 0, 1))
    for form, shape in ((diagonal, (4,)), (shear, (4, 3))):
        array = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
        np.testing.assert_array_equal(meaning(solve(form), [array]), meaning(form, [array]))


def test_a_guard_is_not_carried_by_a_read_of_another_extent():
    # The read of y has room for places that x has not.
    body = mul(read(0, 0), Read(1, (index(0),), None))
    form = Form((4, 3), "sum", (place(-1, (0, 1), (1, 1)),), (8,), (Operand((4,)), Operand((9,))), body)
    arrays = [np.arange(1.0, 5), np.arange(1.0, 10)]
    np.testing.assert_array_equal(meaning(solve(form), arrays), meaning(form, arrays))
    only_y = Form((4, 3), "sum", form.write, (8,), form.operands, read(1, 0))
    np.testing.assert_array_equal(meaning(solve(only_y), arrays), meaning(only_y, arrays))


def test_a_guard_is_not_carried_by_what_is_no_factor():
    body = mul(add(Const(1.0), read(0, 0)), read(1, 1))
    form = Form((4, 3), "sum", (place(-1, (0, 1), (1, 1)),), (8,), (Operand((4,)), Operand((3,))), body)
    arrays = [np.arange(1.0, 5), np.arange(1.0, 4)]
    np.testing.assert_array_equal(meaning(solve(form), arrays), meaning(form, arrays))
    inverse = Form((4, 3), "sum", form.write, (8,), form.operands, mul(recip(read(0, 0)), read(1, 1)))
    np.testing.assert_array_equal(meaning(solve(inverse), arrays), meaning(inverse, arrays))


def test_a_computed_place_is_not_solved():
    at = affine(0, ((read(1, 0), 1),))
    assert solve(Form((4,), "sum", (at,), (9,), (Operand((4,)), Operand((4,), "int", 9)), read(0, 0))) is None


def test_a_computed_place_of_each_row_is_a_comparison():
    # d[n, label[n]] += g[n]
    write = (index(0), affine(0, ((read(1, 0), 1),)))
    form = Form((N,), "sum", write, (N, 5), (Operand((N,)), Operand((N,), "int", 5)), read(0, 0))
    solved = solve(form)
    assert solved.is_pointwise
    arrays, sizes = [np.arange(1.0, 4), np.array([4, 0, 4])], {"N": 3}
    np.testing.assert_array_equal(meaning(solved, arrays, sizes), meaning(form, arrays, sizes))


def test_a_symbolic_batch_is_no_obstacle():
    form = Form((N, 8, 3), "sum", (index(0), place(-1, (1, 2), (2, 1))), (N, 15), (Operand((N, 8)), Operand((3,))),
                mul(read(0, 0, 1), read(1, 2)))  # fmt: skip
    arrays, sizes = [np.arange(1.0, 17).reshape(2, 8), np.arange(1.0, 4)], {"N": 2}
    expected = meaning(form, arrays, sizes)
    np.testing.assert_array_equal(meaning(solve(form), arrays, sizes), expected)
    np.testing.assert_array_equal(sum(meaning(p, arrays, sizes) for p in phases(form)), expected)


# ------------------------------------------------------------------------------------------------ equalities


def test_an_equality_becomes_the_place_that_is_written():
    # dx[n, c, h < 15] = sum[o, i, p](w[o, c, p] * dy[n, o, i] if h == 2 * i + p - 1 else 0)
    operands = (Operand((4, 3, 3)), Operand((N, 4, 8)))
    body = mul(read(0, 3, 1, 5), read(1, 0, 3, 4))
    equal = call("eq", Index(2), place(-1, (4, 2), (5, 1)))
    text = Form(
        (N, 3, 15, 4, 8, 3), "sum", (index(0), index(1), index(2)), (N, 3, 15), operands, where(equal, body, ZERO)
    )
    # The same as it comes from differentiation.
    write = (index(0), index(2), place(-1, (3, 2), (4, 1)))
    adjoint = Form((N, 4, 3, 8, 3), "sum", write, (N, 3, 15), operands, mul(read(0, 1, 2, 4), read(1, 0, 1, 3)))
    assert canonical(absorb(text))[0] is canonical(adjoint)[0]


def test_an_equality_with_a_token_becomes_a_scatter():
    # dt[v < 11, d] = sum[n, s](dy[n, s, d] if token[n, s] == v else 0)
    operands = (Operand((N, 5, 4)), Operand((N, 5), "int", 11))
    equal = Call("eq", (read(1, 2, 3), Index(0)))
    form = Form((11, 4, N, 5), "sum", (index(0), index(1)), (11, 4), operands, where(equal, read(0, 2, 3, 1), ZERO))
    found = absorb(form)
    assert len(found.domain) == 3 and found.write[0].slots
    arrays, sizes = [np.arange(40.0).reshape(2, 5, 4), np.array([[0, 3, 3, 9, 0], [10, 1, 3, 0, 1]])], {"N": 2}
    np.testing.assert_array_equal(meaning(found, arrays, sizes), meaning(form, arrays, sizes))


def test_an_equality_with_a_summed_index_becomes_a_place_that_is_read():
    operands = (Operand((N, 10)), Operand((N,), "int", 10))
    equal = Call("eq", (read(1, 0), Index(1)))
    form = Form((N, 10), "sum", (index(0),), (N,), operands, where(equal, read(0, 0, 1), ZERO))
    found, _ = canonical(absorb(form))
    assert found.is_pointwise and found.body.place[1].slots


# ------------------------------------------------------------------------------------------------ substitution


def test_a_producer_under_a_guard_is_not_evaluated_outside():
    # relu(x * s + b) at places outside is 0, not relu(b).
    producer = Form((5,), "sum", (index(0),), (5,), (Operand((5,)), Operand(())),
                    call("relu", add(read(0, 0), read(1))))  # fmt: skip
    consumer = Form((5, 3), "sum", (index(0),), (5,), (Operand((5,)), Operand((3,))),
                    mul(Read(0, (place(-1, (0, 1), (1, 1)),), ZERO), read(1, 1)))  # fmt: skip
    x, b, w = np.arange(5.0), np.float64(2), np.ones(3)
    expected = meaning(consumer, [np.maximum(x + b, 0), w])
    np.testing.assert_array_equal(meaning(inline(consumer, 0, producer), [x, w, x, b]), expected)


def test_a_transpose_under_a_guard_stays_a_plain_read():
    producer = Form((4, 6), "sum", (index(0), index(1)), (4, 6), (Operand((6, 4)),), read(0, 1, 0))
    consumer = Form((6, 4), "sum", (index(0), index(1)), (6, 4), (Operand((4, 6)),),
                    Read(0, (index(1), place(-1, (0, 1))), Const(float("-inf"))))  # fmt: skip
    fused = inline(consumer, 0, producer)
    assert type(fused.body) is Read and fused.body.place == (place(-1, (0, 1)), index(1))


def test_the_kind_of_the_tensor_between_is_kept():
    # count is a float tensor made of ints; its reciprocal power is not an int power.
    producer = Form((4,), "sum", (index(0),), (4,), (Operand((4,), "int"),), read(0, 0))
    consumer = Form((4,), "sum", (index(0),), (4,), (Operand((4,)),), Call("powi", (read(0, 0), Const(-1))))
    fused = inline(consumer, 0, producer)
    np.testing.assert_allclose(meaning(fused, [np.ones(4), np.array([1, 2, 4, 5])]), [1, 0.5, 0.25, 0.2])


def test_a_gather_of_a_map_is_a_map_of_the_gather():
    producer = Form((7, 3), "sum", (index(0), index(1)), (7, 3), (Operand((7, 3)),), call("exp", read(0, 0, 1)))
    gather = Form((N, 3), "sum", (index(0), index(1)), (N, 3), (Operand((7, 3)), Operand((N,), "int", 7)),
                  Read(0, (affine(0, ((read(1, 0), 1),)), index(1)), None))  # fmt: skip
    term = canonical_term(Term(inline(gather, 0, producer), ("u", "token", "x")))
    assert set(term.operands) == {"x", "token"} and term.form.body.function == "exp"


def test_what_a_call_is_simplified_to_is_not_renumbered_again():
    # Of where(false, operand 1, operand 0) the first operand is left, which moved to slot 1: it does not move on to slot 2.
    early, late = Read(1, (index(0),), None), Read(0, (index(0),), None)
    body = where(call("lt", index(0), Const(2)), early, late)
    moved = substitute(body, {0: place(5)}, (8,), {0: 1, 1: 2})
    assert moved is Read(1, (place(5),), None)
    picked = call("where", call("lt", Index(0), Const(2)), Index(1), Index(2))
    assert substitute(picked, {0: Const(5), 1: Index(0), 2: Index(1)}, (8, 8, 8)) is Index(1)
