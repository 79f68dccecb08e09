"""Kernels that stay with a row: which definitions they hold, and what they compute, against the interpreter."""

import numpy as np
import pytest
from agreement import check, check_bits, program_of

from diffgraph.kernels.schedule import schedule
from diffgraph.runtime.executable import build
from diffgraph.targets.cpu.machine import machine

#: A program, and the names of what its largest kernel makes.
CASES = {
    "a norm and its gradients": (
        """
        input x[N, 700]
        input dy[N, 700]
        param g[700] = 1
        mu[n] = sum[k](x[n, k]) / 700
        v[n] = sum[k]((x[n, k] - mu[n])^2) / 700
        s[n] = 1 / sqrt(v[n] + 1e-5)
        y[n, k] = (x[n, k] - mu[n]) * s[n] * g[k]
        a[n] = sum[k](dy[n, k] * g[k])
        b[n] = sum[k](dy[n, k] * g[k] * (x[n, k] - mu[n]))
        dx[n, k] = s[n] * (dy[n, k] * g[k] - a[n] / 700 - (x[n, k] - mu[n]) * s[n]^2 * b[n] / 700)
        dg[k] = sum[n](dy[n, k] * (x[n, k] - mu[n]) * s[n])
        db[k] = sum[n](dy[n, k])
        output y
        output dx
        output dg
        output db""",
        {"mu", "v", "s", "y", "a", "b", "dx", "dg", "db"},
    ),
    "softmax, and a place that a label tells": (
        """
        input x[N, 1000]
        input label[N]: int < 1000
        m[n] = max[k](x[n, k])
        z[n, k] = x[n, k] - m[n]
        e[n] = sum[k](exp(z[n, k]))
        l[] = sum[n](log(e[n]) - z[n, label[n]])
        d[n, k] = exp(z[n, k]) / e[n] - (1.0 if k == label[n] else 0.0)
        after[n, k] = (d[n, k] if k >= label[n] else 0.0) + (1.0 if label[n] < k else 2.0)
        output l
        output after""",
        {"m", "z", "e", "l", "d", "after"},
    ),
    "several axes on both sides": (
        """
        input x[N, 3, 5, 20]
        low[n, c] = min[i, k](x[n, c, i, k])
        t[n, c, i, k] = tanh(x[n, c, i, k] - low[n, c])
        s[n, c] = sum[i, k](t[n, c, i, k])
        y[n, c, i, k] = t[n, c, i, k] * s[n, c]
        output y""",
        {"low", "t", "s", "y"},
    ),
    "reads beside the place": (
        """
        input x[N, 200]
        m[n] = max[k](x[n, k])
        z[n, k] = x[n, k] * m[n]
        y[n, k < 200] = (z[n, k + 1] else 3) - (z[n, k - 2] else 0)
        w[n, k] = y[n, 199 - k] + z[n, k]
        output w""",
        {"m", "z", "y"},
    ),
    "rows of unknown length": (
        """
        input x[N, S]
        m[n] = max[k](x[n, k])
        e[n, k] = exp(x[n, k] - m[n])
        p[n, k] = e[n, k] / sum[j](e[n, j])
        output p""",
        {"m", "e", "p"},
    ),
    "maps alone": (
        "input x[N, 900]\ny[n, k] = sigmoid(x[n, k]) * x[n, k]\nz[n, k] = log(1 + y[n, k]^2)\noutput y\noutput z",
        {"y", "z"},
    ),
}


def largest(program):
    """The members of the kernel that has the most."""
    steps = schedule(program, machine("f64")).steps
    return set(max((s.members for s in steps), key=len))


@pytest.mark.parametrize("name", CASES)
def test_a_row_is_kept_while_it_is_needed(name, rng):
    text, members = CASES[name]
    program = program_of(text)
    assert members <= largest(program)
    for batch in (1, 67) if name != "rows of unknown length" else (67,):
        check(program, batch, rng)


def test_in_float32_and_optimized(rng):
    check(program_of(CASES["a norm and its gradients"][0]), 45, rng, "f32", optimized=True)


def test_the_bits_do_not_depend_on_the_threads(rng):
    check_bits(program_of(CASES["a norm and its gradients"][0]), 331, rng)


def test_what_only_a_kernel_reads_is_no_tensor():
    """A row at a time is enough for what is between."""
    program = program_of(CASES["softmax, and a place that a label tells"][0])
    (launch,) = (s for s in schedule(program, machine("f32")).steps if "z" in s.members)
    assert {b.name for b in launch.kernel.buffers if b.private} == {"z"}
    assert "z" not in launch.results
    executable = build(program, "cpu", "f32")
    (block,) = (b for b in executable.memory({"N": 640}) if b.tensor == "z")
    assert block.size <= 4 * 1000 * executable.threads


def test_a_product_of_matrices_stays_one():
    """Softmax after a product: the product goes into registers, block by block, what follows goes through rows."""
    text = """
        input q[N, 64]
        input k[80, 64]
        a[n, j] = sum[d](q[n, d] * k[j, d])
        m[n] = max[j](a[n, j])
        p[n, j] = exp(a[n, j] - m[n])
        s[n] = sum[j](p[n, j])
        y[n, j] = p[n, j] / s[n]
        output y"""
    members = [set(s.members) for s in schedule(program_of(text), machine("f32")).steps]
    assert {"a"} in members and {"m", "p", "s", "y"} in members


def test_maps_that_read_other_rows_are_no_rows():
    """They share a loop over samples, in which all of the first is made before the second."""
    body = "input x[N, 64, 40]\na[n, i, c] = exp(x[n, i, c])\nz[n, i, c] = (a[n, i + 1, c] else 1) * exp(x[n, i, c])\noutput z\noutput a"
    check(program_of(body), 3, np.random.default_rng(0), optimized=True)
