"""The statements of a program as nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.interop.onnx.writing import protocol
from diffgraph.interop.onnx.writing.convolutions import Convolution, find_convolution, pooled
from diffgraph.interop.onnx.writing.forms import FormWriter, Written
from diffgraph.interop.onnx.writing.graph import GraphWriter
from diffgraph.interop.onnx.writing.products import find_product
from diffgraph.ir import dimension
from diffgraph.ir.affine import affine
from diffgraph.ir.classify import classify
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Index, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.program import Argsort, Definition, Program, Reshape, Scan, Statement, Tensor, Term


class ProgramWriter:
    """Statements of a program over a graph. `values`: the value of each tensor that there is so far."""

    def __init__(self, graph: GraphWriter, program: Program, values: dict[str, str]):
        self.graph = graph
        self.program = program
        self.values = values

    def write(self, statement: Statement) -> None:
        """Adds the results of a statement."""
        match statement:
            case Definition():
                self.values[statement.tensor.name] = self._definition(statement)
            case Reshape(tensor, operand):
                self.values[tensor.name] = self._reshape(tensor, operand)
            case Argsort():
                self.values[statement.tensor.name] = self._argsort(statement)
            case Scan():
                self._scan(statement)

    def _definition(self, definition: Definition) -> str:
        graph, shape = self.graph, definition.tensor.shape
        joined = self._concatenated(definition)
        if joined is not None:
            return joined
        terms = [self._term(t) for t in self._without_bias(definition)]
        total, whole = terms[0].value, terms[0].whole
        for term in terms[1:]:
            total, whole = graph.node("Add", total, term.value), whole or term.whole
        return total if whole else graph.expand(total, shape)

    def _term(self, term: Term | Written) -> Written:
        if isinstance(term, Written):
            return term
        forms, split = self._forms(term), self._split_forms(term)
        product = find_product(split)
        if product is not None and product.rows_and_columns:
            return product.write(split)
        convolution = find_convolution(term.form)
        if convolution is not None:
            return Written(convolution.write(split))
        value = pooled(forms)
        if value is not None:
            return Written(value)
        return product.write(split) if product is not None else forms.term()

    def _forms(self, term: Term) -> FormWriter:
        return FormWriter(self.graph, term.form, [self.values[o] for o in term.operands])

    def _split_forms(self, term: Term) -> FormWriter:
        return FormWriter(self.graph, classify(term.form).form, [self.values[o] for o in term.operands])

    def _without_bias(self, definition: Definition) -> list[Term | Written]:
        """The terms, a convolution and its bias as one of them."""
        terms: list[Term | Written] = list(definition.terms)
        for at, term in enumerate(definition.terms):
            convolution, product = find_convolution(term.form), find_product(self._split_forms(term))
            if convolution is None or (product is not None and product.rows_and_columns):
                continue
            bias = next((t for t in definition.terms if t is not term and _is_bias(t, convolution)), None)
            if bias is not None:
                terms[at] = Written(convolution.write(self._split_forms(term), self.values[bias.operands[0]]))
                terms.remove(bias)
            return terms
        return terms

    def _concatenated(self, definition: Definition) -> str | None:
        """The tensor as its terms one after the other along an axis, if they are."""
        if len(definition.terms) < 2:
            return None
        parts = [self._part(term) for term in definition.terms]
        axes = {p[0] for p in parts if p is not None}
        if None in parts or len(axes) != 1:
            return None
        (axis,) = axes
        order = sorted(range(len(parts)), key=lambda i: parts[i][1])
        end = 0
        for i in order:
            if parts[i][1] != end:
                return None
            end = end + parts[i][2]
        if end != definition.tensor.shape[axis]:
            return None
        return self.graph.node("Concat", *(self._whole_part(definition.terms[i]) for i in order), axis=axis)

    def _part(self, term: Term) -> tuple[int, int, Size] | None:
        """(axis, start, length) of a term that writes a part of one axis and all of the others."""
        form = term.form
        stretches = self._forms(term).stretches()
        if stretches is None or any(s.step != 1 for s in stretches):
            return None
        lengths = [1 if s.index is None else form.domain[s.index] for s in stretches]
        partial = [k for k, n in enumerate(form.shape) if lengths[k] != n]
        if len(partial) != 1 or any(s.start for k, s in enumerate(stretches) if k != partial[0]):
            return None
        return partial[0], stretches[partial[0]].start, lengths[partial[0]]

    def _whole_part(self, term: Term) -> str:
        """What a term writes, alone: its stretch is its whole tensor."""
        form = term.form
        stretches = self._forms(term).stretches()
        shape = tuple(1 if s.index is None else form.domain[s.index] for s in stretches)
        write = tuple(affine(0, () if s.index is None else ((Index(s.index), 1),)) for s in stretches)
        alone = Form(form.domain, form.op, write, shape, form.operands, form.body)
        written = self._term(replace(term, form=alone))
        return written.value if written.whole else self.graph.expand(written.value, shape)

    def _reshape(self, tensor: Tensor, operand: str) -> str:
        return self.graph.reshape(self.values[operand], tensor.shape, self.program.tensors[operand].shape)

    def _argsort(self, statement: Argsort) -> str:
        graph, tensor = self.graph, statement.tensor
        length = graph.listed(graph.size(tensor.shape[-1]))
        _, places = graph.node_of("TopK", (self.values[statement.operand], length), 2, axis=-1,
                                  largest=int(statement.descending), sorted=1)  # fmt: skip
        return places

    # ------------------------------------------------------------------------------------------------ loops

    def _scan(self, scan: Scan) -> None:
        """ONNX's Scan: its body sees the values around it, so what is the same in every step is just read."""
        if scan.length == 0:
            # ONNX Runtime refuses to run over nothing.
            self.values.update((c.final.name, self.values[c.initial]) for c in scan.carries)
            for y in scan.yields:
                self.values[y.stacked.name] = self._nothing(y.stacked)
            return
        graph = self.graph
        inner = GraphWriter(graph.real, within=graph)
        inside = dict(self.values)
        inside |= {name: self.values[outer] for name, outer in scan.constants}
        tensors = {i.tensor.name: i.tensor for i in scan.body.inputs}
        inside |= {
            i.tensor.name: _table(graph, i.table.array, i.tensor) for i in scan.body.inputs if i.table is not None
        }
        states = [self._enter(inner, inside, tensors[c.inner]) for c in scan.carries]
        counted = Tensor(scan.index or "step_of_scan", (), "int")
        # A loop has as many steps as what it runs over has rows: the steps themselves, if there is nothing else.
        given = [(tensors[name], self.values[outer]) for name, outer in scan.sequences]
        given.append((counted, self._count(scan.length)))
        rows = [self._enter(inner, inside, tensor) for tensor, _ in given]
        body = ProgramWriter(inner, scan.body, inside)
        for statement in scan.body.statements:
            body.write(statement)
        results = [self._leave(inner, inside, c.next, scan.body) for c in scan.carries]
        results += [self._leave(inner, inside, y.inner, scan.body) for y in scan.yields]
        block = protocol.graph(graph.name("step"), inner.nodes, [*states, *rows], results)
        names = [graph.name(t.name) for t in scan.results]
        turned = int(scan.reverse)
        directions = {"scan_input_directions": [turned] * len(given)}
        if scan.yields:
            directions["scan_output_directions"] = [turned] * len(scan.yields)
        operands = [*(self.values[c.initial] for c in scan.carries), *(value for _, value in given)]
        graph.append(protocol.node("Scan", operands, names, body=block, num_scan_inputs=len(given), **directions))
        self.values.update(zip((t.name for t in scan.results), names))

    def _nothing(self, tensor: Tensor) -> str:
        return self.graph.expand(self.graph.constant(self.graph.dtype(tensor.kind).type(0), "number"), tensor.shape)

    def _count(self, length: Size) -> str:
        zero, one = (self.graph.constant(np.int64(n), "size") for n in (0, 1))
        return self.graph.node("Range", zero, self.graph.size(length), one)

    def _enter(self, inner: GraphWriter, inside: dict[str, str], tensor: Tensor):
        inside[tensor.name] = inner.name(tensor.name)
        return value_info(inner, inside[tensor.name], tensor)

    def _leave(self, inner: GraphWriter, inside: dict[str, str], name: str, body: Program):
        """A result of a body: a value of its own, that nothing else has given out."""
        result = inner.name(f"{name}_out")
        inner.append(protocol.node("Identity", [inside[name]], [result]))
        return value_info(inner, result, body.tensors[name])


