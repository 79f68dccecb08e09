"""What depends on what, smoothly: which statements a derivative has to go through."""

from __future__ import annotations

from collections.abc import Iterable

from diffgraph.autodiff.adjoint import adjoint
from diffgraph.ir.program import Argsort, Definition, Reshape, Scan, Statement


def sources(statement: Statement) -> tuple[str, ...]:
    """Every tensor of the enclosing program that a statement, or its own gradient, reads."""
    if isinstance(statement, Definition) and statement.gradient:
        own = statement.gradient
        return (*statement.operands, *(i.tensor.name for i in own.body.inputs if i.tensor.name != own.cotangent))
    return statement.operands


def behind(statements: Iterable[Statement], names: Iterable[str]) -> tuple[list[Statement], set[str]]:
    """The statements that some tensors depend on, in order, and all the tensors those read, with the given ones."""
    live = set(names)
    found = []
    for statement in reversed(list(statements)):
        if any(t.name in live for t in statement.results):
            live.update(sources(statement))
            found.append(statement)
    return found[::-1], live


def moved_results(statement: Statement, moved: set[str]) -> set[str]:
    """The results of a statement that depend smoothly on the tensors in `moved`."""
    match statement:
        case Definition(gradient=None):
            depends = any(t.operands[s] in moved for t in statement.terms for s in adjoint(t.form).slots)
            return {statement.tensor.name} if depends else set()
        case Definition():
            depends = any(target in moved for target, _ in statement.gradient.gradients)
            return {statement.tensor.name} if depends else set()
        case Reshape():
            return {statement.tensor.name} if statement.operand in moved else set()
        case Scan():
            inside = moved_inside(statement, moved)
            finals = {c.final.name for c in statement.carries if c.inner in inside}
            return finals | {y.stacked.name for y in statement.yields if y.inner in inside}
        case Argsort():
            return set()
    raise TypeError(f"not a statement: {statement!r}")


def moved_inside(scan: Scan, moved: set[str]) -> set[str]:
    """The tensors of the body of a scan that, in some step, depend smoothly on the outer tensors in `moved`."""
    inside = {inner for inner, outer in (*scan.sequences, *scan.constants) if outer in moved}
    inside |= {c.inner for c in scan.carries if c.initial in moved}
    while True:
        for statement in scan.body.statements:
            inside |= moved_results(statement, inside)
        carried = {c.inner for c in scan.carries if c.next in inside}
        if carried <= inside:
            return inside
        inside |= carried
