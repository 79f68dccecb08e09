"""Mistakes planted into generated kernels are found: by the interpreter's checks, or by the numbers."""

import re
from dataclasses import replace

import numpy as np
import pytest
from agreement import program_of
from simulation import check

from diffgraph.runtime import device_launch, device_library
from diffgraph.targets.cuda.ptx.launch import Divergence
from diffgraph.targets.cuda.ptx.memory import MemoryFault, Race

PRODUCT = "input x[N, 40]\ninput w[24, 40]\ny[n, u] = sum[d](w[u, d] * x[n, d])\noutput y"
SOFTMAX = "input x[N, 70]\noutput y = softmax(x)"
COLUMNS = "input x[200, 40]\ny[k] = sum[n](x[n, k])\noutput y"
POINTWISE = "input x[N, 36]\noutput y = tanh(x) + 1"

#: (program, what is replaced, by what, what happens)
MISTAKES = {
    "no barrier before the products": (PRODUCT, r"copies_done\(1\)\n\s*barrier\(\d+\)", "copies_done(1)", Race),
    "no barrier after the products": (PRODUCT, r"(step_\d+\(.*\))\n\s*barrier\(\d+\)", r"\1", Race),
    "copies that are not waited for": (PRODUCT, r"copies_done\(1\)", "pass", (AssertionError, Race)),
    "the wrong stage": (PRODUCT, r"turn = int32\(1 - turn\)", "turn = turn", (AssertionError, Race)),
    "rows beyond the last": (PRODUCT, r"if row < N and", "if", MemoryFault),
    "operands beyond the last": (PRODUCT, r"inside = following \+ step < 40 and", "inside =", (AssertionError, MemoryFault)),
    "results of the wrong row": (PRODUCT, r"row = int32\(first_row \+ ", "row = int32(first_row + 1 - ", (AssertionError, MemoryFault)),
    "a sum that is not joined": (SOFTMAX, r"value\d+ = team_sum_\d+\(.*\)\n", "pass\n", AssertionError),
    "a team that is too small": (SOFTMAX, r"reduction\('sum', 'float32', team=32", "reduction('sum', 'float32', team=16", AssertionError),
    "a step too far": (COLUMNS, r"range\(lane, int32\(200", "range(lane, int32(201", MemoryFault),
    "units beyond the last": (POINTWISE, r"if unit < .*:", "if unit < 1 << 20:", MemoryFault),
    "a store out of alignment": (POINTWISE, r"store4\((\w+), (.*?), v", r"store4(\1, \2 + 1, v", MemoryFault),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_is_found(name, monkeypatch, rng):
    program, what, by, found = MISTAKES[name]
    changed = []

    def emit(*arguments, original=device_library.emit):
        text = original(*arguments)
        source = re.sub(what, by, text.source)
        changed.append(source != text.source)
        return replace(text, source=source)

    monkeypatch.setattr(device_library, "emit", emit)
    with pytest.raises(found):
        check(program_of(program), 37, rng)
    assert any(changed)


def test_without_mistakes_nothing_is_found(rng):
    for program in (PRODUCT, SOFTMAX, COLUMNS, POINTWISE):
        check(program_of(program), 37, rng)


def test_threads_that_leave_before_a_barrier(monkeypatch, rng):
    def emit(*arguments, original=device_library.emit):
        text = original(*arguments)
        return replace(text, source=re.sub(r"        (barrier\(\d+\))\n        put", r"        if thread < 7:\n            \1\n        put", text.source))

    monkeypatch.setattr(device_library, "emit", emit)
    with pytest.raises((Divergence, Race)):
        check(program_of(PRODUCT), 37, np.random.default_rng(1))
    _ = rng


TOGETHER = """input x[N, 40]\ninput w[24, 40]\ny[n, u] = sum[d](w[u, d] * x[n, d])
g[u, d] = sum[n](tanh(y[n, u]) * x[n, d])\ns[d] = sum[n](x[n, d]^2)\nt[n, d] = x[n, d] * s[d]
output y\noutput g\noutput t"""

#: In launches of many kernels: (how many blocks, what is replaced, by what).
MISTAKES_TOGETHER = {
    "stages that do not meet": (1, r"\n *meet_all\(meeting\)", ""),
    "blocks that do not wait for each other": (3, r"meet_all\(meeting\)", "barrier_of_block()"),
    "copies that arrive in the next kernel": (1, r"copies_done\(0\)", "pass"),
}


@pytest.mark.parametrize("name", MISTAKES_TOGETHER)
def test_is_found_in_one_launch(name, monkeypatch, rng):
    blocks, what, by = MISTAKES_TOGETHER[name]
    changed = []

    def together(*arguments, original=device_launch.together):
        text = original(*arguments)
        changed.append(re.sub(what, by, text) != text)
        return re.sub(what, by, text)

    monkeypatch.setattr(device_launch, "WORK_OF_ONE_BLOCK", 0 if blocks > 1 else 1 << 40)
    check(program_of(TOGETHER), 150, rng)
    monkeypatch.setattr(device_launch, "together", together)
    with pytest.raises(Race):
        check(program_of(TOGETHER), 150, rng)
    assert any(changed)
