"""The order of the passes, argued once.

    canonicalize   first, so that equal definitions look equal
    cse, dce       early, so that nothing later works on what is computed twice or not at all
    fold           algebra that makes work smaller: factors leave sums, products become binary
    fuse           last, because substitution hides structure that the passes before it look at
    canonicalize, cse, dce   again: fusion makes new forms, some of them equal, and leaves producers unread

Derivatives are taken before all of this: the adjoint of an unfused program is a program that fuses as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diffgraph.diagnostics import CompilerBug, DiffgraphError
from diffgraph.ir.program import Program
from diffgraph.passes.canonicalize import canonicalize
from diffgraph.passes.cse import cse
from diffgraph.passes.dce import dce
from diffgraph.passes.fold import fold
from diffgraph.passes.fuse import fuse
from diffgraph.passes.report import Report

Pass = Callable[[Program, Report], Program]

PIPELINE: tuple[tuple[str, Pass], ...] = (
    ("dce", dce),
    ("canonicalize", canonicalize),
    ("cse", cse),
    ("fold", fold),
    ("cse", cse),
    ("fuse", fuse),
    ("canonicalize", canonicalize),
    ("cse", cse),
    ("dce", dce),
)


@dataclass(frozen=True)
class Stage:
    """A program after a pass."""

    name: str
    program: Program


def optimize(program: Program, report: Report | None = None, until: int | None = None) -> Program:
    """The program after the passes (after the first `until` of them)."""
    return stages(program, report, until)[-1].program


def stages(program: Program, report: Report | None = None, until: int | None = None) -> list[Stage]:
    """The program before any pass, and after each. A failure inside a pass is a `CompilerBug` that names it."""
    report = report if report is not None else Report()
    done = [Stage("elaborated", program)]
    for name, step in PIPELINE[:until]:
        report.step = name
        try:
            program = step(program, report)
        except (CompilerBug, DiffgraphError):
            raise
        except Exception as problem:
            raise CompilerBug(f"pass {name}", f"{type(problem).__name__}: {problem}") from problem
        done.append(Stage(name, program))
    return done
