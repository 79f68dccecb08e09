"""What frees memory is done as soon as it can be."""

from __future__ import annotations

from diffgraph.ir.dimension import product
from diffgraph.ir.program import Definition, Program, Reshape, Statement, Tensor
from diffgraph.passes.cost import usual
from diffgraph.passes.report import Report

#: Bytes of an element.
BYTES = {"float": 4, "int": 8, "bool": 1}


def order(program: Program, report: Report) -> Program:
    """Moves statements that are the last to read more than they make to where all that they read is there: the gradient
    of a weight right after the gradient of what the weight makes, and the update of the weight right after that. What is
    computed from single numbers alone comes first. The order of the rest stays.

    Before:
        input x[N, 64]
        input v[64, 64]
        a = exp(x)
        b = sin(x)
        c[n] = sum[i](a[n, i])
        d[n] = sum[i](b[n, i])
        output c
        output d

    After:
        input x[N, 64]
        input v[64, 64]
        a = exp(x)
        c[n] = sum[i](a[n, i])
        b = sin(x)
        d[n] = sum[i](b[n, i])
        output c
        output d
    """
    found = _Order(program).statements()
    moved = sum(a is not b for a, b in zip(found, program.statements))
    if not moved:
        return program
    report.did(f"{moved} definitions changed places, so that what they read is not kept longer")
    return program.with_(statements=tuple(found))


def bytes_of(tensor: Tensor) -> int:
    """The usual size of a tensor."""
    return BYTES[tensor.kind] * product(usual(s) for s in tensor.shape)


class _Order:
    """The statements that have their place, and what is left to read."""

    def __init__(self, program: Program):
        self.program = program
        self.tensors = program.tensors
        self.memory = {name: name for name in self.tensors}
        for statement in program.statements:
            if isinstance(statement, Reshape):
                self.memory[statement.tensor.name] = self.memory[statement.operand]
        kept = {i.tensor.name for i in program.inputs} | {self.memory[r] for r in program.roots}
        self.freeable = set(self.memory.values()) - kept
        self.state_of = {c.tensor: c.state for c in program.commits}
        self.readers: dict[str, dict[int, None]] = {}
        self.missing: list[int] = []
        self.reading: dict[str, list[int]] = {}
        self.maker = {t.name: at for at, s in enumerate(program.statements) for t in s.results}
        for at, statement in enumerate(program.statements):
            for name in statement.operands:
                self.readers.setdefault(self.memory[name], {})[at] = None
                self.reading.setdefault(name, []).append(at)
            self.missing.append(sum(name in self.maker for name in statement.operands))
        self.done = [False] * len(program.statements)
        self.found: list[Statement] = []

    def statements(self) -> list[Statement]:
        """All of them, in the new order. First what is computed from single numbers alone, such as the corrections of an
        optimizer: then everything that needs it may be a part of any kernel."""
        for at, statement in enumerate(self.program.statements):
            if self._is_of_numbers(statement) and not self.missing[at]:
                self._take(at)
        for at in range(len(self.program.statements)):
            pending = [at]
            while pending:
                chosen = pending.pop()
                if not self.done[chosen]:
                    for step in [at] if chosen == at else self._chain(chosen):
                        pending += self._take(step)
        return self.found

    def _is_of_numbers(self, statement: Statement) -> bool:
        names = (*statement.operands, *(t.name for t in statement.results))
        return isinstance(statement, Definition) and all(self.tensors[name].shape == () for name in names)

    def _take(self, at: int) -> list[int]:
        """Gives a statement its place; what may follow it at once, the last first."""
        statement = self.program.statements[at]
        self.done[at] = True
        self.found.append(statement)
        next_ones: list[int] = []
        for result in statement.results:
            for reader in self.reading.get(result.name, ()):
                self.missing[reader] -= 1
                next_ones.append(reader)
        for name in statement.operands:
            left = self.readers[self.memory[name]]
            left.pop(at, None)
            if len(left) == 1:
                next_ones += left
        return sorted(set(next_ones), reverse=True)

    def _chain(self, at: int) -> list[int]:
        """The statement, after others that only it needs (such as its operands in another layout), if all can be done now
        and less memory is needed afterwards; else nothing."""
        statement = self.program.statements[at]
        if isinstance(statement, Reshape):
            return []
        before = self._only_for(at, statement) if self.missing[at] else []
        if before is None:
            return []
        made = 0
        for result in statement.results:
            state = self.state_of.get(result.name)
            if state is None:
                made += bytes_of(result)
            elif any(r != at for r in self.readers.get(state, ())):
                # Somebody still reads the old value: the new one could not take its place.
                return []
        chain = [*before, at]
        return chain if made < sum(bytes_of(self.tensors[m]) for m in self._last_read(chain)) else []

    def _only_for(self, at: int, statement: Statement) -> list[int] | None:
        """The statements that make what a statement still misses; None if one of them is not for it alone, or misses
        something itself."""
        found: dict[int, None] = {}
        for name in statement.operands:
            maker = self.maker.get(name)
            if maker is None or self.done[maker] or maker in found:
                continue
            results = self.program.statements[maker].results
            if self.missing[maker] or any(list(self.readers.get(self.memory[t.name], ())) != [at] for t in results):
                return None
            found[maker] = None
        return sorted(found)

    def _last_read(self, chain: list[int]) -> set[str]:
        """The memories that there are, and that nothing but some statements reads."""
        operands = {self.memory[n] for at in chain for n in self.program.statements[at].operands}
        own = {self.memory[t.name] for at in chain for t in self.program.statements[at].results}
        reading = set(chain)
        return {m for m in (operands - own) & self.freeable if self.readers[m].keys() <= reading}
