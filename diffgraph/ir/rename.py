"""Renaming tensors of a program: when one tensor replaces another, and when statements move to another program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from diffgraph.ir.program import Argsort, Definition, Input, Program, Reshape, Scan, Statement


def rename_statement(statement: Statement, names: Mapping[str, str]) -> Statement:
    """The statement reading other tensors. What it defines keeps its name; bodies have names of their own."""
    if not names:
        return statement
    new = lambda name: names.get(name, name)  # noqa: E731
    if isinstance(statement, Definition):
        terms = tuple(
            t if names.keys().isdisjoint(t.operands) else replace(t, operands=tuple(map(new, t.operands)))
            for t in statement.terms
        )
        return replace(statement, terms=terms, gradient=_rename_gradient(statement, names))
    if isinstance(statement, (Reshape, Argsort)):
        return replace(statement, operand=new(statement.operand))
    if isinstance(statement, Scan):
        return replace(
            statement,
            carries=tuple(replace(c, initial=new(c.initial)) for c in statement.carries),
            sequences=tuple((inner, new(outer)) for inner, outer in statement.sequences),
            constants=tuple((inner, new(outer)) for inner, outer in statement.constants),
        )
    raise TypeError(f"not a statement: {statement!r}")


def _rename_gradient(definition: Definition, names: Mapping[str, str]):
    """Free inputs of an own gradient's body have the names of the enclosing program's tensors, so they follow."""
    own = definition.gradient
    if own is None or names.keys().isdisjoint(i.tensor.name for i in own.body.inputs):
        return own
    taken = {n: names[n] for n in own.body.tensors if n in names and n != own.cotangent}
    inputs: dict[str, Input] = {}
    for given in own.body.inputs:
        name = taken.get(given.tensor.name, given.tensor.name)
        inputs.setdefault(name, replace(given, tensor=replace(given.tensor, name=name)))
    body = rename_program(own.body.with_(inputs=()), taken).with_(
        inputs=tuple(inputs.values()), statements=tuple(rename_statement(s, taken) for s in own.body.statements)
    )
    gradients = tuple((names.get(outer, outer), taken.get(inner, inner)) for outer, inner in own.gradients)
    return replace(own, body=body, gradients=gradients)


def rename_program(program: Program, names: Mapping[str, str]) -> Program:
    """The program whose statements, outputs, commits and checks read other tensors."""
    if not names:
        return program
    new = lambda name: names.get(name, name)  # noqa: E731
    return program.with_(
        statements=tuple(rename_statement(s, names) for s in program.statements),
        outputs=tuple(replace(o, tensor=new(o.tensor)) for o in program.outputs),
        commits=tuple(replace(c, tensor=new(c.tensor)) for c in program.commits),
        checks=tuple(replace(c, tensor=new(c.tensor)) for c in program.checks),
    )


def rename_results(statement: Statement, names: Mapping[str, str]) -> Statement:
    """The statement defining its results under other names. What it reads keeps its name."""
    new = lambda tensor: replace(tensor, name=names.get(tensor.name, tensor.name))  # noqa: E731
    if isinstance(statement, Scan):
        return replace(
            statement,
            carries=tuple(replace(c, final=new(c.final)) for c in statement.carries),
            yields=tuple(replace(y, stacked=new(y.stacked)) for y in statement.yields),
        )
    return replace(statement, tensor=new(statement.tensor))