def _is_bias(term: Term, convolution: Convolution) -> bool:
    """The term is a list of numbers along the channels of the convolution."""
    form = term.form
    if convolution.result[1] is None or not form.is_pointwise or type(form.body) is not Read:
        return False
    read = form.body
    if len(read.place) != 1 or read.otherwise is not None or form.operands[read.slot].kind != "float":
        return False
    index = alone_index(form.write[convolution.result[1]])
    return (
        alone_index(read.place[0]) == index and form.operands[read.slot].shape[0] == form.shape[convolution.result[1]]
    )


def _table(graph: GraphWriter, array, tensor: Tensor) -> str:
    return graph.constant(np.asarray(array).astype(graph.dtype(tensor.kind)), tensor.name)


def value_info(graph: GraphWriter, name: str, tensor: Tensor):
    """A tensor as ONNX declares it; sizes that are not one symbol have none."""
    shape = [s if isinstance(s, int) else _symbol(s) for s in tensor.shape]
    return protocol.value(name, graph.dtype(tensor.kind), shape)


def _symbol(size: Size) -> str | None:
    text = str(size)
    return text if text.isidentifier() else None


def write_statements(graph: GraphWriter, program: Program, values: dict[str, str]) -> dict[str, str]:
    """The values of all tensors of a program, given those of its inputs."""
    writer = ProgramWriter(graph, program, values)
    for statement in program.statements:
        writer.write(statement)
    return writer.values


def find_symbols(graph: GraphWriter, inputs: Sequence[tuple[str, Tensor]]) -> None:
    """Every symbol as the length of an axis of an input."""
    for name, tensor in inputs:
        for axis, size in enumerate(tensor.shape):
            for symbol in dimension.symbols(size):
                if str(size) == symbol and symbol not in graph.symbols:
                    lengths = graph.node("Shape", name, start=axis, end=axis + 1)
                    graph.symbols[symbol] = graph.squeeze(lengths, [0])
    wanted = {s for _, tensor in inputs for size in tensor.shape for s in dimension.symbols(size)}
    for symbol in sorted(wanted - graph.symbols.keys()):
        raise error("DG955", f"the size `{symbol}` is the length of no input, which ONNX needs",
                    help=f"fix it: --size {symbol}=N")  # fmt: skip
