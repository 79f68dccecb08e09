"""Results in the memory of what they are made from: a map whose operand nobody reads afterwards writes over it."""

from __future__ import annotations

from dataclasses import replace

from diffgraph.ir.dimension import product
from diffgraph.ir.program import Program, Tensor
from diffgraph.kernels.commit import Commits, overwritten, renamed, touched, written
from diffgraph.kernels.loops import Kernel
from diffgraph.kernels.steps import Launch, Step


def reuse(commits: Commits, program: Program) -> Commits:
    """The same schedule with fewer memories. A result takes the memory of an operand that its kernel is the last to
    touch, that has as many elements of the same kind, and of which the kernel reads, before each store, the very element
    that it writes."""
    return _Reuse(commits, program).commits()


class _Reuse:
    """One run over the steps. `touchers`: by memory the steps that touch it, in order."""

    def __init__(self, commits: Commits, program: Program):
        self.before = commits
        schedule = commits.schedule
        self.tensors = schedule.tensors
        self.memory = dict(schedule.memory)
        self.steps: list[Step] = list(schedule.steps)
        self.touchers: dict[str, list[int]] = {}
        self.makers: dict[str, int] = {}
        for at, step in enumerate(self.steps):
            for name in dict.fromkeys(self.memory[n] for n in touched(step)):
                self.touchers.setdefault(name, []).append(at)
            for name in written(step):
                self.makers[self.memory[name]] = self.makers.get(self.memory[name], 0) + 1
        # What others own, and what is asked for at the end.
        self.taken = {self.memory[i.tensor.name] for i in program.inputs}
        self.taken |= {self.memory[t] for t in commits.roots.values()} | set(commits.before.values())
        self.taken |= {self.memory[n] for copy in commits.copies for n in (copy.target, copy.source)}
        # What lies in others is read under their names too.
        self.taken |= schedule.parts.keys()
        self.states = {self.memory[i.tensor.name] for i in program.inputs}

    def commits(self) -> Commits:
        """What was found."""
        for at, step in enumerate(self.steps):
            if isinstance(step, Launch):
                for result in step.results:
                    self._place(at, result)
        schedule = replace(self.before.schedule, memory=self.memory, steps=tuple(self.steps))
        return replace(self.before, schedule=schedule)

    def _place(self, at: int, result: str) -> None:
        """Puts a result of a step over an operand, if there is one for it."""
        kernel = self.steps[at].kernel
        if self.memory[result] != result or result in self.states or self.makers.get(result) != 1:
            return
        if self.touchers[result][0] != at:
            return
        for buffer in kernel.buffers:
            if not buffer.written and self._is_free(buffer.name, at) and self._fits(buffer.name, result):
                merged = overwritten(kernel, buffer.name, result)
                if merged is not None:
                    self._merge(at, merged, buffer.name, result)
                    return

    def _is_free(self, name: str, at: int) -> bool:
        """Nobody needs the memory after a step."""
        return self.memory[name] == name and name not in self.taken and self.touchers[name][-1] == at

    def _fits(self, operand: str, result: str) -> bool:
        a, b = self.tensors[operand], self.tensors[result]
        return a.kind == b.kind and _size(a) == _size(b)

    def _merge(self, at: int, kernel: Kernel, operand: str, result: str) -> None:
        self.steps[at] = replace(self.steps[at], kernel=kernel)
        for place in self.touchers[result]:
            self.steps[place] = renamed(self.steps[place], result, operand)
        for name in [n for n, source in self.memory.items() if source == result]:
            self.memory[name] = operand
        self.touchers[operand] += [k for k in self.touchers.pop(result) if k != at]
        if result in self.taken:
            self.taken.add(operand)
        # Made twice now: what another result could not take the place of any more.
        self.makers[operand] = self.makers.get(operand, 0) + 1


def _size(tensor: Tensor):
    return product(tensor.shape)
