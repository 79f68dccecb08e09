"""The derivative of scans, to second order, against unrolled PyTorch loops and finite differences."""

from dataclasses import replace

import numpy as np
import pytest
from checks import Case, by_difference, by_torch
from formulas import let
from scans import Loop

from diffgraph.ir.program import Builder, OwnGradient, Scan

STEPS = 7
random = np.random.default_rng(3)


def recurrent(reverse=False, checkpoint=None):
    """An Elman network that yields its state, times a function of the step, and ends in a last state."""
    normal = random.standard_normal
    values = {"h0": normal((2, 3)), "x": normal((STEPS, 2, 4)), "w": normal((3, 3)) / 2, "u": normal((3, 4)) / 2}
    case = Case(values, ["h0", "x", "w", "u"])
    loop = Loop(case, STEPS, index="t", reverse=reverse, checkpoint=checkpoint)
    loop.carry("h", "h0")
    loop.sequence("xt", "x")
    loop.constant("w")
    loop.constant("u")
    loop.let("a[n, k] = sum[j](w[k, j] * h[n, j])")
    loop.let("b[n, k] = sum[d](u[k, d] * xt[n, d])")
    loop.let("o[n, k] = tanh(a[n, k] + b[n, k]) * (1 + t / 10)")
    loop.let("e[n, k] = o[n, k] * h[n, k]")
    (final,), (rows,) = loop.close({"h": "o"}, ("e",))
    y = case.let(f"y[n, k] = {final}[n, k] * sum[t]({rows}[t, n, k] * (t + 1))")

    def formula(h0, x, w, u):
        import torch

        h, total = h0, 0
        for t in range(STEPS)[:: -1 if reverse else 1]:
            o = torch.tanh(h @ w.T + x[t] @ u.T) * (1 + t / 10)
            total = total + o * h * (t + 1)
            h = o
        return h * total

    return case, y, formula


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("checkpoint", [None, 1, 2, 3, 7, 20])
def test_recurrent(reverse, checkpoint):
    pytest.importorskip("torch")
    case, y, formula = recurrent(reverse, checkpoint)
    assert max(by_torch(case, y, formula)) < 1e-11


def test_recurrent_by_difference():
    case, y, _ = recurrent()
    total = case.close(y)
    found = case.gradients(total)
    assert by_difference(case, total, found) < 1e-7
    second = case.weighed_gradients(found)
    assert by_difference(case, second, case.gradients(second)) < 1e-6


def test_weight_gradients_leave_the_loop():
    case, y, _ = recurrent()
    found = case.gradients(case.close(y))
    program = case.builder.program()
    backward = [s for s in program.statements if isinstance(s, Scan)][-1]
    assert backward.reverse
    assert len(backward.carries) == 1, "only the cotangent of the state is carried"
    weight = program.maker[found["w"]]
    assert [t.form.domain.count(STEPS) for t in weight.terms] == [1]
    assert not any(len(t.shape) == 3 and t.shape == (STEPS, 3, 3) for t in program.tensors.values())


def test_checkpoints_bound_what_is_stored():
    case, y, _ = recurrent(checkpoint=3)
    case.gradients(case.close(y))
    scans = [s for s in case.builder.statements if isinstance(s, Scan)]
    stored = [t for s in scans for t in s.results if t.name.startswith("h_steps")]
    assert sorted(t.shape[0] for t in stored) == [1, 2], "the start of two chunks and of the remainder"


def test_projectile():
    """Two carries that depend on each other, scalar constants, only the path is yielded."""
    values = {"p": random.standard_normal(2), "v": random.standard_normal(2), "drag": np.array(0.3)}
    case = Case(values, ["p", "v", "drag"])
    loop = Loop(case, 6)
    loop.carry("q", "p")
    loop.carry("s", "v")
    loop.constant("drag")
    loop.let("size = sqrt(sum[i](s[i]**2))")
    loop.let("qn[i] = q[i] + 0.1 * s[i]")
    loop.let("sn[i] = s[i] - 0.1 * drag * size * s[i]")
    _, (path,) = loop.close({"q": "qn", "s": "sn"}, ("q",))

    def formula(p, v, drag):
        import torch

        rows = []
        for _ in range(6):
            rows.append(p)
            p, v = p + 0.1 * v, v - 0.1 * drag * v.norm() * v
        return torch.stack(rows)

    assert max(by_torch(case, path, formula)) < 1e-12


