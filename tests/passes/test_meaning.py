"""Random programs mean the same after every pass, and are legal."""

import numpy as np
import pytest
from program_maker import random_program

from diffgraph.ir.interpret import interpret
from diffgraph.ir.verify import verify
from diffgraph.passes.pipeline import stages
from diffgraph.passes.report import Report


@pytest.mark.parametrize("seed", range(30))
def test_every_pass_keeps_the_meaning(seed):
    program, values = random_program(seed)
    verify(program, "generation")
    expected = interpret(program, values)
    assert any(np.any(expected[t]) for t in program.roots)
    report = Report()
    for stage in stages(program, report):
        verify(stage.program, f"after {stage.name}")
        found = interpret(stage.program, values)
        pairs = [(a.tensor, b.tensor) for a, b in zip(program.outputs, stage.program.outputs, strict=True)]
        pairs += [(a.tensor, b.tensor) for a, b in zip(program.commits, stage.program.commits, strict=True)]
        for before, after in pairs:
            scale = np.abs(expected[before]).max(initial=1.0)
            np.testing.assert_allclose(
                found[after], expected[before], rtol=1e-9, atol=1e-10 * scale, err_msg=stage.name
            )
        assert stage.program.inputs == program.inputs


def test_the_random_programs_use_every_pass():
    seen = set()
    for seed in range(40):
        report = Report()
        stages(random_program(seed)[0], report)
        seen |= {e.step for e in report.entries if e.done}
    assert seen >= {"cse", "fold", "hoist", "contract", "gather", "unflatten", "fuse", "extract"}
