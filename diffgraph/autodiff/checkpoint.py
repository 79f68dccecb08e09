"""`checkpoint k`: a scan becomes a scan over chunks of k steps, each of which is a scan of its own.

The derivative of the outer one stores the carries at the start of each chunk; within a chunk the steps are run again.
Steps that are left over at the end make a last scan.
"""

from __future__ import annotations

from dataclasses import replace

from diffgraph.autodiff.forms import chunk_of, joined
from diffgraph.autodiff.sequences import with_sequences
from diffgraph.ir.affine import affine
from diffgraph.ir.canonical import canonical_term
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Extent, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.inline import inline
from diffgraph.ir.program import (
    Builder,
    Carry,
    Definition,
    Input,
    Output,
    Program,
    Reshape,
    Scan,
    Statement,
    Tensor,
    Term,
    Yield,
)


def expand_checkpoints(builder: Builder, scan: Scan, moved: set[str]) -> None:
    """Replaces a scan of a builder that has a checkpoint, in place, by scans whose derivative stores no more than that.

    Of those, the ones with `checkpoint` 1 store their carries only. `moved`: the tensors whose gradients are wanted; of
    the others those that a step reads a slice of are read where they are."""
    if scan.checkpoint is None:
        return
    place = next(i for i, s in enumerate(builder.statements) if s is scan)
    size = scan.checkpoint
    made, scan = with_sequences(builder, scan, moved)
    if size == 1 or isinstance(scan.length, int) and scan.length <= size:
        made += [replace(scan, checkpoint=1)]
    else:
        made += _Split(builder, scan, size).statements()
    builder.statements[place : place + 1] = made


def in_chunks(builder: Builder, scan: Scan, size: int) -> list[Statement]:
    """Statements with the results of a scan: a scan over chunks of so many steps, its body a scan over those of one; and
    what makes its sequences, and the results, of theirs."""
    return _Split(builder, scan, size).statements()