def test_an_int_carry_is_saved_not_differentiated():
    values = {"x": random.standard_normal(5), "n": np.int64(0)}
    case = Case(values, ["x"])
    loop = Loop(case, 5)
    loop.carry("count", "n")
    loop.carry("total", case.let("zero = 0.0"))
    loop.sequence("xt", "x")
    loop.let("more = count + 1")
    loop.let("sum = total + xt**2 * count")
    (_, final), _ = loop.close({"count": "more", "total": "sum_2"}, ())
    found = case.gradients(final)
    (gradient,) = case.run(found["x"])
    np.testing.assert_allclose(gradient, 2 * values["x"] * np.arange(5))


def test_a_gather_inside():
    """The gradient of a table that each step looks up is one scatter over all steps."""
    values = {"table": random.standard_normal((4, 3)), "token": random.integers(0, 4, (5, 2)), "h0": np.zeros((2, 3))}
    case = Case(values, ["table"])
    loop = Loop(case, 5)
    loop.carry("h", "h0")
    loop.sequence("k", "token")
    loop.constant("table")
    loop.let("o[n, d] = sin(h[n, d] + table[k[n], d])")
    (final,), _ = loop.close({"h": "o"}, ())

    def formula(table, token, h0):
        h = h0
        for t in range(5):
            h = (h + table[token[t]]).sin()
        return h

    assert max(by_torch(case, final, formula)) < 1e-12


def test_scan_in_scan():
    values = {"x": random.standard_normal((3, 4)), "w": random.standard_normal(4), "c": np.array(0.1)}
    case = Case(values, ["x", "w", "c"])
    loop = Loop(case, 3)
    loop.carry("h", "c")
    loop.sequence("row", "x")
    loop.constant("w")
    inside = Case({}, [])
    inside.builder = loop.body
    inner = Loop(inside, 4)
    inner.carry("g", "h")
    inner.sequence("e", "row")
    inner.sequence("k", "w")
    inner.let("gn = tanh(g * k + e)")
    (after,), (rows,) = inner.close({"g": "gn"}, ("gn",))
    loop.let(f"out = {after} + sum[i]({rows}[i]**2)")
    (final,), _ = loop.close({"h": "out"}, ())

    def formula(x, w, c):
        h = c
        for t in range(3):
            g, total = h, 0
            for i in range(4):
                g = (g * w[i] + x[t, i]).tanh()
                total = total + g**2
            h = g + total
        return h

    assert max(by_torch(case, final, formula)) < 1e-12


@pytest.mark.parametrize("checkpoint", [None, 1, 2, 3])
def test_a_constant_read_at_the_step(checkpoint):
    """Its gradient is never summed in full over the steps."""
    values = {"x": random.standard_normal((2, 6, 3)), "h0": random.standard_normal((2, 3))}
    case = Case(values, ["x", "h0"])
    loop = Loop(case, 6, index="t", checkpoint=checkpoint)
    loop.carry("h", "h0")
    loop.constant("x")
    loop.let("o[n, d] = sin(h[n, d] + x[n, t, d])")
    (final,), _ = loop.close({"h": "o"}, ())

    def formula(x, h0):
        h = h0
        for t in range(6):
            h = (h + x[:, t]).sin()
        return h

    assert max(by_torch(case, final, formula)) < 1e-12
    scans = [s for s in case.builder.statements if isinstance(s, Scan)]
    assert not any(c.final.shape == (2, 6, 3) for s in scans for c in s.carries)


def test_a_gradient_of_ones_own_inside():
    """Straight through: the rule belongs to the body, and is used in every step."""
    values = {"x": random.standard_normal(5), "h0": np.array(0.3)}
    case = Case(values, ["x", "h0"])
    loop = Loop(case, 5)
    loop.carry("h", "h0")
    loop.sequence("e", "x")
    loop.let("s = h + e")
    loop.let("q = sign(s)")
    body = Builder()
    cotangent = body.input("d_q", (), "free").name
    body.input("s", (), "free")
    rule = let(body, f"d_s = {cotangent} * s")
    quantized = loop.body.statements[-1]
    own = OwnGradient(cotangent, body.program(), (("s", rule),))
    loop.body.statements[-1] = replace(quantized, gradient=own)
    loop.let("o = q * 0.5")
    (final,), _ = loop.close({"h": "o"}, ())
    found = case.gradients(final)
    gradient, start = case.run(found["x"], found["h0"])

    h, sums = 0.3, []
    for e in values["x"]:
        sums.append(h + e)
        h = np.sign(h + e) * 0.5
    expected = [0.5 * sums[k] * np.prod(0.5 * np.array(sums[k + 1 :])) for k in range(5)]
    np.testing.assert_allclose(gradient, expected)
    np.testing.assert_allclose(start, np.prod(0.5 * np.array(sums)))
