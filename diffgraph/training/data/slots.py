"""Columns of a data set to the inputs and targets of a net.

A column goes to the input or target of its name; the rest fill in order, inputs first. The columns of a table are put side
by side until an input is full, and so are other columns of single numbers, where there are just as many as are needed. A column may be reshaped row by row. A slot left empty is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffgraph.diagnostics import DiffgraphError, Note, Span, error
from diffgraph.ir.dimension import Size, product, substitute, symbols
from diffgraph.training.data.dataset import Columns, Dataset

#: The element type of arrays of each kind; floats have the precision of the program.
INTEGER, BOOLEAN = np.int64, np.bool_


@dataclass(frozen=True)
class Slot:
    """An input or a target: its name, declared shape, kind, and for ints with 0 <= value < bound that bound."""

    name: str
    shape: tuple[Size, ...]
    kind: str
    bound: Size | None
    target: bool
    batched: bool
    span: Span | None = None

    def __str__(self) -> str:
        role = "target" if self.target else "input"
        return f"{role} {self.name}[{', '.join(map(str, self.shape))}]"


def slots_of(network) -> tuple[Slot, ...]:
    """The inputs and targets of a network, in order."""
    ports = [(p, False) for p in network.inputs] + [(p, True) for p in network.targets]
    return tuple(
        Slot(p.name, p.tensor.shape, p.tensor.kind, p.tensor.bound, target, _is_batched(p, network.batch), p.span)
        for p, target in ports
    )


def _is_batched(port, batch: str | None) -> bool:
    return batch is not None and bool(port.tensor.shape) and batch in symbols(port.tensor.shape[0])


def fill(dataset: Dataset, slots: Sequence[Slot], real: np.dtype) -> tuple[dict, dict | None, dict[str, int]]:
    """(training arrays by slot, held-out arrays or None, the values of symbols that the data decide).

    real: the type of floats. Errors name the slot, the column and both shapes.
    """
    plan = _assign(dataset, slots)
    sizes: dict[str, int] = {}
    train = {s.name: _array(dataset, dataset.columns, plan[s.name], s, sizes, real) for s in slots}
    _check_lengths(dataset, train, slots)
    test = None
    if dataset.test is not None:
        test = {s.name: _array(dataset, dataset.test, plan[s.name], s, sizes, real) for s in slots}
        _check_lengths(dataset, test, slots)
    return train, test, sizes


def _assign(dataset: Dataset, slots: Sequence[Slot]) -> dict[str, list[str]]:
    """The columns of each slot: by name, then the rest in order."""
    plan = {s.name: [s.name] for s in slots if s.name in dataset.columns}
    rest = [c for c in dataset.columns if c not in plan]
    inputs = [c for c in rest if c not in dataset.targets]
    targets = [c for c in rest if c in dataset.targets]
    empty = [s for s in slots if s.name not in plan]
    if dataset.targets:
        groups = [([s for s in empty if not s.target], inputs), ([s for s in empty if s.target], targets)]
    else:
        groups = [(empty, rest)]
    for open_slots, columns in groups:
        plan.update(_in_order(dataset, open_slots, columns))
    return plan


def _in_order(dataset: Dataset, slots: Sequence[Slot], columns: list[str]) -> dict[str, list[str]]:
    if dataset.table or _are_numbers_for(dataset, slots, columns):
        return _side_by_side(dataset, slots, columns)
    for slot in slots[len(columns) :]:
        raise _empty(dataset, slot)
    return {s.name: [c] for s, c in zip(slots, columns)}


def _are_numbers_for(dataset: Dataset, slots: Sequence[Slot], columns: list[str]) -> bool:
    """The columns hold one number a row, and there are more than slots: as many as the slots are wide."""
    if len(columns) <= len(slots) or any(np.ndim(dataset.columns[c]) != 1 for c in columns):
        return False
    return sum(_width(s) for s in slots if isinstance(_width(s), int)) == len(columns)


def _width(slot: Slot) -> Size:
    """How many numbers of a row fill a slot."""
    return product(slot.shape[1:] if slot.batched else slot.shape[-1:])


def _side_by_side(dataset: Dataset, slots: Sequence[Slot], columns: list[str]) -> dict[str, list[str]]:
    """The columns of a table by width. One slot may have a width that is open: it takes what the others leave."""
    if not slots:
        return {}
    widths = [_width(s) for s in slots]
    known = sum(w for w in widths if isinstance(w, int))
    unknown = [k for k, w in enumerate(widths) if not isinstance(w, int)]
    if len(unknown) == 1 and len(columns) > known:
        widths[unknown[0]] = len(columns) - known
    elif unknown or known != len(columns):
        wanted = " and ".join(f"{w} number{'' if w == 1 else 's'} a row for `{s.name}`" for s, w in zip(slots, widths))
        have = f"`{dataset.name}` has {len(columns)} column{'s' if len(columns) != 1 else ''}"
        help = f"declare it [..., {len(columns)}], or leave columns out" if len(slots) == 1 else None
        raise error("DG710", f"the net takes {wanted}, and {have} for it: {_shown(columns)}", slots[0].span, help=help)
    ends = np.cumsum(widths)
    return {s.name: columns[end - width : end] for s, width, end in zip(slots, widths, ends)}


def _shown(columns: Sequence[str]) -> str:
    return ", ".join(columns[:6]) + (", ..." if len(columns) > 6 else "")


def _empty(dataset: Dataset, slot: Slot) -> DiffgraphError:
    return error(
        "DG711",
        f"nothing in `{dataset.name}` fills {slot}",
        slot.span,
        Note(f"its columns are {_described(dataset.columns)}"),
        help=f"name a column `{slot.name}`, or add one",
    )


def _described(columns: Columns) -> str:
    return ", ".join(f"{n} {list(v.shape)}" for n, v in columns.items())


def _array(dataset, columns: Columns, names: list[str], slot: Slot, sizes: dict[str, int], real) -> np.ndarray:
    """The column (or columns side by side) in the shape and type of the slot."""
    what = f"column `{names[0]}` of `{dataset.name}`" if len(names) == 1 else f"`{dataset.name}`"
    values = columns[names[0]] if len(names) == 1 else np.stack([columns[n] for n in names], axis=1)
    shaped = values.reshape(shape_for(values, slot, sizes, what))
    return typed(shaped, slot, sizes, what, real)


def shape_for(values: np.ndarray, slot: Slot, sizes: dict[str, int], what: str) -> tuple[int, ...]:
    """The shape of the slot for an array that fits it, row by row. Symbols it decides are added to `sizes`."""
    shape = slot.shape
    rows: tuple[int, ...] = ()
    if slot.batched:
        if values.ndim == 0:
            raise _misfit(values, slot, what)
        rows, shape = values.shape[:1], shape[1:]
    own = values.shape[len(rows) :]
    if len(own) == len(shape) and _solve(shape, own, sizes):
        return (*rows, *own)
    known = tuple(substitute(s, sizes) for s in shape)
    size = int(np.prod(own, dtype=np.int64))
    open_ = [k for k, s in enumerate(known) if not isinstance(s, int)]
    if len(open_) == 1 and len(symbols(known[open_[0]])) == 1:
        others = int(np.prod([s for s in known if isinstance(s, int)], dtype=np.int64))
        if others and size % others == 0 and _solve((known[open_[0]],), (size // others,), sizes):
            return (*rows, *(size // others if k == open_[0] else s for k, s in enumerate(known)))
    if not open_ and int(np.prod(known, dtype=np.int64)) == size:
        return (*rows, *known)
    raise _misfit(values, slot, what)


def _solve(shape: Sequence[Size], own: Sequence[int], sizes: dict[str, int]) -> bool:
    """Whether an array's extents are those of the shape; bare symbols not yet known get their values."""
    found = dict(sizes)
    for size, extent in zip(shape, own):
        size = substitute(size, found)
        if isinstance(size, int):
            if size != extent:
                return False
        elif str(size) in symbols(size):
            found[str(size)] = extent
        else:
            return False
    sizes.update(found)
    return True


