"""Loops whose samples are apart, with what is between them and around them: a region that threads go through share by share
of the samples, none waiting for another.

    before the region       what does not depend on it
    the region              scans; what is between them; what only they read; sums over samples of what they make
    after it                everything else

A region is only worth it where loops are: it saves waiting after each kernel of each step, what a thread works on stays in
the caches of its own, and what only the region needs is in memory for no more samples than threads work on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from diffgraph.ir.dimension import Size, product, symbol, symbols
from diffgraph.ir.program import Definition, Input, Output, Program, Reshape, Scan, Statement
from diffgraph.kernels.apart import Kind, Samples, axis_of, steady_elements
from diffgraph.passes.cost import usual

#: Elements that a loop reads again in every step, for every share: a core keeps them close.
MOST_STEADY = 320_000

#: Elements of a sum over samples, of which there is one for each share.
MOST_SUMMED = 1 << 19


@dataclass(frozen=True)
class Region:
    """Statements for the samples of a share. views: the tensors with samples that lie outside, and the axis that the
    samples are. sums: those that are summed over the shares. made: the views that the region writes."""

    batch: Size
    statements: tuple[Statement, ...]
    views: Mapping[str, int]
    sums: tuple[str, ...]
    made: tuple[str, ...]

    @property
    def results(self) -> tuple[str, ...]:
        """What is read outside."""
        return (*self.made, *self.sums)

    @property
    def operands(self) -> tuple[str, ...]:
        """What it reads from outside."""
        made = {t.name for s in self.statements for t in s.results}
        return tuple(dict.fromkeys(o for s in self.statements for o in s.operands if o not in made))


def divided(program: Program, statements: Sequence[Statement], roots: frozenset[str]) -> list[Statement | Region]:
    """The statements in an order in which regions are in one piece."""
    batch = _batch(program.inputs)
    if batch is None or not any(isinstance(s, Scan) for s in statements):
        return list(statements)
    return _Division(program, statements, roots, batch).parts()


def _batch(inputs: Iterable[Input]) -> Size | None:
    """The symbol that the first axis of an input is, if there is but one."""
    found = {s for i in inputs for size in i.tensor.shape for s in symbols(size)}
    first = {str(i.tensor.shape[0]) for i in inputs if i.tensor.shape}
    return symbol(found.pop()) if len(found) == 1 and found <= first else None


class _Division:
    """The statements of a program as those before, in, and after its first region."""

    def __init__(self, program: Program, statements: Sequence[Statement], roots: frozenset[str], batch: Size):
        self.program = program
        self.statements = list(statements)
        self.roots = roots
        self.batch = batch
        self.samples = Samples(batch)
        self.tensors = program.tensors
        self.maker = {t.name: s for s in statements for t in s.results}
        self.readers: dict[str, list[Statement]] = {}
        for s in statements:
            for operand in s.operands:
                self.readers.setdefault(operand, []).append(s)

    def parts(self) -> list[Statement | Region]:
        kinds, candidates = self._candidates()
        scans = [s for s in candidates if isinstance(s, Scan)]
        kept = self._kept(candidates, scans, kinds) if scans else []
        region = self._region(kept, kinds) if kept else None
        if region is None:
            return self.statements
        within = {id(s) for s in kept}
        behind = self._behind(within)
        rest = [s for s in self.statements if id(s) not in within]
        before = [s for s in rest if id(s) not in behind]
        after = [s for s in rest if id(s) in behind]
        return [*before, region, *after]

    # ---------------------------------------------------------------------------------------------- what may be in it

    def _candidates(self) -> tuple[dict[str, Kind], list[Statement]]:
        """The kinds of what may be read in the region, and the statements that may be in it."""
        known: dict[str, Kind] = {}
        for given in self.program.inputs:
            try:
                known[given.tensor.name] = self.samples.kind_of(given.tensor)
            except ValueError:
                continue
        found: list[Statement] = []
        for statement in self.statements:
            if isinstance(statement, Definition) and any(o in known and known[o].adds_to is not None for o in statement.operands):
                continue
            made = self.samples.judge(statement, self.tensors, known)
            if made is None or isinstance(statement, Scan) and not self._is_small(statement, made):
                continue
            known.update(made)
            if any(k.batched or k.adds_to is not None for k in made.values()):
                found.append(statement)
        return known, found

    def _is_small(self, scan: Scan, made: Mapping[str, Kind]) -> bool:
        """Whether what every share goes through again, and what it sums by itself, is little; and it gives nothing that is
        the same for all shares."""
        if any(not k.batched and k.adds_to is None for k in made.values()):
            return False
        summed = sum(self._size(name) for name, k in made.items() if k.adds_to is not None)
        return steady_elements(scan, self.program, self.samples) <= MOST_STEADY and summed <= MOST_SUMMED

    def _size(self, name: str) -> int:
        return usual(product(self.tensors[name].shape))

    def _kept(self, candidates: list[Statement], scans: list[Scan], kinds: Mapping[str, Kind]) -> list[Statement]:
        """The candidates that are worth it: see above."""
        ahead = self._ahead({id(s) for s in scans})
        behind = self._behind({id(s) for s in scans})
        possible = {id(s) for s in candidates}
        kept = {id(s) for s in scans} | possible & ahead & behind
        kept |= {id(s) for s in candidates if id(s) in behind and self._is_small_sum(s, kinds)}
        feeding = {id(self.maker[o]) for s in scans for o in s.operands if o in self.maker} & possible
        changed = True
        while changed:
            changed = False
            for s in reversed(candidates):
                if id(s) in kept or id(s) not in behind | feeding or any(kinds[t.name].adds_to is not None for t in s.results):
                    continue
                if self._is_inner(s, kept):
                    kept.add(id(s))
                    changed = True
        return [s for s in candidates if id(s) in kept]

    def _is_small_sum(self, statement: Statement, kinds: Mapping[str, Kind]) -> bool:
        made = [t.name for t in statement.results]
        return all(kinds[n].adds_to is not None and self._size(n) <= MOST_SUMMED for n in made)

    def _is_inner(self, statement: Statement, kept: set[int]) -> bool:
        """Whether nothing outside reads what it makes."""
        names = [t.name for t in statement.results]
        return self.roots.isdisjoint(names) and all(id(r) in kept for n in names for r in self.readers.get(n, ()))

    def _behind(self, start: set[int]) -> set[int]:
        """The statements that depend on some."""
        found: set[int] = set()
        for s in self.statements:
            makers = (self.maker.get(o) for o in s.operands)
            if any(m is not None and (id(m) in start or id(m) in found) for m in makers):
                found.add(id(s))
        return found

    def _ahead(self, start: set[int]) -> set[int]:
        """The statements that some depend on."""
        found: set[int] = set()
        for s in reversed(self.statements):
            readers = (r for t in s.results for r in self.readers.get(t.name, ()))
            if any(id(r) in start or id(r) in found for r in readers):
                found.add(id(s))
        return found

    # ---------------------------------------------------------------------------------------------- the region

    def _region(self, kept: list[Statement], kinds: Mapping[str, Kind]) -> Region | None:
        """The region of some statements; None where a tensor that is read outside cannot be put there share by share."""
        within = {id(s) for s in kept}
        made = [t for s in kept for t in s.results]
        names = {t.name for t in made}
        views = {o for s in kept for o in s.operands if o not in names and kinds[o].batched}
        outside = [t.name for t in made if not self._is_read_inside_only(t.name, within)]
        sums = tuple(n for n in outside if kinds[n].adds_to is not None)
        results = tuple(n for n in outside if kinds[n].batched)
        for name in results:
            maker = self.maker[name]
            if isinstance(maker, Reshape) or isinstance(maker, Definition) and self._axis(name) != 0:
                return None
        behind = self._behind(within)
        if any(o in self.maker and id(self.maker[o]) in behind - within for s in kept for o in s.operands):
            return None
        return Region(self.batch, tuple(kept), {n: self._axis(n) for n in (*sorted(views), *results)}, sums, results)

    def _axis(self, name: str) -> int:
        return axis_of(self.tensors[name].shape, self.batch)

    def _is_read_inside_only(self, name: str, within: set[int]) -> bool:
        return name not in self.roots and all(id(r) in within for r in self.readers.get(name, ()))


def as_program(region: Region, tensors: Mapping) -> Program:
    """A region as a program of its own."""
    inputs = tuple(Input(tensors[n], "free", n) for n in region.operands)
    return Program(inputs, region.statements, tuple(Output(n, n) for n in region.results))


def needed(program: Program, roots: frozenset[str]) -> list[Statement]:
    """The statements that the roots depend on, in order."""
    live = set(roots)
    found: list[Statement] = []
    for statement in reversed(program.statements):
        if any(t.name in live for t in statement.results):
            live.update(statement.operands)
            found.append(statement)
    return found[::-1]
