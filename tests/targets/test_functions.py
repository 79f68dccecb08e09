"""The functions of float32 that kernels compute in vectors: how far they are from the right value, and their ends."""

import math

import numpy as np
import pytest
from agreement import program_of

import diffgraph
from diffgraph.runtime.executable import build

#: The largest error, in units of the last place, and the function in float64.
FUNCTIONS = {
    "exp": (1.1, np.exp),
    "expm1": (1.5, np.expm1),
    "tanh": (2.5, np.tanh),
    "sigmoid": (2.4, lambda x: 1 / (1 + np.exp(-x))),
    "softplus": (2.1, lambda x: np.logaddexp(0, x)),
    "erf": (1.1, np.vectorize(math.erf, otypes=[float])),
    "sin": (1.6, np.sin),
    "cos": (1.6, np.cos),
    "log": (1.0, lambda x: np.log(np.abs(x))),
    "log1p": (1.5, lambda x: np.log1p(np.abs(x))),
    "sqrt": (1.0, lambda x: np.sqrt(np.abs(x))),
    "recip": (0.7, lambda x: 1 / x),
}

#: How those are written that are not functions of x by that name.
WRITTEN = {f: f"{f}(abs(x[n, k]))" for f in ("log", "log1p", "sqrt")} | {"recip": "1 / x[n, k]"}

#: What the ends give, beside NaN: at infinity, at -infinity and at 0.
ENDS = {
    "exp": (np.inf, 0, 1),
    "expm1": (np.inf, -1, 0),
    "tanh": (1, -1, 0),
    "sigmoid": (1, 0, 0.5),
    "softplus": (np.inf, 0, math.log(2)),
    "erf": (1, -1, 0),
    "log": (np.inf, np.inf, -np.inf),
    "log1p": (np.inf, np.inf, 0),
    "sqrt": (np.inf, np.inf, 0),
    "recip": (0, 0, np.inf),
}


@pytest.fixture(scope="module")
def found():
    """(x, all functions of it): on both sides of 0, near and far."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-90, 90, (1500, 16)), *(rng.standard_normal((1500, 16)) * s for s in (3, 0.3, 1e-3))])
    # From the smallest to the largest, none of them subnormal.
    x = np.concatenate([x, 2 ** rng.uniform(-126, 128, (500, 16)) * rng.choice([-1, 1], (500, 16))])
    x[0, :4] = np.nan, np.inf, -np.inf, 0
    inputs = {"x": x.astype(np.float32)}
    lines = [f"{n}_[n, k] = {WRITTEN.get(n, f'{n}(x[n, k])')}" for n in FUNCTIONS]
    text = "\n".join(["input x[N, 16]", *lines, *(f"output {n}_" for n in FUNCTIONS)])
    with np.errstate(all="ignore"):
        return inputs["x"], build(program_of(text), "cpu", "f32").run(inputs)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_are_as_small_as_it_says(name, found):
    x, results = found
    most, right = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        expected = right(x.astype(np.float64))
    near = np.abs(x) < 1e6 if name in ("sin", "cos") else True
    plain = near & np.isfinite(expected) & (np.abs(expected) > 1.2e-38) & (np.abs(expected) < 3.4e38)
    error = np.abs(results[f"{name}_"][plain] - expected[plain]) / np.spacing(np.abs(expected[plain]).astype(np.float32))
    assert error.max() <= most


@pytest.mark.parametrize("name", ENDS)
def test_ends(name, found):
    first = found[1][f"{name}_"][0, :4]
    assert np.isnan(first[0])
    np.testing.assert_allclose(first[1:], ENDS[name], rtol=1e-6)


@pytest.mark.parametrize("name", ["sqrt", "recip"])
def test_after_sums_vectors_have_instructions_of_their_own(name, found):
    """What follows a reduction is computed on its vectors."""
    x, _, right = found[0], *FUNCTIONS[name]
    function = {"sqrt": "sqrt(abs(m[n, k]))", "recip": "1 / m[n, k]"}[name]
    text = f"input x[N, 3, 16]\nm[n, k] = max[d](x[n, d, k])\ny[n, k] = {function}\noutput m\noutput y"
    executable = build(program_of(text), "cpu", "f32")
    assert f"tile_{name}" in executable.source()
    y = executable.run({"x": np.stack([x] * 3, 1)})["y"]
    with np.errstate(all="ignore"):
        expected = right(x.astype(np.float64)).astype(np.float32)
    normal = np.isfinite(expected) & (np.abs(expected) > 1.2e-38)
    assert (np.abs(y[normal] - expected[normal]) / np.spacing(np.abs(expected[normal]))).max() <= 1
    np.testing.assert_array_equal(y[0, :4], np.array([np.nan, *ENDS[name]], np.float32))


def test_what_is_drawn_goes_into_them():
    """A draw is a number of the program's precision, where nothing is stored between it and what reads it."""
    text = """net drawn {
        input x[N, 4]
        u[x.shape] ~ uniform(0, 1)
        z[x.shape] ~ normal(0, 1)
        output y = sin(u) * x + cos(z)
    }"""
    x = np.ones((3, 4), np.float32)
    exact = diffgraph.loads(text, target="reference", precision="f64")(x=x)["y"]
    assert np.allclose(diffgraph.loads(text)(x=x)["y"], exact, atol=1e-5)
