"""Sums that windows of others look at, band by band: sizes, strides, dilations and channels that do not fit well."""

import pytest
from agreement import check, check_bits, program_of

from diffgraph.kernels import bands
from diffgraph.kernels.banded import ROOM
from diffgraph.kernels.schedule import schedule
from diffgraph.passes.pipeline import optimize
from diffgraph.targets.cpu.machine import machine

#: Expanded, looked at by a window for each channel, and brought together again.
BLOCK = """
    input x[N, {inside}, {size}, {size}]
    e = x -> conv({channels}, 1) -> relu6
    d = e -> conv({channels}, {kernel}, stride = {stride}, pad = {pad}, dilation = {dilation}, groups = {channels}) -> silu
    output y = d -> conv({outside}, 1)"""

SHAPES = {
    "plain": (16, 15, 32, 3, 1, 1, 1, 16),
    "halves": (24, 17, 40, 3, 2, 1, 1, 24),
    "wide": (8, 14, 48, 5, 1, 2, 1, 20),
    "dilated": (16, 19, 37, 3, 1, 2, 2, 33),
    "without margins": (16, 18, 32, 3, 1, 0, 1, 32),
    "more margin than window": (16, 13, 32, 3, 1, 3, 1, 16),
}

OTHERS = {
    "a window on a window": """
        input x[N, 16, 20, 20]
        output y = x -> conv(32, 3, pad = 1, stride = 2) -> relu -> conv(32, 3, pad = 1, groups = 32) -> tanh -> conv(16, 1)""",
    "beside what is added": """
        input x[N, 16, 16, 16]
        output y = relu(x + (x -> conv(48, 1) -> relu -> conv(48, 3, pad = 1, groups = 48) -> conv(16, 1)))""",
    "wanted elsewhere": """
        input x[N, 16, 16, 16]
        e = x -> conv(48, 1) -> relu
        output e
        output y = e -> conv(48, 3, pad = 1, groups = 48) -> conv(16, 1)""",
    "along one axis": """
        input x[N, 40, 32]
        param w[48, 32] ~ normal(0, 1)
        param u[48, 3] ~ normal(0, 1)
        e[n, t, c < 48] = relu(sum[k](w[c, k] * x[n, t, k]))
        y[n, t < 40, c] = sum[p](u[c, p] * (e[n, t + p - 1, c] else 0))
        output y""",
}


@pytest.fixture
def always(monkeypatch):
    """Bands wherever they may be."""
    monkeypatch.setattr(bands, "BYTES", 1)


def _text(name):
    inside, size, channels, kernel, stride, pad, dilation, outside = SHAPES[name]
    return BLOCK.format(**{k: v for k, v in locals().items() if k != "name"})


def _banded(program):
    kernels = schedule(optimize(program), machine("f32")).kernels
    return [k for k in kernels if any(b.name == ROOM for b in k.buffers)]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", SHAPES)
def test_agrees_with_the_interpreter(name, batch, rng, always):
    program = program_of(_text(name))
    assert _banded(program)
    check(program, batch, rng, "f32", optimized=True)


@pytest.mark.parametrize("name", OTHERS)
def test_other_chains_agree(name, rng, always, monkeypatch):
    monkeypatch.setenv("DIFFGRAPH_DEBUG_BOUNDS", "1")
    program = program_of(OTHERS[name])
    check(program, 2, rng, "f32", optimized=True)


def test_what_is_wanted_elsewhere_is_not_in_bands(always):
    assert not _banded(program_of(OTHERS["wanted elsewhere"]))


def test_bits_do_not_depend_on_threads(rng, always):
    check_bits(program_of(_text("halves")), 3, rng)


def test_small_maps_stay_as_they_are():
    assert not _banded(program_of(_text("plain")))


def test_gradients_are_right_beside_it(rng, always):
    program = program_of(_text("plain") + "\nloss mean(y^2)", training=True)
    check(program, 2, rng, "f32", optimized=True)
