"""Some of the results of a program, and only what they need."""

from __future__ import annotations

from collections.abc import Collection

from diffgraph.ir.dimension import symbols
from diffgraph.ir.program import Definition, Program, walk
from diffgraph.passes.dce import dce
from diffgraph.passes.report import Report


def select(program: Program, outputs: Collection[str], commits: bool = False, checks: bool = True) -> Program:
    """The program that gives the named outputs only. An input that nothing reads is left out, unless it alone says how
    large a symbolic size is.

    Before:
        input x[N, 3]
        target t[N]
        y[n, i] = 2 * x[n, i]
        error   = sum[n](t[n] - x[n, 0])
        output y, error

    After selecting y:
        input x[N, 3]
        y[n, i] = 2 * x[n, i]
        output y
    """
    smaller = program.with_(
        outputs=tuple(o for o in program.outputs if o.name in outputs),
        commits=program.commits if commits else (),
        checks=program.checks if checks else (),
    )
    smaller = dce(smaller, Report())
    return smaller.with_(inputs=_needed_inputs(smaller))


def _needed_inputs(program: Program):
    read = {name for s in program.statements for name in s.operands} | set(program.roots)
    read |= {
        i.tensor.name for s in walk(program) if isinstance(s, Definition) and s.gradient for i in s.gradient.body.inputs
    }
    read |= {c.state for c in program.commits}
    kept = [i for i in program.inputs if i.tensor.name in read]
    known = {s for i in kept for size in i.tensor.shape for s in symbols(size)}
    for given in program.inputs:
        own = {s for size in given.tensor.shape for s in symbols(size)}
        if given not in kept and own - known and own & _used_symbols(program):
            kept.append(given)
            known |= own
    return tuple(i for i in program.inputs if i in kept)


def _used_symbols(program: Program) -> set[str]:
    return {s for t in walk(program) for r in t.results for size in r.shape for s in symbols(size)}
