"""Many steps in one native call: for each step, gather the rows of the batch, run the program, keep its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from diffgraph.ir.dimension import evaluate
from diffgraph.ir.program import Input
from diffgraph.runtime import values
from diffgraph.runtime.executable import fail_unless
from diffgraph.runtime.plan import Planner
from diffgraph.targets.cpu.rows import COUNT, LINK, MOVE


class EpochPlan:
    """Writes the rows of an epoch around those of a step."""

    def __init__(self, owner, batched: Mapping[str, np.ndarray], order: np.ndarray):
        self.owner = owner
        self.batched = {owner.given[path].tensor.name: column for path, column in batched.items()}
        self.steps, self.batch = order.shape
        program = owner.program
        self.kept = [o.tensor for o in program.outputs] + [c.tensor for c in program.checks]

    def __call__(self, planner: Planner) -> None:
        planner.row(LINK, planner.slot("(order now)"), planner.slot("(order)"), 0)
        for number in range(len(self.kept)):
            planner.row(LINK, planner.slot(f"(kept {number} now)"), planner.slot(f"(kept {number})"), 0)
        for name in self.batched:
            planner.touch(name)
        begin = planner.open(self.steps)
        planner.clock += 1
        for name in self.batched:
            self._gather(planner, name)
        planner.step()
        self._keep(planner)
        planner.row(MOVE, planner.slot("(order now)"), 8 * self.batch)
        if "step" in self.owner.given:
            planner.row(COUNT, planner.slot(self.owner.given["step"].tensor.name), 1)
        planner.close(begin)
        planner.clock += 1
        for name in self.batched:
            planner.touch(name)

    def _gather(self, planner: Planner, name: str) -> None:
        planner.touch(name)
        size = planner.bytes(name) // max(1, self.batch)
        slots = [planner.slot(name), planner.slot(f"{name} (column)"), planner.slot("(order now)")]
        planner.call(planner.functions["gather_rows"], slots, [size], self.batch, planner.bytes(name) // 4)

    def _keep(self, planner: Planner) -> None:
        planner.clock += 1
        for number, root in enumerate(self.kept):
            name = planner.roots[root]
            planner.touch(planner.memory[name])
            size = planner.bytes(name)
            planner.copy_bytes(planner.slot(f"(kept {number} now)"), planner.slot(name), size)
            planner.row(MOVE, planner.slot(f"(kept {number} now)"), size)


def run_epoch(owner, columns, order: np.ndarray, first_step: int, run, commit: bool) -> dict[str, np.ndarray]:
    """See `Executable.epoch`."""
    batched = {p: _column(owner, p, c) for p, c in columns.items() if p in owner.given and owner.is_batched(p)}
    whole = {p: c for p, c in columns.items() if p not in batched}
    counter = {"step": np.array(first_step, np.int64)} if "step" in owner.given else {}
    samples = {p: c[:0] for p, c in batched.items()}
    arrays = owner._arrays({**samples, **whole, **run, **counter})
    sizes = _sizes(owner, batched, arrays, order.shape[1])
    key = ("epoch", order.shape, tuple(c.shape[1:] for c in batched.values()), tuple(batched), commit)
    key += tuple(a.shape for p, a in arrays.items() if p not in batched)
    program = owner.program
    results = [np.zeros((len(order), *_shape(owner, o.tensor, sizes)), owner.dtype(o.tensor)) for o in program.outputs]
    passed = [np.ones(len(order), np.bool_) for _ in program.checks]
    if not order.size:
        return {o.name: r for o, r in zip(program.outputs, results)}
    found = owner.planned(key, sizes, commit, EpochPlan(owner, batched, order), frozenset(batched))
    pointers = {owner.given[p].tensor.name: a for p, a in arrays.items() if p not in batched}
    if counter:
        # The native loop counts in place.
        name = owner.given["step"].tensor.name
        pointers[name] = np.array(pointers[name])
    pointers |= {f"{owner.given[p].tensor.name} (column)": c for p, c in batched.items()}
    pointers |= {f"(kept {n})": a for n, a in enumerate([*results, *passed])}
    found.execute(found.prepared({**pointers, "(order)": order}))
    fail_unless(program.checks, passed)
    return {o.name: r for o, r in zip(program.outputs, results)}


def _column(owner, path: str, column) -> np.ndarray:
    """A column as an array of the right type, its ints checked."""
    given: Input = owner.given[path]
    array = values.as_array(given, column, owner.precision)
    if given.tensor.bound is not None and isinstance(given.tensor.bound, int):
        values.check_range(given, array, {})
    return array


def _sizes(owner, batched, arrays, batch: int) -> dict[str, int]:
    """The symbols, the batch being what an order says."""
    pairs = [(owner.given[p], (batch, *c.shape[1:])) for p, c in batched.items()]
    pairs += [(given, arrays[p].shape) for p, given in owner.given.items() if p not in batched]
    pairs += [(given, owner.storage[p].shape) for p, given in owner.stored.items() if p in owner.open_shapes]
    sizes = values.solve(pairs)
    for path, given in owner.given.items():
        if path not in batched:
            values.check_range(given, arrays[path], sizes)
        elif given.tensor.bound is not None and not isinstance(given.tensor.bound, int):
            known = replace(given, tensor=replace(given.tensor, bound=evaluate(given.tensor.bound, sizes)))
            values.check_range(known, batched[path], sizes)
    return sizes


def _shape(owner, tensor: str, sizes) -> tuple[int, ...]:
    return tuple(evaluate(s, sizes) for s in owner.program.tensors[tensor].shape)
