"""From a program and its parameters to an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from diffgraph.interop.onnx.writing import protocol
from diffgraph.interop.onnx.writing.graph import GraphWriter
from diffgraph.interop.onnx.writing.program import find_symbols, value_info, write_statements
from diffgraph.ir import scalar
from diffgraph.ir.expression import Const
from diffgraph.ir.form import Form, Operand, copied
from diffgraph.ir.inline import inline
from diffgraph.ir.interpret import PRECISIONS, interpret
from diffgraph.ir.program import Definition, Input, Program, Term
from diffgraph.passes.canonicalize import canonicalize
from diffgraph.passes.compose import compose
from diffgraph.passes.contract import contract
from diffgraph.passes.cse import cse
from diffgraph.passes.dce import dce
from diffgraph.passes.fold import fold
from diffgraph.passes.hoist import hoist
from diffgraph.passes.prepare import steady_tensors
from diffgraph.passes.report import Report

#: What is done to a program first: the algebra of `passes/pipeline.py`, without what is for loops of our own. So maps
#: after maps are one, and a normalization is in the filter before it.
_PASSES = (dce, canonicalize, cse, hoist, contract, fold, cse, compose, hoist, contract, canonicalize, cse, dce)


def onnx_model(program: Program, arrays: Mapping[str, np.ndarray], name: str, precision: str = "f32"):
    """The model (an `onnx.ModelProto`) of the outputs of a program. arrays: its parameters and states by path.

    Symbolic sizes stay symbolic. What depends on parameters only is computed here. DiffgraphError if something has no
    counterpart in ONNX, or ONNX is not installed.
    """
    protocol.require()
    program, constants = _with_constants(program, arrays)
    real = PRECISIONS[precision]
    graph = GraphWriter(real)
    given = [i for i in program.inputs if i.tensor.name not in constants]
    # Inputs first: they have the names that the user knows.
    values = {i.tensor.name: graph.name(i.tensor.name) for i in given}
    for i in program.inputs:
        if i.tensor.name in constants:
            array = scalar.cast(constants[i.tensor.name], i.tensor.kind, real)
            name_of = i.path if i.role in ("parameter", "state") else i.tensor.name
            values[i.tensor.name] = graph.given(name_of, array)
    find_symbols(graph, [(values[i.tensor.name], i.tensor) for i in given])
    values = write_statements(graph, program, values)
    results = []
    for output in program.outputs:
        result = graph.name(output.name)
        graph.append(protocol.node("Identity", [values[output.tensor]], [result]))
        results.append(value_info(graph, result, program.tensors[output.tensor]))
    nodes, used = _live(graph.nodes, {r.name for r in results})
    constants = {n: a for n, a in graph.constants.items() if n in used}
    inputs = [value_info(graph, values[i.tensor.name], i.tensor) for i in given]
    return protocol.model(protocol.graph(name, nodes, inputs, results, constants))


def _with_constants(program: Program, arrays: Mapping[str, np.ndarray]) -> tuple[Program, dict[str, np.ndarray]]:
    """The program after the passes, and the values of its inputs that are known, by tensor name."""
    report = Report()
    for step in _PASSES:
        program = step(program, report)
    known = {i.tensor.name: arrays[i.path] for i in program.inputs if i.role in ("parameter", "state")}
    known |= {i.tensor.name: i.table.array for i in program.inputs if i.table is not None}
    steady = steady_tensors(program) - known.keys()
    read = {o for s in program.statements if steady.isdisjoint(t.name for t in s.results) for o in s.operands}
    wanted = sorted((read | {o.tensor for o in program.outputs}) & steady)
    computed = interpret(program, known, keep=wanted)
    rest = [s for s in program.statements if steady.isdisjoint(t.name for t in s.results)]
    inputs = [*program.inputs, *(Input(program.tensors[name], "prepared", name) for name in wanted)]
    known |= computed
    program = program.with_(inputs=tuple(inputs), statements=tuple(rest))
    program = dce(canonicalize(_with_numbers(program, computed), report), report)
    return program, {i.tensor.name: known[i.tensor.name] for i in program.inputs if i.tensor.name in known}


def _with_numbers(program: Program, arrays: Mapping[str, np.ndarray]) -> Program:
    """The program with tensors all of whose elements are one number replaced by that: it may be nothing at all."""
    numbers = {
        name: a.flat[0].item()
        for name, a in arrays.items()
        if a.size and a.dtype.kind == "f" and (a == a.flat[0]).all()
    }

    def replaced(term: Term) -> Term:
        form, operands = term.form, term.operands
        for slot, name in enumerate(term.operands):
            if name in numbers:
                shape = program.tensors[name].shape
                whole = copied(Operand(shape))
                form = inline(form, slot, Form(shape, "sum", whole.write, shape, (), Const(numbers[name])))
        return replace(term, form=form, operands=operands)

    statements = [
        replace(s, terms=tuple(map(replaced, s.terms))) if isinstance(s, Definition) else s for s in program.statements
    ]
    return program.with_(statements=tuple(statements))


def _live(nodes: list, wanted: set[str]) -> tuple[list, set[str]]:
    """The nodes that results depend on, and every name that they use; a loop uses what its body does."""
    used, kept = set(wanted), []
    for node in reversed(nodes):
        if not used.isdisjoint(node.output):
            kept.append(node)
            used |= _names(node)
    return kept[::-1], used


def _names(node) -> set[str]:
    found = set(node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            found |= _names(inner)
    return found
