"""Results take the memory of operands that nobody needs any more, and nothing else."""

import numpy as np
import pytest
from agreement import check, program_of

from diffgraph.kernels.commit import place_commits
from diffgraph.kernels.reuse import reuse
from diffgraph.kernels.schedule import schedule


def shared(text):
    """Which results lie in the memory of which operands."""
    program = program_of(text)
    before = place_commits(schedule(program), program)
    after = reuse(before, program)
    moved = {n: m for n, m in after.schedule.memory.items() if before.schedule.memory[n] != m}
    return program, moved


#: Two tensors that are read when their maximum is known, and so lie in memory.
START = "input x[N, 7]\na = exp(x)\nm = max(a)\n"
END = "\nk = max(y)\nr = y - k\noutput r"


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("y = tanh(a) - m" + END, {"y": "a", "r": "a"}),
        # Read at other places than it is written.
        ("y[n, i] = a[n, 6 - i] - m" + END, {"r": "y"}),
        # Read again later, asked for, or given by others.
        ("y = a - m\nk = max(y)\nr = k + a\noutput r", {"r": "a"}),
        ("y = a - m\noutput a" + END, {"r": "y"}),
        ("y = x - m" + END, {"r": "y"}),
        # Another number of elements, another kind.
        ("y[n, i, k < 2] = a[n, i] * k - m\nr[n] = sum[i, k](y[n, 6 - i, k])\noutput r", {}),
        ("y[n, i] = a[n, i] > m / 2\nr[n, i] = (x[n, i] if y[n, 6 - i] else 0)\noutput r", {}),
    ],
)
def test_what_shares_memory(text, moved, rng):
    program, found = shared(START + text)
    assert {k: v for k, v in found.items() if k in ("y", "r")} == moved
    check(program, 5, rng)


def test_a_chain_lies_in_one_memory(rng):
    """Each map over the one before, where something reads all of it between them."""
    lines = ["input x[N, 9]", "a0 = exp(x)"]
    for k in range(3):
        lines.append(f"m{k} = max(a{k})")
        lines.append(f"a{k + 1} = a{k} - m{k}")
    program, found = shared("\n".join([*lines, "r[n] = sum[i](a3[n, i] * i)", "output r"]))
    assert {found.get(f"a{k}") for k in (1, 2)} == {"a0"}, found
    check(program, 6, rng)


def test_outputs_stay_what_they_are(rng):
    program = program_of("input x[N, 9]\nm = max(x)\na = x - m\ns = sum(a)\nb = a / s\noutput b\noutput s")
    check(program, 4, rng)
    assert np.size(program.outputs) == 2
