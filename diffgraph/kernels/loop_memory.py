"""Where what a scan reads and makes lies.

Rows of sequences and of yields are read and written where they are. A carry has two memories that change places after each
step; where it is yielded it is a row of one tensor with a row more than there are steps:

    the carry in step t         row t            (t + 1 in reverse)
    its next value              row t + 1        (t in reverse)

so that the carries at the start of each step and those at its end, which the derivative of a scan both reads, lie in memory
once. A carry whose next value is written over it, as that of a sum is, has one memory, which is that of the result.
"""

from __future__ import annotations

from dataclasses import replace

from diffgraph.ir.dimension import Size
from diffgraph.ir.program import Carry, Scan
from diffgraph.kernels.commit import overwritten, renamed, touched, written
from diffgraph.kernels.steps import Copy, Launch, Part, Repeat, Row, State, Step


class LoopMemory:
    """The memory of one scan. `outside` and `inside` are the schedulers of the enclosing program and of the body; `free`:
    the tensors of the body that have memory of their own, which may be put elsewhere. steps: of the body.

    rows, states: of the loop. copies: at the end of each step. before, after: around the loop.
    """

    def __init__(self, scan: Scan, outside, inside, free: set[str], steps: tuple[Step, ...]):
        self.scan = scan
        self.outside = outside
        self.inside = inside
        self.free = free - inside.parts.keys()
        self.steps = list(steps)
        self.rows = [Row(inside.name(i), outside.name(o)) for i, o in scan.sequences]
        self.states: list[State] = []
        self.copies: list[Copy] = []
        self.before: list[Copy] = []
        self.after: list[Copy] = []

    def place(self) -> None:
        """Decides for every yield and every carry."""
        yields = {y.inner: y.stacked.name for y in self.scan.yields}
        # What others than the region around look at lies where they find it.
        apart = {inner: stacked for inner, stacked in yields.items() if stacked in self.outside.viewed}
        self.yields = {inner: stacked for inner, stacked in yields.items() if inner not in apart}
        kept = [c for c in self.scan.carries if self._is_yielded(c)]
        for carry in kept:
            self._keep(carry)
        for inner, stacked in (*self.yields.items(), *apart.items()):
            self._row(self.inside.name(inner), self.outside.name(stacked))
        for carry in self.scan.carries:
            if carry not in kept:
                self._state(carry)

    def _is_yielded(self, carry: Carry) -> bool:
        """Whether rows of one tensor can hold a carry, and are needed."""
        nexts = [c.next for c in self.scan.carries]
        alone = nexts.count(carry.next) == 1 and self.inside.name(carry.next) in self.free
        return alone and not self.yields.keys().isdisjoint((carry.inner, carry.next))

    def _keep(self, carry: Carry) -> None:
        """All values of a carry as rows of one tensor."""
        length, reverse = self.scan.length, self.scan.reverse
        inner, following = self.inside.name(carry.inner), self.inside.name(carry.next)
        like = self.inside.tensors[inner]
        rows = self._own(f"{inner}.rows", replace(like, shape=(length + 1, *like.shape)))
        first, last = (self._own(f"{inner}.{which}", like) for which in ("first", "last"))
        self._part(first, rows, length if reverse else 0)
        self._part(last, rows, 0 if reverse else length)
        for name, start in ((carry.inner, int(reverse)), (carry.next, int(not reverse))):
            self.rows.append(Row(self.inside.name(name), rows, start))
            if name in self.yields:
                self._part(self.outside.name(self.yields.pop(name)), rows, start)
        self.free.discard(following)
        self.before.append(Copy(first, self.outside.name(carry.initial)))
        # A copy, so that who wants the last row does not keep all of them.
        self.after.append(Copy(self.outside.name(carry.final.name), last))

    def _row(self, inner: str, stacked: str) -> None:
        """A yield."""
        if inner in self.free:
            self.free.discard(inner)
            self.rows.append(Row(inner, stacked))
            return
        target = self._another(inner, "row")
        self.copies.append(Copy(target, inner))
        self.rows.append(Row(target, stacked))

    def _state(self, carry: Carry) -> None:
        """A carry that nobody reads but the next step."""
        name, follower = self.inside.name(carry.inner), self.inside.name(carry.next)
        if self._write_over(name, follower, self.outside.name(carry.final.name)):
            self.before.append(Copy(self.outside.name(carry.final.name), self.outside.name(carry.initial)))
            return
        self.before.append(Copy(name, self.outside.name(carry.initial)))
        self.after.append(Copy(self.outside.name(carry.final.name), name))
        if follower in self.free:
            self.free.discard(follower)
            self.states.append(State(name, follower))
            return
        target = self._another(name, "next")
        self.copies.append(Copy(target, follower))
        self.states.append(State(name, target))

    def _write_over(self, name: str, follower: str, final: str) -> bool:
        """Lets the steps write the next value of a carry over it, in the memory of the result, where each of its elements is
        read for the last time when it is written."""
        at = [k for k, s in enumerate(self.steps) if follower in touched(s)]
        if follower not in self.free or not at or any(name in touched(s) for s in self.steps[at[0] + 1 :]):
            return False
        # Copies are made at the end of a step.
        if any({name, follower} & _linked(s) for s in self.steps) or any(c.source == name for c in self.copies):
            return False
        first = self.steps[at[0]]
        match first:
            case Copy(target, source) if (target, source) == (follower, name):
                following: list[Step] = []
            case Launch(kernel) if follower in written(first):
                if name in (b.name for b in kernel.buffers):
                    kernel = overwritten(kernel, name, follower)
                if kernel is None:
                    return False
                following = [replace(first, kernel=kernel)]
            case _:
                return False
        self.steps[at[0] : at[0] + 1] = following
        self.free.discard(follower)
        for old in (follower, name):
            self.steps = [renamed(s, old, final) for s in self.steps]
            for n in [n for n, source in self.inside.memory.items() if source == old]:
                self.inside.memory[n] = self.inside.memory[final]
        return True

    def _another(self, like: str, what: str) -> str:
        """A new tensor with memory of its own, shaped like another."""
        return self._own(f"{like}.{what}{len(self.copies) or ''}", self.inside.tensors[like])

    def _own(self, name: str, like) -> str:
        self.inside.tensors[name] = replace(like, name=name)
        self.inside.memory[name] = name
        return name

    def _part(self, name: str, base: str, row: Size) -> None:
        self.inside.parts[name] = Part(base, row)


def _linked(step: Step) -> set[str]:
    """The memories in a step that are rows of others, or change places with others."""
    if not isinstance(step, Repeat):
        return set()
    names = {n for r in step.rows for n in (r.inner, r.outer)} | {n for s in step.states for n in (s.inner, s.next)}
    return names.union(*map(_linked, step.steps))