class _Split:
    """Cuts a scan of T steps into T // k chunks of k steps, and a rest."""

    def __init__(self, builder: Builder, scan: Scan, size: int):
        self.builder = builder
        self.scan = scan
        self.size = size
        self.count: Size = scan.length // size
        self.rest: Size = scan.length - self.count * size
        self.made: list[Statement] = []

    def statements(self) -> list[Statement]:
        """The statements that have the scan's results."""
        first, last = (self._chunks, self._remainder) if not self.scan.reverse else (self._remainder, self._chunks)
        if self.rest == 0:
            rows, _ = self._chunks([c.initial for c in self.scan.carries], [c.final for c in self.scan.carries])
            for y, chunked in zip(self.scan.yields, rows):
                self._add(Reshape(y.stacked, chunked.name, self.scan.provenance))
            return self.made
        middle = [self._tensor(f"{c.final.name}_between", c.final.shape, c.final) for c in self.scan.carries]
        rows = {}
        rows[first], between = first([c.initial for c in self.scan.carries], middle)
        rows[last], _ = last(between, [c.final for c in self.scan.carries])
        for y, chunked, rest in zip(self.scan.yields, rows[self._chunks], rows[self._remainder]):
            term = Term(joined(chunked.operand, rest.operand), (chunked.name, rest.name), self.scan.provenance)
            self._add(Definition(y.stacked, (term,)))
        return self.made

    def _add(self, statement: Statement) -> None:
        self.made.append(statement)
        self.builder.tensors.update((t.name, t) for t in statement.results)

    def _tensor(self, hint: str, shape: tuple[Size, ...], like: Tensor) -> Tensor:
        tensor = Tensor(self.builder.fresh(hint), tuple(shape), like.kind, like.bound)
        self.builder.tensors[tensor.name] = tensor
        return tensor

    def _piece(self, outer: str, start: Size, shape: tuple[Size, ...]) -> str:
        """Steps of a sequence from `start` on, as a tensor of that shape."""
        of = self.builder.tensors[outer]
        made = self._tensor(f"{outer}_part", shape, of)
        if self.rest == 0:
            self._add(Reshape(made, outer, self.scan.provenance))
        else:
            form = chunk_of(of.operand, start, shape)
            self._add(Definition(made, (Term(form, (outer,), self.scan.provenance),)))
        return made.name

    def _remainder(self, initial: list[str], finals: list[Tensor]) -> tuple[list[Tensor], list[str]]:
        """The last steps. Gives the rows of each yield, and the carries."""
        scan, start = self.scan, self.count * self.size
        rows = [
            self._tensor(f"{y.stacked.name}_rest", (self.rest, *y.stacked.shape[1:]), y.stacked) for y in scan.yields
        ]
        shapes = self.builder.tensors
        sequences = [(i, self._piece(o, start, (self.rest, *shapes[o].shape[1:]))) for i, o in scan.sequences]
        body, index = scan.body, ""
        if scan.index:
            body, index, _ = _counted(scan, ((1, "step", self.rest),), Extent(start))
        last = replace(
            scan,
            length=self.rest,
            index=index,
            carries=tuple(replace(c, initial=i, final=f) for c, i, f in zip(scan.carries, initial, finals)),
            sequences=tuple(sequences),
            yields=tuple(Yield(y.inner, r) for y, r in zip(scan.yields, rows)),
            body=body,
            checkpoint=1,
        )
        self._add(last)
        return rows, [f.name for f in finals]

    def _chunks(self, initial: list[str], finals: list[Tensor]) -> tuple[list[Tensor], list[str]]:
        """All whole chunks. Gives the rows of each yield, [count, size, ...], and the carries."""
        scan, count, size = self.scan, self.count, self.size
        shapes = self.builder.tensors
        sequences = [(i, self._piece(o, 0, (count, size, *shapes[o].shape[1:]))) for i, o in scan.sequences]
        rows = [
            self._tensor(f"{y.stacked.name}_chunks", (count, size, *y.stacked.shape[1:]), y.stacked)
            for y in scan.yields
        ]
        inner, chunk = self._one_chunk()
        outer = replace(
            scan,
            length=count,
            index=chunk,
            carries=tuple(
                Carry(c.inner, i, within.final.name, f)
                for c, i, within, f in zip(scan.carries, initial, inner.carries, finals)
            ),
            sequences=tuple(sequences),
            yields=tuple(Yield(within.stacked.name, r) for within, r in zip(inner.yields, rows)),
            body=self._around(inner, chunk),
            checkpoint=1,
        )
        self._add(outer)
        return rows, [f.name for f in finals]

    def _one_chunk(self) -> tuple[Scan, str]:
        """The scan over the steps of one chunk, as a statement of the body of the scan over chunks."""
        scan = self.scan
        inside = Builder(Program(scan.body.inputs))
        body, index, chunk = scan.body, "", ""
        constants = scan.constants
        if scan.index:
            body, index, chunk = _counted(scan, ((1, "step", self.size), (self.size, "chunk", self.count)), Extent(0))
            constants += ((chunk, chunk),)
            inside.tensors[chunk] = Tensor(chunk, (), "int", self.count)

        def result(hint: str, shape, like: Tensor) -> Tensor:
            made = Tensor(inside.fresh(hint), tuple(shape), like.kind, like.bound)
            inside.tensors[made.name] = made
            return made

        inner = replace(
            scan,
            length=self.size,
            index=index,
            carries=tuple(
                replace(c, initial=c.inner, final=result(f"{c.inner}_after", c.final.shape, c.final))
                for c in scan.carries
            ),
            sequences=tuple((i, i) for i, _ in scan.sequences),
            constants=tuple((i, i) for i, _ in constants),
            yields=tuple(
                Yield(y.inner, result(f"{y.inner}_rows", (self.size, *y.stacked.shape[1:]), y.stacked))
                for y in scan.yields
            ),
            body=body,
            checkpoint=1,
        )
        return inner, chunk

    def _around(self, inner: Scan, chunk: str) -> Program:
        """The body of the scan over chunks."""
        sequences = {i for i, _ in self.scan.sequences}
        inputs = []
        for given in self.scan.body.inputs:
            tensor = given.tensor
            if tensor.name in sequences:
                tensor = replace(tensor, shape=(self.size, *tensor.shape))
            if tensor.name != self.scan.index and given.table is None:
                inputs.append(replace(given, tensor=tensor))
        if chunk:
            inputs.append(Input(Tensor(chunk, (), "int", self.count), "free", chunk))
        return Program(tuple(inputs), (inner,), tuple(Output(t.name, t.name) for t in inner.results))


def _counted(scan: Scan, counters: tuple[tuple[int, str, Size], ...], start: Extent) -> tuple[Program, str, ...]:
    """The body of a scan that finds its step as the sum of counters (stride, name, bound) and a start. Gives also their
    names."""
    builder = Builder(scan.body)
    names = [builder.input(hint, (), "free", kind="int", bound=bound).name for _, hint, bound in counters]
    reads = [(Read(slot, (), None), stride) for slot, (stride, _, _) in enumerate(counters)]
    operands = tuple(Operand((), "int", bound) for _, _, bound in counters)
    form = Form((), "sum", (), (), operands, affine(0, [(start, 1), *reads]))
    step = Term(form, tuple(names), scan.provenance)
    inputs = tuple(i for i in builder.inputs if i.tensor.name != scan.index)
    made = Definition(Tensor(scan.index, (), "int", scan.length), (step,))
    body = scan.body.with_(inputs=inputs, statements=(made, *(_placed(s, scan.index, step) for s in scan.body.statements)))
    return (body, *names, *[""] * (2 - len(names)))


def _placed(statement: Statement, name: str, step: Term) -> Statement:
    """The statement with the number of the step computed in its places, so that they stay as plain as they were."""
    if not isinstance(statement, Definition) or statement.gradient is not None or name not in statement.operands:
        return statement

    def placed(term: Term) -> Term:
        while name in term.operands:
            form = inline(term.form, term.operands.index(name), step.form)
            term = canonical_term(Term(form, (*term.operands, *step.operands), term.provenance))
        return term

    return replace(statement, terms=tuple(placed(t) for t in statement.terms))
