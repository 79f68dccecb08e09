"""What forms are told to be, forward and backward, from their access maps alone."""

import pytest

from diffgraph.autodiff.adjoint import adjoint
from diffgraph.ir.affine import affine, index
from diffgraph.ir.canonical import canonical
from diffgraph.ir.classify import classify
from diffgraph.ir.dimension import symbol
from diffgraph.ir.expression import Const, Index, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.phases import phases
from diffgraph.ir.simplify import ZERO, call, mul

N = symbol("N")


def place(constant, *terms):
    return affine(constant, [(Index(k), c) for k, c in terms])


def read(slot, *axes):
    return Read(slot, tuple(index(k) for k in axes), None)


def summed(domain, shape, shapes, body, op="sum"):
    operands = tuple(Operand(s) if isinstance(s, tuple) else s for s in shapes)
    return Form(domain, op, tuple(map(index, range(len(shape)))), shape, operands, body)


def convolution(stride=1, pad=1, taps=3, size=9):
    out = (size + 2 * pad - taps) // stride + 1
    at = place(-pad, (2, stride), (5, 1)), place(-pad, (3, stride), (6, 1))
    body = mul(read(1, 1, 4, 5, 6), Read(0, (index(0), index(4), *at), ZERO))
    domain = (N, 4, out, out, 3, taps, taps)
    return summed(domain, domain[:4], [(N, 3, size, size), (4, 3, taps, taps)], body)


def linear():
    return summed((N, 5, 7), (N, 5), [(N, 7), (5, 7)], mul(read(0, 0, 2), read(1, 1, 2)))


def attention_scores():
    body = mul(read(0, 0, 1, 2, 4), read(1, 0, 1, 3, 4))
    return summed((N, 2, 5, 6, 4), (N, 2, 5, 6), [(N, 2, 5, 4), (N, 2, 6, 4)], body)


def patches():
    at = place(0, (1, 4), (4, 1)), place(0, (2, 4), (5, 1))
    body = mul(read(1, 6, 3, 4, 5), Read(0, (index(0), index(3), *at), None))
    return Form((N, 2, 2, 3, 4, 4, 10), "sum", (index(0), index(1), index(2), index(6)), (N, 2, 2, 10),
                (Operand((N, 3, 8, 8)), Operand((10, 3, 4, 4))), body)  # fmt: skip


def flattened_linear():
    at = [affine(0, ((call("floordiv", Index(2), Const(16)), 1),))]
    at += [affine(0, ((call("mod", call("floordiv", Index(2), Const(4)), Const(4)), 1),))]
    at += [affine(0, ((call("mod", Index(2), Const(4)), 1),))]
    return summed((N, 5, 32), (N, 5), [(N, 2, 4, 4), (5, 32)], mul(Read(0, (index(0), *at), None), read(1, 1, 2)))


def depthwise():
    body = mul(
        read(1, 1, 4, 5), Read(0, (index(0), index(1), place(-1, (2, 1), (4, 1)), place(-1, (3, 1), (5, 1))), ZERO)
    )
    return summed((N, 6, 9, 9, 3, 3), (N, 6, 9, 9), [(N, 6, 9, 9), (6, 3, 3)], body)


def grouped():
    group = affine(0, ((call("floordiv", Index(1), Const(3)), 2), (Index(4), 1)))
    at = place(-1, (2, 1), (5, 1)), place(-1, (3, 1), (6, 1))
    body = mul(read(1, 1, 4, 5, 6), Read(0, (index(0), group, *at), ZERO))
    return summed((N, 9, 7, 7, 2, 3, 3), (N, 9, 7, 7), [(N, 6, 7, 7), (9, 2, 3, 3)], body)


def max_pooling():
    body = Read(0, (index(0), index(1), place(0, (2, 2), (4, 1)), place(0, (3, 2), (5, 1))), Const(float("-inf")))
    return summed((N, 3, 4, 4, 2, 2), (N, 3, 4, 4), [(N, 3, 8, 8)], body, "max")


def embedding():
    at = affine(0, ((read(1, 0), 1),))
    return summed((N, 4), (N, 4), [(11, 4), Operand((N,), "int", 11)], Read(0, (at, index(1)), None))


def transpose():
    return summed((3, N), (3, N), [(N, 3)], read(0, 1, 0))


def relu():
    return summed((N, 3), (N, 3), [(N, 3)], call("relu", read(0, 0, 1)))


EXPECTED = {
    "convolution": (convolution(), "windowed contraction", ["data gradient", "windowed contraction"]),
    "strided": (convolution(2, 1, 3, 15), "windowed contraction", ["data gradient", "windowed contraction"]),
    "pointwise convolution": (convolution(1, 0, 1), "contraction", ["contraction", "contraction"]),
    "kernel as large as the stride": (convolution(4, 0, 4, 16), "contraction", ["contraction", "contraction"]),
    "linear": (linear(), "contraction", ["contraction", "contraction"]),
    "attention": (attention_scores(), "contraction", ["contraction", "contraction"]),
    "patches": (patches(), "contraction", ["contraction", "contraction"]),
    "flatten and linear": (flattened_linear(), "contraction", ["contraction", "contraction"]),
    "depthwise": (depthwise(), "depthwise", ["depthwise", "depthwise"]),
    "grouped": (grouped(), "windowed contraction", ["data gradient", "windowed contraction"]),
    "max pooling": (max_pooling(), "reduction", None),
    "embedding": (embedding(), "gather", ["scatter"]),
    "transpose": (transpose(), "view", ["view"]),
    "relu": (relu(), "pointwise", ["pointwise"]),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_kinds(name):
    form, forward, backward = EXPECTED[name]
    form, _ = canonical(form)
    assert classify(form).kind == forward
    if backward is not None:
        found = {p.slot: classify(canonical(p.form)[0]).kind for p in adjoint(form).parts}
        assert [found[s] for s in sorted(found)] == backward


def test_roles_of_indices():
    found = classify(canonical(attention_scores())[0])
    extents = lambda axes: [found.form.domain[k] for k in axes]
    assert (extents(found.batch), extents(found.m), extents(found.n), extents(found.k)) == ([N, 2], [5], [6], [4])
    conv = classify(canonical(convolution())[0])
    assert [conv.form.domain[k] for k in conv.k] == [3, 3, 3]
    assert len(conv.windows) == 2 and all(len(w.indices) == 2 for w in conv.windows)
    assert {len(conv.a), len(conv.b)} == {1}


def test_phases_of_a_data_gradient_are_contractions_without_a_window_written():
    form, _ = canonical(convolution(2, 1, 3, 15))
    (gradient,) = [
        canonical(p.form)[0] for p in adjoint(form).parts if classify(canonical(p.form)[0]).kind == "data gradient"
    ]
    kinds = {classify(canonical(p)[0]).kind for p in phases(gradient)}
    assert kinds <= {"contraction", "windowed contraction"}


def test_a_prologue_belongs_to_the_operand_in_which_it_is_nested():
    # y[n, u] = sum[d](x[n, d] * scale[d] * w[u, d])
    form = summed((N, 5, 7), (N, 5), [(N, 7), (7,), (5, 7)], mul(read(0, 0, 2), read(1, 2), read(2, 1, 2)))
    found = classify(canonical(form)[0])
    assert found.kind == "contraction" and sorted([len(found.a), len(found.b)]) == [1, 2]
