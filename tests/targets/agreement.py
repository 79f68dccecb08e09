"""What a net of a few lines gives on both targets."""

import numpy as np

from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.runtime.executable import build

#: Numbers of threads that give the same bits.
THREADS = 1, 2, 3

TOLERANCE = {"f32": 3e-5, "f64": 1e-11}


def program_of(body, training=False):
    """The program of a net with these statements."""
    return elaborate(load_text(f"net test {{\n{body}\n}}"), training=training).program


def random_value(given, sizes, rng):
    """An array that fits an input: floats of moderate size, ints below the bound (or small ones), bools."""
    shape = [s if isinstance(s, int) else sizes for s in given.tensor.shape]
    if given.tensor.kind == "float":
        return rng.standard_normal(shape)
    if given.tensor.kind == "bool":
        return rng.random(shape) < 0.5
    return rng.integers(0, given.tensor.bound or 4, shape)


def run_both(program, batch, rng, precision="f64", optimized=False):
    """(outputs of the kernels, outputs of the interpreter), on the same random inputs and parameters."""
    if optimized:
        from diffgraph.passes.pipeline import optimize

        faster = optimize(program)
    else:
        faster = program
    executables = [build(faster, "cpu", precision), build(program, "reference", "f64")]
    given = {i.path: random_value(i, batch, rng) for i in executables[1].given.values() if i.role != "run"}
    stored = {p: random_value(i, batch, rng) for p, i in executables[1].stored.items()}
    results = []
    for executable, real in zip(executables, (np.float32 if precision == "f32" else np.float64, np.float64)):
        kinds = {p: i.tensor.kind for p, i in executable.stored.items()}
        executable.bind({p: a.astype(real) if kinds.get(p) == "float" else a.copy() for p, a in stored.items()})
        results.append(executable.run({p: a for p, a in given.items() if p in executable.given}))
    return results


def check(program, batch, rng, precision="f64", optimized=False):
    """Both targets agree on every output, NaN and infinities included."""
    ours, theirs = run_both(program, batch, rng, precision, optimized)
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        found = ours[name]
        assert found.shape == expected.shape, name
        if expected.dtype.kind != "f":
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected, err_msg=name)
        else:
            scale = np.max(np.abs(expected[np.isfinite(expected)]), initial=1.0)
            tolerance = TOLERANCE[precision]
            np.testing.assert_allclose(found, expected, tolerance, tolerance * scale, err_msg=name)


def check_bits(program, batch, rng):
    """The optimized program gives the same bits in float32 for any number of threads."""
    from diffgraph.passes.pipeline import optimize

    faster, given, stored, results = optimize(program), None, None, []
    for threads in THREADS:
        executable = build(faster, "cpu", "f32", threads)
        if given is None:
            given = {p: random_value(i, batch, rng) for p, i in executable.given.items()}
            stored = {p: random_value(i, batch, rng).astype(np.float32) for p, i in executable.stored.items()}
        executable.bind({p: a.copy() for p, a in stored.items()})
        results.append(executable.run(given))
    first, *others = results
    for name, array in first.items():
        assert array.size and (array.dtype.kind != "f" or np.isfinite(array).all()), name
        assert all(array.tobytes() == other[name].tobytes() for other in others), name
