"""Computing a tensor again from other values of what it depends on."""

from __future__ import annotations

from collections.abc import Mapping

from diffgraph.ir.program import Builder, Definition, Statement
from diffgraph.ir.rename import rename_results, rename_statement


def replay(builder: Builder, tensor: str, instead: Mapping[str, str]) -> str:
    """The tensor as it would be with some tensors in the place of others: `instead[old] = new`.

    Appends copies of those statements between that the change reaches; gives the name of the copy of the tensor, or the
    tensor itself where nothing reaches it.
    """
    names = dict(instead)
    for statement in _behind(builder.statements, tensor):
        if names.keys().isdisjoint(_read_by(statement)):
            continue
        own = {}
        for result in statement.results:
            own[result.name] = builder.fresh(result.name)
            builder.tensors[own[result.name]] = result
        builder.append(rename_results(rename_statement(statement, names), own))
        names |= own
    return names.get(tensor, tensor)


def _behind(statements: list[Statement], tensor: str) -> list[Statement]:
    """The statements that a tensor depends on, in order."""
    live = {tensor}
    found = []
    for statement in reversed(statements):
        if any(t.name in live for t in statement.results):
            live.update(_read_by(statement))
            found.append(statement)
    return found[::-1]


def _read_by(statement: Statement) -> tuple[str, ...]:
    """What a statement reads, its own gradient included."""
    own = statement.gradient if isinstance(statement, Definition) else None
    if own is None:
        return statement.operands
    return (*statement.operands, *(i.tensor.name for i in own.body.inputs if i.tensor.name != own.cotangent))
