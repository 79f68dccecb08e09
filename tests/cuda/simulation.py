"""What a program gives on a simulated device, beside what the interpreter gives in float64."""

import numpy as np
from agreement import random_value

from diffgraph.passes.pipeline import optimize
from diffgraph.runtime.device import DeviceExecutable
from diffgraph.runtime.executable import build
from diffgraph.targets.cuda.simulated import SimulatedDriver

#: Relative errors: of sums in float32; of factors rounded to 10 bits and to 7.
TOLERANCE = {"f32": 3e-5, "f64": 1e-11, "tf32": 4e-3, "bf16": 3e-2}


def check(program, batch, rng, precision="f32", capability=80):
    """The optimized program agrees with the program as it is written, on every output. Gives the executable."""
    device = DeviceExecutable(optimize(program, target="cuda"), precision, SimulatedDriver(capability))
    compare(device, program, batch, rng, precision)
    return device


def compare(device, program, batch, rng, precision="f32"):
    """An executable agrees with the program as it is written, on every output."""
    reference = build(program, "reference", "f64")
    given = {i.path: random_value(i, batch, rng) for i in reference.given.values() if i.role != "run"}
    stored = {p: random_value(i, batch, rng) for p, i in reference.stored.items()}
    results = []
    for executable, real in ((device, np.float64 if precision == "f64" else np.float32), (reference, np.float64)):
        kinds = {p: i.tensor.kind for p, i in executable.stored.items()}
        executable.bind({p: a.astype(real) if kinds.get(p) == "float" else a.copy() for p, a in stored.items()})
        results.append(executable.run({p: a for p, a in given.items() if p in executable.given}))
    found, expected = results
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        close(found[name], value, TOLERANCE[precision], name)


def close(found, expected, tolerance, name):
    """Two arrays agree, relative to the largest number in them; ints and bools exactly."""
    assert found.shape == expected.shape, name
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=name)
        return
    scale = np.max(np.abs(expected[np.isfinite(expected)]), initial=1.0)
    np.testing.assert_allclose(found, expected, tolerance, tolerance * scale, err_msg=name)
