"""Many steps on a device: the data lies there, each step gathers its rows, and a counter tells it which.

The graph of a step is the same for all of them: what changes is in memory (the cursor, the number of the step).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diffgraph.runtime.device_plan import DevicePlanner
from diffgraph.runtime.device_program import Place
from diffgraph.runtime.epoch import _column, _shape, _sizes
from diffgraph.runtime.executable import fail_unless

#: Memory that is left for the plan itself when the data is brought to the device.
SPARE = 1 << 20


class _Around:
    """What an epoch adds to a step: the rows of the batch before it, its outputs kept and the counters after it."""

    def __init__(self, owner, batched: Mapping[str, np.ndarray], order: np.ndarray, results):
        self.owner = owner
        self.batched = {owner.given[path].tensor.name: column for path, column in batched.items()}
        self.batch = order.shape[1]
        self.kept = results
        self.memories = {f"{name} (column)": column.nbytes for name, column in self.batched.items()}
        self.memories |= {"(order)": order.nbytes, "(cursor)": 8}
        self.memories |= {f"(kept {n})": array.nbytes for n, array in enumerate(results.values())}

    def __call__(self, planner: DevicePlanner) -> None:
        for name in self.batched:
            width, kind = _words(planner.bytes(name) // max(1, self.batch))
            places = tuple(map(Place, (name, f"{name} (column)", "(order)", "(cursor)")))
            planner.launch(f"gather_{kind}", self.batch * width, places, (self.batch, width))
        planner.step()
        for number, root in enumerate(self.kept):
            name = planner.roots[root]
            count, kind = _words(planner.bytes(name))
            places = (Place(f"(kept {number})"), planner.place(name), Place("(cursor)"))
            planner.launch(f"keep_{kind}", count, places, (count,))
        planner.launch("count", 1, (Place("(cursor)"),), ())
        if "step" in self.owner.given:
            planner.launch("count", 1, (Place(self.owner.given["step"].tensor.name),), ())


def _words(size: int) -> tuple[int, str]:
    """(count, type) of the elements that so many bytes are copied as."""
    return (size // 4, "uint32") if size % 4 == 0 else (size, "uint8")


def run_epoch(owner, columns, order: np.ndarray, first_step: int, run, commit: bool) -> dict[str, np.ndarray]:
    """See `Executable.epoch`."""
    batched = {p: _column(owner, p, c) for p, c in columns.items() if p in owner.given and owner.is_batched(p)}
    whole = {p: c for p, c in columns.items() if p not in batched}
    counter = {"step": np.array(first_step, np.int64)} if "step" in owner.given else {}
    samples = {p: c[:0] for p, c in batched.items()}
    arrays = owner._arrays({**samples, **whole, **run, **counter})
    sizes = _sizes(owner, batched, arrays, order.shape[1])
    program = owner.program
    roots = [o.tensor for o in program.outputs] + [c.tensor for c in program.checks]
    results = {
        root: np.ones((len(order), *_shape(owner, root, sizes)), owner.dtype(root)) for root in dict.fromkeys(roots)
    }
    if order.size:
        if sum(c.nbytes for c in batched.values()) + SPARE > owner.driver.room() + _held(owner, batched):
            return _step_by_step(owner, batched, whole, order, first_step, run, commit)
        _run(owner, batched, columns, arrays, order, sizes, results, commit)
        fail_unless(program.checks, [results[c.tensor] for c in program.checks])
    return {o.name: results[o.tensor] for o in program.outputs}


def _held(owner, batched) -> int:
    """The bytes of data of earlier epochs that are on the device."""
    names = [f"{owner.given[path].tensor.name} (column)" for path in batched]
    return sum(owner.memories[name].size for name in names if name in owner.memories)


def _run(owner, batched, columns, arrays, order, sizes, results, commit: bool) -> None:
    around = _Around(owner, batched, order, results)
    own = frozenset(around.batched)
    key = ("epoch", order.shape, commit, tuple(around.memories.items()), tuple(sorted(sizes.items())))
    found = owner.planned(key, sizes, commit, around, own)
    driver = owner.driver
    given = {owner.given[p].tensor.name: a for p, a in arrays.items() if p not in batched}
    found.upload(given)
    for path, column in batched.items():
        owner.bring(f"{owner.given[path].tensor.name} (column)", column, columns[path])
    driver.upload(found.address("(order)"), order)
    driver.upload(found.address("(cursor)"), np.zeros(1, np.int64))
    found.start(len(order))
    for number, array in enumerate(results.values()):
        driver.download(found.address(f"(kept {number})"), array)
    if commit:
        found.fetch()


def _step_by_step(owner, batched, whole, order, first_step, run, commit: bool) -> dict[str, np.ndarray]:
    """For data that does not fit: each batch is gathered on the host."""
    steps = []
    for number, rows in enumerate(order):
        given = {p: c[rows] for p, c in batched.items()}
        counted = {"step": np.int64(first_step + number)} if "step" in owner.given else {}
        steps.append(owner.run({**given, **whole, **run, **counted}, commit))
    return {o.name: np.array([s[o.name] for s in steps]) for o in owner.program.outputs}
