"""Reads of tensors as nodes: slices and margins where a place moves along an axis, gathers elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diffgraph.interop.onnx.writing.graph import is_known
from diffgraph.ir.dimension import Size, is_nonnegative, product
from diffgraph.ir.expression import Affine, Index, Read

#: "To the very beginning", for a slice that runs backwards.
BEGINNING = -(1 << 62)

if TYPE_CHECKING:
    from diffgraph.interop.onnx.writing.forms import FormWriter


def read_value(forms: FormWriter, read: Read) -> str:
    """The elements that a read takes over the domain."""
    if not read.place:
        return forms.operands[read.slot]
    indices = [k for place in read.place for k in place.indices]
    return _by_axes(forms, read) if len(set(indices)) == len(indices) else _by_points(forms, read)


def _otherwise(forms: FormWriter, read: Read) -> str:
    return forms.cast(read.otherwise, forms.kinds[read.slot])


@dataclass(frozen=True)
class Run:
    """How places run along an axis: from `start` by `step`, with margins `before` and `after` it. `digits`: the indices
    that count the positions together, most significant first; none for a single place."""

    start: int
    step: int
    digits: tuple[int, ...]
    before: Size = 0
    after: Size = 0


def _by_axes(forms: FormWriter, read: Read) -> str:
    """Each axis of the tensor by itself: no index moves along two."""
    graph, rank = forms.graph, len(forms.form.domain)
    value, shape = forms.operands[read.slot], forms.form.operands[read.slot].shape
    runs = [_run(forms, place, size, read.otherwise is not None) for place, size in zip(read.place, shape)]
    if any(r and (r.before != 0 or r.after != 0) for r in runs):
        before, after = zip(*((r.before, r.after) if r else (0, 0) for r in runs))
        value = graph.pad(value, before, after, _otherwise(forms, read))
    value = _split(forms, _sliced(forms, value, shape, runs), shape, runs)
    axes = [k for place, run in zip(read.place, runs) for k in (run.digits if run else (None,))]
    places = [(place, size) for place, size, run in zip(read.place, shape, runs) if run is None]
    masks: list[str] = []
    for place, size in reversed(places):
        at = len(axes) - 1 - axes[::-1].index(None)
        own = sorted(place.indices)
        axes[at : at + 1] = own
        where = forms.value(place)
        if read.otherwise is not None:
            inside, where = _inside(forms, where, size)
            masks.append(inside)
        where = graph.squeeze(where, [k for k in range(rank) if k not in own] if own else [])
        value = graph.node("Gather", value, where, axis=at)
    value = graph.transpose(value, [axes.index(k) for k in sorted(axes)])
    value = graph.unsqueeze(value, [k for k in range(rank) if k not in axes] if axes else [])
    for mask in masks:
        value = graph.node("Where", mask, value, _otherwise(forms, read))
    return value


def _run(forms: FormWriter, place: Affine, size: Size, is_guarded: bool) -> Run | None:
    """How a place runs along an axis of this size, if it does so evenly."""
    if any(type(atom) is not Index for atom, _ in place.terms):
        return None
    domain, start = forms.form.domain, place.constant
    if not place.terms:
        return Run(start, 1, ()) if start >= 0 and is_nonnegative(size - start - 1) else None
    digits = sorted(place.terms, key=lambda t: -t[1])
    if len(digits) > 1:
        length = 1
        for atom, coefficient in reversed(digits):
            if coefficient != length or not is_known(domain[atom.axis]):
                return None
            length = length * domain[atom.axis]
        step, fits = 1, start >= 0 and is_nonnegative(size - start - length)
        return Run(start, step, tuple(atom.axis for atom, _ in digits)) if fits else None
    ((index, step),) = digits
    if not is_guarded:
        return Run(start, step, (index.axis,))
    last = start + step * (domain[index.axis] - 1)
    low, high = (start, last) if step > 0 else (last, start)
    margins = []
    for margin in (-low, high - (size - 1)):
        if not is_nonnegative(margin) and not is_nonnegative(-margin):
            return None
        margins.append(margin if is_nonnegative(margin) else 0)
    return Run(start, step, (index.axis,), *margins)


def _sliced(forms: FormWriter, value: str, shape: Sequence[Size], runs: Sequence[Run | None]) -> str:
    """The parts of the axes along which places run; the margins are there already."""
    graph = forms.graph
    starts, ends, axes, steps = [], [], [], []
    for axis, (run, size) in enumerate(zip(runs, shape)):
        if run is None:
            continue
        length, start = _length(forms, run), run.start + run.before
        if start == 0 and run.step == 1 and length == size + run.before + run.after:
            continue
        end = start + run.step * (length - 1) + (1 if run.step > 0 else -1)
        starts.append(start)
        ends.append(BEGINNING if run.step < 0 and end == -1 else end)
        axes.append(axis)
        steps.append(run.step)
    if not axes:
        return value
    return graph.node("Slice", value, graph.shape(starts), graph.shape(ends), graph.ints(*axes), graph.ints(*steps))


def _split(forms: FormWriter, value: str, shape: Sequence[Size], runs: Sequence[Run | None]) -> str:
    """An axis for each digit, and none where there is none."""
    value = forms.graph.squeeze(value, [axis for axis, run in enumerate(runs) if run and not run.digits])
    if all(run is None or len(run.digits) <= 1 for run in runs):
        return value
    domain = forms.form.domain
    sizes = [n for run, size in zip(runs, shape) for n in ([domain[k] for k in run.digits] if run else [size])]
    return forms.graph.reshape(value, sizes)


def _length(forms: FormWriter, run: Run) -> Size:
    return product(forms.form.domain[k] for k in run.digits)


def _inside(forms: FormWriter, where: str, size: Size) -> tuple[str, str]:
    """Whether places are inside an axis, and the nearest that are."""
    graph = forms.graph
    zero, extent = graph.constant(np.int64(0), "size"), graph.size(size)
    inside = graph.node("And", graph.node("GreaterOrEqual", where, zero), graph.node("Less", where, extent))
    last = graph.node("Sub", extent, graph.constant(np.int64(1), "size"))
    return inside, graph.node("Min", graph.node("Max", where, zero), last)


def _by_points(forms: FormWriter, read: Read) -> str:
    """A place for every point of the domain that the read depends on."""
    graph, shape = forms.graph, forms.form.operands[read.slot].shape
    together = frozenset().union(*(p.indices for p in read.place))
    lengths = [size if k in together else 1 for k, size in enumerate(forms.form.domain)]
    columns, masks = [], []
    for place, size in zip(read.place, shape):
        where = forms.ranked(place, "int")
        if read.otherwise is not None:
            inside, where = _inside(forms, where, size)
            masks.append(inside)
        columns.append(graph.unsqueeze(graph.expand(where, lengths), [len(lengths)]))
    places = columns[0] if len(columns) == 1 else graph.node("Concat", *columns, axis=len(lengths))
    value = graph.node("GatherND", forms.operands[read.slot], places)
    for mask in masks:
        value = graph.node("Where", mask, value, _otherwise(forms, read))
    return value
