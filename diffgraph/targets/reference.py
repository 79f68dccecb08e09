"""The interpreter as a target: slow, obvious, and right by definition."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diffgraph.ir.interpret import interpret
from diffgraph.ir.program import Program


def run_reference(program: Program, values: Mapping[str, np.ndarray], precision: str) -> dict[str, np.ndarray]:
    """The roots of a program (outputs, commits, checks) by tensor name, for the values of its inputs by tensor name.
    Checks are computed, not judged."""
    wanted = program.roots
    return interpret(program.with_(checks=()), values, precision, keep=wanted)
