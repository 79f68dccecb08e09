"""Less memory for more arithmetic: tensors that lie idle when memory is fullest are made again instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

from diffgraph.ir.dimension import Size, evaluate, product
from diffgraph.ir.program import Builder, Definition, Program, Provenance, Reshape, Statement
from diffgraph.ir.rename import rename_statement
from diffgraph.passes.order import BYTES
from diffgraph.passes.report import Report

#: What an operand may be kept longer for, rather than be made again too: this part of what is won.
SMALL_PART = 0.05

#: How many tensors may have to be made again for one of them, how many ways are tried in a round, and how many rounds.
MOST_MADE = 64
MOST_TRIED = 4
MOST_ROUNDS = 2000


def recompute(program: Program, sizes: Mapping[str, int], limit: int, report: Report, float_bytes: int = 4) -> Program:
    """A program whose results take no more than `limit` bytes at any time, or as few as can be reached. Where memory is
    fullest, what is not read until later is dropped and made again before it is, as long as that helps: first what saves
    most bytes for each operation, such as an activation function, then whole segments of layers. Draws are functions of
    their place, so nothing changes in the numbers.

    sizes: of the symbols. Inputs, parameters and states are not counted.

    Before:
        input x[N, 64]
        a = exp(x)
        b[n] = sum[i](a[n, i])
        c[n, i < 64] = sin(i * b[n])
        d[n] = sum[i](c[n, i])
        y[n] = sum[i](a[n, i] * d[n])
        output y

    After, with little memory:
        input x[N, 64]
        a = exp(x)
        b[n] = sum[i](a[n, i])
        c[n, i < 64] = sin(i * b[n])
        d[n] = sum[i](c[n, i])
        e = exp(x)
        y[n] = sum[i](e[n, i] * d[n])
        output y
    """
    best = _Model(program, sizes, float_bytes)
    rounds = MOST_ROUNDS
    while best.peak > limit and rounds:
        better = _improved(best)
        if better is None:
            break
        best, text, provenance = better
        report.did(text, provenance)
        rounds -= 1
    return best.program


def _improved(model: _Model) -> tuple[_Model, str, Provenance] | None:
    """The model with something made again that lowers the peak, and what that is."""
    for again in model.choices()[:MOST_TRIED]:
        program, text, provenance = _repeated(model, again)
        better = _Model(program, model.sizes, model.float_bytes, model.known)
        if better.peak < model.peak or better.peak == model.peak and better.places < model.places:
            return better, text, provenance
    return None


def peak_of(program: Program, sizes: Mapping[str, int], float_bytes: int = 4) -> int:
    """Bytes of the results of a program where they are most."""
    return _Model(program, sizes, float_bytes).peak


@dataclass(frozen=True)
class _Again:
    """Memory `name` is made again before the statement `at`, and with it others: `made`, in order. won: bytes at the
    fullest place."""

    name: str
    at: int
    made: tuple[str, ...]
    won: int
    work: int


class _Model:
    """When each memory of a program is in use, and how much that is."""

    def __init__(self, program: Program, sizes: Mapping[str, int], float_bytes: int, known: dict | None = None):
        self.program = program
        self.sizes = sizes
        self.float_bytes = float_bytes
        #: Sizes as numbers, shared by the models of a search.
        self.known: dict[Size, int] = {} if known is None else known
        self.widths = {**BYTES, "float": float_bytes}
        self.memory = {name: name for name in program.tensors}
        for statement in program.statements:
            if isinstance(statement, Reshape):
                self.memory[statement.tensor.name] = self.memory[statement.operand]
        # A new value of a state takes the place of the old one.
        apart = {i.tensor.name for i in program.inputs} | {c.tensor for c in program.commits}
        self.uses: dict[str, list[int]] = {}
        self.made_at: dict[str, int] = {}
        for at, statement in enumerate(program.statements):
            for name in (*statement.operands, *(t.name for t in statement.results)):
                if (root := self.memory[name]) not in apart:
                    self.uses.setdefault(root, []).append(at)
            if not isinstance(statement, Reshape):
                self.made_at.update((t.name, at) for t in statement.results)
        end = len(program.statements)
        for root in program.roots:
            if self.memory[root] in self.uses:
                self.uses[self.memory[root]].append(end)
        self.lives = {name: (uses[0], uses[-1]) for name, uses in self.uses.items()}
        self.bytes = {name: self._bytes(name) for name in self.uses}
        self.peak, self.fullest, self.places = self._fullest(end)

    def _bytes(self, name: str) -> int:
        tensor = self.program.tensors[name]
        return self.widths[tensor.kind] * self._number(product(tensor.shape))

    def _number(self, size: Size) -> int:
        found = self.known.get(size)
        if found is None:
            found = self.known[size] = evaluate(size, self.sizes)
        return found

    def _fullest(self, end: int) -> tuple[int, int, int]:
        """(bytes where they are most, the last such place, how many there are)."""
        changes = [0] * (end + 2)
        for name, (first, last) in self.lives.items():
            changes[first] += self.bytes[name]
            changes[last + 1] -= self.bytes[name]
        live = list(accumulate(changes))
        most = max(live)
        places = [at for at, amount in enumerate(live) if amount == most]
        return most, places[-1], len(places)

    def _work(self, definition: Definition) -> int:
        return sum(self._number(product(t.form.domain)) for t in definition.terms) + 1

    def choices(self) -> list[_Again]:
        """What can be made again, what saves most bytes for each operation first."""
        found = []
        for name, (first, last) in self.lives.items():
            if first < self.fullest < last and self.fullest not in self.uses[name]:
                again = self._again(name, next(u for u in self.uses[name] if u > self.fullest))
                if again is not None:
                    found.append(again)
        return sorted(found, key=lambda a: (-a.won / a.work, -a.won, a.name))

    def _again(self, name: str, at: int) -> _Again | None:
        """How a memory is made again before a statement; None if that cannot be, or wins nothing."""
        made: dict[str, None] = {}
        kept, work = 0, 0
        pending = [name]
        if at >= len(self.program.statements):
            return None
        while pending:
            wanted = pending.pop()
            if wanted in made:
                continue
            made[wanted] = None
            statement = self.program.statements[self.made_at[wanted]]
            if not isinstance(statement, Definition) or len(made) > MOST_MADE:
                return None
            work += self._work(statement)
            for operand in {self.memory[o] for o in statement.operands}:
                if operand not in self.lives or self.lives[operand][1] >= at:
                    continue
                if self.lives[operand][1] >= self.fullest:
                    continue
                if self.bytes[operand] <= SMALL_PART * self.bytes[name] or self._is_lasting(operand):
                    kept += self.bytes[operand]
                else:
                    pending.append(operand)
        won = self.bytes[name] - kept
        return _Again(name, at, tuple(sorted(made, key=self.made_at.get)), won, work) if won > 0 else None

    def _is_lasting(self, name: str) -> bool:
        """What makes it cannot be done again."""
        return not isinstance(self.program.statements[self.made_at[name]], Definition)


def _repeated(model: _Model, again: _Again) -> tuple[Program, str, Provenance]:
    """The program with something made again, which what comes later reads; and what is to be told."""
    program = model.program
    names = Builder(program)
    renamed: dict[str, str] = {}
    clones: list[Statement] = []
    for name in again.made:
        statement = program.statements[model.made_at[name]]
        clones.append(_clone(rename_statement(statement, renamed), renamed, names))
        for view in program.statements[: again.at]:
            if isinstance(view, Reshape) and model.memory[view.tensor.name] == name:
                clones.append(_clone(rename_statement(view, renamed), renamed, names))
    before, after = program.statements[: again.at], program.statements[again.at :]
    later = tuple(rename_statement(s, renamed) for s in after)
    used = {o for s in (*clones, *later) for o in s.operands}
    clones = [c for c in clones if c.results[0].name in used]
    reader = after[0].results[0].name if after[0].results else "the end"
    text = f"{again.name} is made again before {reader}: {again.won:,} bytes less where memory is fullest"
    return program.with_(statements=(*before, *clones, *later)), text, after[0].provenance


def _clone(statement: Statement, renamed: dict[str, str], names: Builder) -> Statement:
    """The statement under a new name."""
    tensor = statement.results[0]
    new = replace(tensor, name=names.fresh(f"{tensor.name}_again"))
    names.tensors[new.name] = new
    renamed[tensor.name] = new.name
    return replace(statement, tensor=new)
