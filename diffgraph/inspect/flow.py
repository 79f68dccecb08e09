"""A program and its kernels as boxes: the pictures of the stages after the layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from diffgraph.diagnostics import Span
from diffgraph.inspect.layer_tree import Box
from diffgraph.ir.program import Input, Output, Program, Provenance, Statement
from diffgraph.ir.text import show
from diffgraph.kernels.loops import Kernel

#: A text of more lines is cut.
_MOST_LINES = 60


def program_box(program: Program, name: str) -> Box:
    """A program as one box: its inputs, a box for each statement, its outputs. Parameters and states, which are read from
    afar and more than once, are in the formulas only."""
    read = {n for s in program.statements for n in s.operands} | set(program.roots)
    given = [i for i in program.inputs if i.tensor.name in read and i.role in ("input", "target")]
    boxes = [_input(i) for i in given]
    makers = {i.tensor.name: i.tensor.name for i in given}
    edges: dict[tuple[str, str], None] = {}
    for statement in program.statements:
        box = _statement(statement)
        boxes.append(box)
        edges.update(((makers[n], box.name), None) for n in statement.operands if n in makers)
        makers.update((t.name, box.name) for t in statement.results)
    for output in program.outputs:
        boxes.append(Box(f"output {output.name}", output.name, "output"))
        if output.tensor in makers:
            edges[makers[output.tensor], f"output {output.name}"] = None
    return Box("", name, "group", boxes=tuple(boxes), edges=tuple(edges))


def kernels_box(kernels: Sequence[Kernel], name: str) -> Box:
    """Kernels as one box: each reads what others have left in memory."""
    boxes: list[Box] = []
    edges: dict[tuple[str, str], None] = {}
    wrote: dict[str, str] = {}
    for number, kernel in enumerate(kernels):
        key = f"{number} {kernel.name}"
        layers = ", ".join(layers_of(kernel.provenance))
        boxes.append(Box(key, kernel.name, "layer", layers, span=_span(kernel.provenance)))
        edges.update(((wrote[b.name], key), None) for b in kernel.buffers if wrote.get(b.name, key) != key)
        wrote.update((b.name, key) for b in kernel.buffers if b.written and not b.private)
    return Box("", name, "group", boxes=tuple(boxes), edges=tuple(edges))


def layers_of(provenance: Provenance) -> list[str]:
    """The layers that something comes from, each once; `-` for what is in none."""
    return list(dict.fromkeys(o.path or "-" for o in provenance))


def _input(given: Input) -> Box:
    return Box(given.tensor.name, given.path or given.tensor.name, given.role, shapes=(given.tensor.shape,))


def _statement(statement: Statement) -> Box:
    made = statement.results
    label = made[0].name + (", ..." if len(made) > 1 else "")
    layers = ", ".join(layers_of(statement.provenance)[:2])
    shapes = tuple(t.shape for t in made)
    return Box(made[0].name, label, "formula", layers, shapes=shapes, span=_span(statement.provenance))


def _span(provenance: Provenance) -> Span | None:
    return next((o.span for o in provenance if o.span is not None), None)


class FlowFacts:
    """What a page tells of each box of a program, or of kernels: what they are computed from and where it comes from."""

    def __init__(self, box: Box, program: Program | None = None, kernels: Sequence[Kernel] = ()):
        counted = len(program.statements) if program is not None else len(kernels)
        self.totals = {"definitions" if program is not None else "kernels": counted}
        self.statements: dict[str, Statement] = {}
        self.kernels = {f"{number} {kernel.name}": kernel for number, kernel in enumerate(kernels)}
        self.tensors: Mapping = program.tensors if program is not None else {}
        self.provenance: dict[str, Provenance] = {k: kernel.provenance for k, kernel in self.kernels.items()}
        for statement in program.statements if program is not None else ():
            self.statements[statement.results[0].name] = statement
            self.provenance[statement.results[0].name] = statement.provenance

    def about(self, box: Box) -> Iterator[tuple[str, str]]:
        """(what, value) in the order they are shown."""
        found = self.provenance.get(box.name, ())
        yield "name", box.label
        yield "type", box.kind if not found else ""
        yield "layers", ", ".join(layers_of(found)) if found else ""
        yield "phase", ", ".join(dict.fromkeys(o.phase for o in found))
        if box.name in self.kernels:
            yield "makes", ", ".join(self.kernels[box.name].results)

    def formula(self, box: Box) -> str:
        """The definition as text of the language."""
        statement = self.statements.get(box.name)
        if statement is None:
            return ""
        inputs = tuple(Input(self.tensors[n], "input", n) for n in dict.fromkeys(statement.operands))
        alone = Program(inputs, (statement,), tuple(Output(t.name, t.name) for t in statement.results))
        lines = list(definitions(show(alone).splitlines()))
        return "\n".join(lines[:_MOST_LINES] + ["..."] * (len(lines) > _MOST_LINES))


def definitions(lines: Iterable[str]) -> Iterator[str]:
    """The definitions in a printed program, without what stands around them."""
    for line in lines:
        inner = line.removeprefix("    ")
        if inner != line and inner.strip() and not inner.startswith(("input ", "state ", "output ", "#")):
            yield inner
