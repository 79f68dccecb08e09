"""Random programs: the interpreter, every pass, and the cpu target agree in float64; renamed copies are the same forms."""

import re

import numpy as np
import pytest
from evaluation import evaluated
from hypothesis import HealthCheck, assume, given, settings
from random_texts import programs

from diffgraph.inspect.gradcheck import compare_gradients
from diffgraph.inspect.stages import gradient_program
from diffgraph.ir.interpret import interpret
from diffgraph.ir.verify import verify
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.passes.pipeline import optimize, stages
from diffgraph.runtime.executable import build

QUIET = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck), "database": None}


def compiled(text):
    """(network, program of loss and gradients, values by tensor name, results); what is all zero or not finite is passed over."""
    network, program, values, by_path, arrays = evaluated(text)
    assume(all(np.all(np.isfinite(a)) for a in arrays))
    assume(len(arrays) > 1 and any(np.any(a != 0) for a in arrays[1:]))
    return network, program, values, by_path, arrays


def agree(found, expected):
    for a, b in zip(found, expected):
        scale = max(1.0, float(np.max(np.abs(b), initial=0)))
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * scale)


@settings(max_examples=120, **QUIET)
@given(programs())
def test_every_pass_agrees_with_the_interpreter(text):
    _, program, values, _, expected = compiled(text)
    for stage in stages(program):
        verify(stage.program, stage.name)
        results = interpret(stage.program, values)
        agree([results[o.tensor] for o in stage.program.outputs], expected)


@settings(max_examples=60, **QUIET)
@given(programs())
def test_derivatives_agree_with_differences(text):
    network, program, values, _, expected = compiled(text)
    paths = {i.path: i.tensor.name for i in program.inputs}
    gradients = {
        paths[o.name.removeprefix("gradient of ")]: e for o, e in zip(program.outputs, expected) if "gradient" in o.name
    }
    loss = network.losses[0].tensor
    found = compare_gradients(lambda v: float(interpret(network.program, v, keep=[loss])[loss]), gradients, values)
    for c in found:
        # A direction without one smooth try says nothing: the program has a kink at this very point.
        assert c.ok or np.isnan(c.derivative), c


@settings(max_examples=6, **QUIET)
@given(programs())
def test_the_cpu_target_agrees(text):
    _, program, _, by_path, expected = compiled(text)
    for compiled_program in (program, optimize(program)):
        executable = build(compiled_program, precision="f64", threads=2)
        executable.bind({path: np.array(a, dtype=np.float64) for path, a in by_path.items() if path != "x"})
        results = executable.run({"x": by_path["x"]})
        agree([results[o.name] for o in program.outputs], expected)


@settings(max_examples=40, **QUIET)
@given(programs())
def test_renamed_copies_are_the_same_forms(text):
    renamed = re.sub(r"\bt(\d)\b", r"other_\1", text)
    renamed = re.sub(r"\bi\b", "row", renamed)
    renamed = re.sub(r"\bj\b", "z", renamed)
    forms = []
    for version in (text, renamed):
        network = elaborate(load_text(version), training=True)
        program = stages(gradient_program(network), until=2)[-1].program
        forms.append([tuple(t.form for t in getattr(s, "terms", ())) for s in program.statements])
    assert forms[0] == forms[1]


@pytest.mark.parametrize("size", [0, 1])
def test_empty_and_single_batches(size):
    text = "net n { input x[N, 3]; param w[3] = 2; y[n] = sum[i](w[i] * x[n, i]^2); output y; loss sum(y) }"
    network = elaborate(load_text(text), training=True)
    program = optimize(gradient_program(network))
    x = np.ones((size, 3))
    w = np.full(3, 2.0)
    executable = build(program, precision="f64")
    executable.bind({"w": w})
    results = executable.run({"x": x})
    np.testing.assert_allclose(results["loss"], 6.0 * size)
    np.testing.assert_allclose(results["gradient of w"], np.full(3, float(size)))
