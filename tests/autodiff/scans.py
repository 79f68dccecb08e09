"""Scans for tests: bodies written as formulas, joined to a case."""

from __future__ import annotations

from checks import Case
from formulas import let

from diffgraph.ir.program import Builder, Carry, Output, Scan, Tensor, Yield


class Loop:
    """A scan being built in a case: declare what the body reads, write its formulas, then `close` it."""

    def __init__(self, case: Case, length, *, index="", reverse=False, checkpoint=None):
        self.case = case
        self.body = Builder()
        self.length = length
        self.index = self.body.input(index, (), "free", kind="int", bound=length).name if index else ""
        self.options = reverse, checkpoint
        self.carries: dict[str, str] = {}
        self.sequences: list[tuple[str, str]] = []
        self.constants: list[tuple[str, str]] = []

    def carry(self, name: str, initial: str) -> None:
        tensor = self.case.builder.tensors[initial]
        self.carries[name] = initial
        self.body.input(name, tensor.shape, "free", kind=tensor.kind)

    def sequence(self, name: str, outer: str) -> None:
        tensor = self.case.builder.tensors[outer]
        self.sequences.append((name, outer))
        self.body.input(name, tensor.shape[1:], "free", kind=tensor.kind, bound=tensor.bound)

    def constant(self, name: str) -> None:
        tensor = self.case.builder.tensors[name]
        self.constants.append((name, name))
        self.body.input(name, tensor.shape, "free", kind=tensor.kind, bound=tensor.bound)

    def let(self, text: str, **extents) -> str:
        return let(self.body, text, **extents)

    def close(self, nexts: dict[str, str], yields: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """Appends the scan; the names of the final carries and of the stacked yields."""
        builder = self.case.builder
        shapes = self.body.tensors
        carries, stacked = [], []
        for name, initial in self.carries.items():
            final = Tensor(builder.fresh(f"{name}_final"), shapes[name].shape, shapes[name].kind)
            carries.append(Carry(name, initial, nexts[name], final))
        for name in yields:
            rows = Tensor(builder.fresh(f"{name}_rows"), (self.length, *shapes[name].shape), shapes[name].kind)
            stacked.append(Yield(name, rows))
        for name in dict.fromkeys((*nexts.values(), *yields)):
            self.body.outputs.append(Output(name, name))
        scan = Scan(
            self.length,
            self.index,
            tuple(carries),
            tuple(self.sequences),
            tuple(self.constants),
            tuple(stacked),
            self.body.program(),
            *self.options,
        )
        builder.append(scan)
        return [c.final.name for c in carries], [y.stacked.name for y in stacked]