def _misfit(values: np.ndarray, slot: Slot, what: str) -> DiffgraphError:
    each = " in each row" if slot.batched else ""
    own = values.shape[1:] if slot.batched else values.shape
    wanted = slot.shape[1:] if slot.batched else slot.shape
    shown = ", ".join(map(str, wanted))
    repair = f"declare {slot.name}[{', '.join(('N', *map(str, own)))}], or change the data"
    if not slot.batched:
        repair = "a net without a batch takes a column as one whole sample"
    has = list(own) if own else "one number"
    return error("DG712", f"{what} has {has}{each}, which does not fit [{shown}] of {slot}", slot.span, help=repair)


def typed(values: np.ndarray, slot: Slot, sizes: Mapping[str, int], what: str, real) -> np.ndarray:
    """The array with the element type of the slot; whole floats count as ints. Errors: a value outside the range."""
    if slot.kind == "float":
        if values.dtype.kind not in "fiub":
            raise error("DG713", f"{what} holds {values.dtype}, but {slot} takes numbers", slot.span)
        return np.asarray(values, dtype=real, order="C")
    if values.dtype.kind not in "fiub" or (values.dtype.kind == "f" and not np.array_equal(values, np.trunc(values))):
        raise error("DG713", f"{what} holds {values.dtype} values that are not whole, but {slot} takes ints", slot.span)
    if slot.kind == "bool":
        if values.size and (values.min() < 0 or values.max() > 1):
            raise error("DG713", f"{what} holds other values than 0 and 1, but {slot} takes bools", slot.span)
        return np.asarray(values, dtype=BOOLEAN, order="C")
    whole = np.asarray(values, dtype=INTEGER, order="C")
    _check_range(whole, slot, sizes, what)
    return whole


def _check_range(whole: np.ndarray, slot: Slot, sizes: Mapping[str, int], what: str) -> None:
    bound = None if slot.bound is None else substitute(slot.bound, dict(sizes))
    if not isinstance(bound, int) or not whole.size:
        return
    if whole.min() >= 0 and whole.max() < bound:
        return
    place = tuple(int(i) for i in np.argwhere((whole < 0) | (whole >= bound))[0])
    if whole.min() >= 1 and whole.max() == bound:
        repair = "number classes from 0"
    else:
        repair = f"declare it `int < {whole.max() + 1}`" if whole.min() >= 0 else "classes are numbered from 0"
    text = f"{what} holds {whole[place]} in row {place[0] + 1}, but `{slot.name}` is an int from 0 to {bound - 1}"
    raise error("DG714", text, slot.span, help=repair)


def _check_lengths(dataset: Dataset, arrays: dict, slots: Sequence[Slot]) -> None:
    lengths = {s.name: len(arrays[s.name]) for s in slots if s.batched}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{n} {k}" for n, k in lengths.items())
        raise error("DG712", f"the columns of `{dataset.name}` have different numbers of rows: {shown}")
    if lengths and 0 in lengths.values():
        raise error("DG712", f"`{dataset.name}` has no rows")
