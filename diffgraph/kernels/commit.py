"""Where the new value of a parameter or a state is computed: in its own memory, if nobody still needs the old one.

A commit is in place where one kernel makes the new value, no later kernel reads the old one, and that kernel itself reads
it, if at all, at the very element that it is about to write. Other commits are copies at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from diffgraph.ir.expression import Expr
from diffgraph.ir.program import Program
from diffgraph.kernels.buffers import renumbered
from diffgraph.kernels.loops import (
    Address,
    Contraction,
    Kernel,
    Load,
    Loop,
    Product,
    Statement,
    Store,
    TileLoad,
    TileStep,
    TileStore,
    When,
)
from diffgraph.kernels.steps import Apart, Copy, Launch, Repeat, Schedule, Sort, Step


@dataclass(frozen=True)
class Commits:
    """A schedule with its commits placed.

    in_place: the states that kernels overwrite. copies: what is copied at the end, source to state. before: copies of
    states made at the start, because what they held then is asked for at the end: state -> name of the copy. roots: for
    each root of the program, the tensor that holds it at the end.
    """

    schedule: Schedule
    in_place: frozenset[str]
    copies: tuple[Copy, ...]
    before: Mapping[str, str]
    roots: Mapping[str, str]


def place_commits(schedule: Schedule, program: Program) -> Commits:
    """Decides for each commit of the program."""
    tensors, memory = dict(schedule.tensors), dict(schedule.memory)
    before: dict[str, str] = {}
    roots = {root: root for root in program.roots}
    for root in program.roots:
        state = memory[root]
        if state in {c.state for c in program.commits}:
            before[state] = _another(state, f"{state}.before", tensors, memory)
            roots[root] = _another(root, f"{root}.before", tensors, memory)
            memory[roots[root]] = before[state]
    steps = list(schedule.steps)
    in_place: set[str] = set()
    copies: list[Copy] = []
    for commit in program.commits:
        tensor = commit.tensor
        at = _maker(steps, tensor) if memory[tensor] == tensor and commit.state not in in_place else None
        merged = None if at is None else _overwriting(steps, at, commit.state, tensor, memory)
        if merged is None:
            copies.append(Copy(commit.state, roots[tensor]))
            continue
        steps[at] = merged
        in_place.add(commit.state)
        for name in [n for n, source in memory.items() if source == tensor]:
            memory[name] = commit.state
        steps = [renamed(s, tensor, commit.state) for s in steps]
    placed = replace(schedule, tensors=tensors, memory=memory, steps=tuple(steps))
    return Commits(placed, frozenset(in_place), tuple(copies), before, roots)


def _another(like: str, name: str, tensors: dict, memory: dict) -> str:
    """A new tensor, shaped like another."""
    tensors[name] = replace(tensors[like], name=name)
    memory[name] = name
    return name


def _maker(steps: list[Step], tensor: str) -> int | None:
    """The place of the one step, a kernel, that writes a tensor."""
    found = [n for n, s in enumerate(steps) if tensor in written(s)]
    if len(found) == 1 and isinstance(steps[found[0]], Launch):
        return found[0]
    return None


def written(step: Step) -> tuple[str, ...]:
    match step:
        case Launch(results=results) | Repeat(results=results) | Apart(results=results):
            return results
        case Sort(tensor):
            return (tensor,)
        case Copy(target):
            return (target,)


def touched(step: Step) -> Iterator[str]:
    """The tensors whose memory a step reads or writes (some more than once)."""
    match step:
        case Launch(kernel=kernel):
            yield from (b.name for b in kernel.buffers)
        case Sort(tensor, operand):
            yield from (tensor, operand)
        case Copy(target, source):
            yield from (target, source)
        case Repeat():
            for row in step.rows:
                yield from (row.inner, row.outer)
            for state in step.states:
                yield from (state.inner, state.next)
            for inner in step.steps:
                yield from touched(inner)
        case Apart():
            yield from (v.outer for v in step.views)
            yield from (outer for _, outer in step.sums)
            for inner in step.steps:
                yield from touched(inner)


def _overwriting(steps: list[Step], at: int, state: str, tensor: str, memory: Mapping[str, str]) -> Launch | None:
    """The kernel at a place with the new value written over the old one, None if that would be wrong."""
    if any(memory[name] == state for later in steps[at + 1 :] for name in touched(later)):
        return None
    launch = steps[at]
    if all(b.name != state for b in launch.kernel.buffers):
        return launch
    kernel = overwritten(launch.kernel, state, tensor)
    return None if kernel is None else replace(launch, kernel=kernel)


def overwritten(kernel: Kernel, operand: str, result: str) -> Kernel | None:
    """The kernel with a result written over an operand; None if the kernel does not read each element of it before it
    writes there, or reads others."""
    names = [b.name for b in kernel.buffers]
    old, new = names.index(operand), names.index(result)
    place = _only_store(kernel.body, new)
    if place is None or not _reads_in_place(kernel.body, old, new, place):
        return None
    return _merged(kernel, old, new)


def _only_store(body: tuple[Statement, ...], number: int) -> Address | TileLoad | None:
    """Where a buffer is stored to, by one plain store or by tiles (no two of which write one place); None if in any other
    way, or if it is loaded too."""
    found: list[Address | TileLoad] = []
    for statement in _statements(body):
        if any(load.buffer == number for load in (*_loads(statement), *_tile_loads(statement))):
            return None
        match statement:
            case Store(buffer, address, _, op, conditions) if buffer == number:
                if op is not None or conditions:
                    return None
                found.append(address)
            case TileStore():
                found += [to for _, to in statement.stores if to.buffer == number]
    in_tiles = bool(found) and all(isinstance(place, TileLoad) for place in found)
    return found[0] if in_tiles or len(found) == 1 else None


def _reads_in_place(body: tuple[Statement, ...], old: int, new: int, place: Address | TileLoad) -> bool:
    """Whether every load of the old buffer is of the element that is written, and first occurs before it is. (What a body
    has computed once it does not compute again.)"""
    here = any(isinstance(s, Store) and s.buffer == new for s in body)
    known: set[Load] = set()
    done = False
    for statement in body:
        if isinstance(statement, Contraction) and any(load.buffer == old for load in _loads(replace(statement, body=()))):
            return False
        if isinstance(statement, (Loop, When, Contraction)):
            if not _reads_in_place(statement.body, old, new, place):
                return False
            continue
        if _spoils_in_tile(statement, old, new):
            return False
        for load in _loads(statement):
            if load.buffer != old or load in known:
                continue
            if not here or done or load.address != place or load.conditions:
                return False
            known.add(load)
        done = done or (isinstance(statement, Store) and statement.buffer == new)
    return True


def _statements(body: tuple[Statement, ...]) -> Iterator[Statement]:
    for statement in body:
        if isinstance(statement, (Loop, When, Contraction)):
            yield from _statements(statement.body)
        else:
            yield statement


def _tile_loads(statement: Statement) -> tuple[TileLoad, ...]:
    """What a tile reads."""
    if isinstance(statement, (TileStep, TileStore)):
        return tuple(o for o in statement.operands if isinstance(o, TileLoad))
    return ()


def _spoils_in_tile(statement: Statement, old: int, new: int) -> bool:
    """Whether a tile reads an element of the old buffer other than the one that it writes in the same cell."""
    loads = [load for load in _tile_loads(statement) if load.buffer == old]
    if not loads:
        return False
    if not isinstance(statement, TileStore):
        return True
    places = [to for _, to in statement.stores if to.buffer == new]
    return len(places) != 1 or any(replace(load, buffer=new) != places[0] for load in loads)


def _loads(statement: Statement) -> Iterator[Load]:
    stack: list = [getattr(statement, name) for name in statement.__dataclass_fields__]
    seen: set[Expr] = set()
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack.extend(item)
        elif isinstance(item, Address):
            stack.extend(a for a, _ in item.terms)
        elif isinstance(item, Product):
            stack.extend((item.left, item.right))
        elif isinstance(item, Expr) and item not in seen:
            seen.add(item)
            if type(item) is Load:
                yield item
            stack.extend(item.children)


def _merged(kernel: Kernel, old: int, new: int) -> Kernel:
    """The kernel with two buffers made one: the written one, under the name of the old."""
    buffers = list(kernel.buffers)
    buffers[new] = replace(buffers[new], name=buffers[old].name)
    numbers = {n: n - (n > old) for n in range(len(buffers))}
    numbers[old] = numbers[new]
    del buffers[old]
    return replace(kernel, buffers=tuple(buffers), body=renumbered(kernel.body, numbers))


def renamed(step: Step, old: str, new: str) -> Step:
    """The step with one name for memory changed."""

    def name(n: str) -> str:
        return new if n == old else n

    match step:
        case Launch(kernel, results, members):
            buffers = tuple(replace(b, name=name(b.name)) for b in kernel.buffers)
            return Launch(replace(kernel, buffers=buffers), tuple(name(r) for r in results), members)
        case Sort():
            return replace(step, operand=name(step.operand))
        case Copy(target, source):
            return Copy(name(target), name(source))
        case Repeat():
            rows = tuple(replace(r, outer=name(r.outer)) for r in step.rows)
            return replace(step, rows=rows, steps=tuple(renamed(s, old, new) for s in step.steps))
        case Apart():
            views = tuple(replace(v, outer=name(v.outer)) for v in step.views)
            sums = tuple((inner, name(outer)) for inner, outer in step.sums)
            steps = tuple(renamed(s, old, new) for s in step.steps)
            return replace(step, views=views, sums=sums, steps=steps, results=tuple(map(name, step.results)))
