"""Random programs and their gradients, executed by the interpreter of PTX."""

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from random_texts import programs

from diffgraph.inspect.stages import gradient_program
from diffgraph.ir.interpret import interpret
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.passes.pipeline import optimize
from diffgraph.runtime.device import DeviceExecutable
from diffgraph.targets.cuda.simulated import SimulatedDriver

QUIET = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck), "database": None}


@settings(max_examples=5, **QUIET)
@given(programs())
def test_agrees_with_the_interpreter(text):
    network = elaborate(load_text(text), training=True)
    program = gradient_program(network)
    start = interpret(network.initial, {i.tensor.name: 1 for i in network.initial.inputs if i.role == "run"})
    by_path = {o.name: start[o.tensor] for o in network.initial.outputs}
    by_path["x"] = np.random.default_rng(0).standard_normal((3, 3, 4))
    values = {i.tensor.name: by_path.get(i.path, 1) for i in program.inputs if i.table is None}
    results = interpret(program, values)
    expected = {o.name: results[o.tensor] for o in program.outputs}
    assume(all(np.all(np.isfinite(a)) for a in expected.values()) and len(expected) > 1)
    executable = DeviceExecutable(optimize(program, target="cuda"), "f64", SimulatedDriver())
    executable.bind({path: np.array(a, dtype=np.float64) for path, a in by_path.items() if path != "x"})
    found = executable.run({"x": by_path["x"]})
    for name, value in expected.items():
        scale = max(1.0, float(np.max(np.abs(value), initial=0)))
        np.testing.assert_allclose(found[name], value, rtol=1e-10, atol=1e-10 * scale, err_msg=name)
