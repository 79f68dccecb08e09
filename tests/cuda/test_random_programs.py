"""Random programs and their gradients, executed by the interpreter of PTX."""

import numpy as np
from evaluation import evaluated
from hypothesis import HealthCheck, assume, given, settings
from random_texts import programs

from diffgraph.passes.pipeline import optimize
from diffgraph.runtime.device import DeviceExecutable
from diffgraph.targets.cuda.simulated import SimulatedDriver

QUIET = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck), "database": None}


@settings(max_examples=5, **QUIET)
@given(programs())
def test_agrees_with_the_interpreter(text):
    _, program, _, by_path, results = evaluated(text)
    expected = {o.name: result for o, result in zip(program.outputs, results, strict=True)}
    assume(all(np.all(np.isfinite(a)) for a in expected.values()) and len(expected) > 1)
    executable = DeviceExecutable(optimize(program, target="cuda"), "f64", SimulatedDriver())
    executable.bind({path: np.array(a, dtype=np.float64) for path, a in by_path.items() if path != "x"})
    found = executable.run({"x": by_path["x"]})
    for name, value in expected.items():
        scale = max(1.0, float(np.max(np.abs(value), initial=0)))
        np.testing.assert_allclose(found[name], value, rtol=1e-10, atol=1e-10 * scale, err_msg=name)
