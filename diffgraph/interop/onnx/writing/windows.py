"""Which form is a convolution, from how places move.

A convolution and its adjoint have three tensors: a wide map, in which a window moves, a narrow map with one element for
each of its positions, and a filter. The wide map is read and the narrow one written, or the other way round.

    narrow[n, o, h] += wide[n, c, stride h + dilation p + start] * filter[o, c, p]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Index
from diffgraph.ir.form import Form, alone_index


@dataclass(frozen=True)
class Map:
    """A tensor of a form: where it is read or written, its shape, and the axes that count: all but those of a single
    element."""

    places: tuple[Affine, ...]
    shape: tuple[Size, ...]
    axes: tuple[int, ...]

    @cached_property
    def indices(self) -> frozenset[int]:
        """The axes of the domain that it depends on."""
        return frozenset().union(*(self.places[at].indices for at in self.axes))


def map_of(form: Form, places: tuple[Affine, ...], shape: tuple[Size, ...]) -> Map:
    """A tensor that a form reads or writes at these places."""

    def is_single(at: int) -> bool:
        place = places[at]
        return shape[at] == 1 and place.constant == 0 and all(form.domain[k] == 1 for k in place.indices)

    return Map(places, shape, tuple(at for at in range(len(places)) if not is_single(at)))


@dataclass(frozen=True)
class Sweep:
    """A place stride * moved + dilation * window + start; window None: a window of one element."""

    moved: int
    stride: int
    window: int | None
    dilation: int
    start: int

    @property
    def is_plain(self) -> bool:
        """The place is the position itself."""
        return self.window is None and self.stride == 1 and self.start == 0


@dataclass(frozen=True)
class Windows:
    """A convolution. `wide`, `narrow`: for samples, channels and each axis of space the axis of the tensor (None: it has
    none); `filter`: likewise for the narrow channels, the wide ones, and the windows. `sweeps`, `kernel`: of each axis of
    space. `summed`: the indices that are no position of the narrow map; those of the wide one are the others."""

    wide: tuple[int | None, ...]
    narrow: tuple[int | None, ...]
    filter: tuple[int | None, ...]
    groups: int
    sweeps: tuple[Sweep, ...]
    kernel: tuple[int, ...]
    wide_only: frozenset[int]
    narrow_only: frozenset[int]


def find_windows(form: Form, wide: Map, narrow: Map, weight: Map) -> Windows | None:
    """The maps and the filter of a form as those of a convolution, if that is what they are."""
    moved = (wide.indices & narrow.indices) - weight.indices
    inside = (wide.indices & weight.indices) - narrow.indices
    groups = wide.indices & narrow.indices & weight.indices
    outputs = (narrow.indices & weight.indices) - wide.indices
    sweeps = {at: _sweep(wide.places[at], moved, inside) for at in wide.axes}
    channel = [at for at, s in sweeps.items() if s is None]
    samples, space = _samples_and_space(sweeps)
    windows = [sweeps[at].window for at in space]
    used = frozenset(k for k in windows if k is not None)
    if not space or len(channel) > 1 or len({s.moved for s in sweeps.values() if s}) != len(sweeps) - len(channel):
        return None
    wide_channel = _channel(form, wide, channel[0], groups, inside - used) if channel else (None, None)
    positions = [None if samples is None else sweeps[samples].moved, *(sweeps[at].moved for at in space)]
    narrow_axes = _axes(form, narrow, positions)
    filter_axes = _axes(form, weight, windows)
    if wide_channel is None or narrow_axes is None or filter_axes is None:
        return None
    narrow_channel = _rest_channel(form, narrow, narrow_axes, groups, outputs)
    if narrow_channel is None:
        return None
    at, group, within = narrow_channel
    filter_channels = _filter_channels(form, weight, filter_axes, group, within, wide_channel[1])
    extent = 1 if group is None else form.domain[group]
    kernel = [1 if k is None else form.domain[k] for k in windows]
    if filter_channels is None or wide_channel[0] != group or not all(isinstance(n, int) for n in (extent, *kernel)):
        return None
    sample, *space_of_narrow = narrow_axes
    return Windows(
        (samples, channel[0] if channel else None, *space), (sample, at, *space_of_narrow),
        (*filter_channels, *filter_axes), extent, tuple(sweeps[at] for at in space), tuple(kernel), inside, outputs,
    )  # fmt: skip


def _sweep(place: Affine, moved: frozenset[int], inside: frozenset[int]) -> Sweep | None:
    if any(type(atom) is not Index or c < 1 for atom, c in place.terms):
        return None
    by = {atom.axis: c for atom, c in place.terms}
    over, window = [k for k in by if k in moved], [k for k in by if k in inside]
    if len(over) != 1 or len(window) > 1 or len(by) != len(over) + len(window):
        return None
    last = window[0] if window else None
    return Sweep(over[0], by[over[0]], last, by[last] if window else 1, place.constant)


def _samples_and_space(sweeps: Mapping[int, Sweep | None]) -> tuple[int | None, list[int]]:
    """The first axis that does not sweep is that of the samples; the others are space, those with a window of 1 too."""
    moving = [at for at, s in sweeps.items() if s]
    plain = [at for at in moving if sweeps[at].is_plain]
    return (plain[0], [at for at in moving if at != plain[0]]) if plain else (None, moving)


def _channel(form: Form, of: Map, at: int, groups: frozenset[int], within: frozenset[int]):
    """(group, index within the group) of an axis of channels that is run through wholly; None if it is none."""
    place = of.places[at]
    if place.constant or any(type(atom) is not Index for atom, _ in place.terms):
        return None
    by = {atom.axis: c for atom, c in place.terms}
    group, inner = [k for k in by if k in groups], [k for k in by if k in within]
    if len(group) > 1 or len(inner) > 1 or len(by) != len(group) + len(inner):
        return None
    size = form.domain[inner[0]] if inner else 1
    if (inner and by[inner[0]] != 1) or (group and by[group[0]] != size):
        return None
    count = form.domain[group[0]] if group else 1
    if count * size != of.shape[at]:
        return None
    return (group[0] if group else None), (inner[0] if inner else None)


def _axes(form: Form, of: Map, indices: Sequence[int | None]) -> list[int | None] | None:
    """The axes of a tensor that are these indices alone and wholly."""
    by = {alone_index(p): at for at, p in enumerate(of.places)}
    axes = [None if k is None else by.get(k) for k in indices]
    if any(at is None and k is not None for at, k in zip(axes, indices)):
        return None
    whole = all(at is None or form.domain[k] == of.shape[at] for at, k in zip(axes, indices))
    return axes if whole else None


def _rest_channel(form: Form, narrow: Map, axes: Sequence[int | None], groups, outputs):
    """(axis, group, index within) of what is left of the narrow map."""
    rest = [at for at in narrow.axes if at not in axes]
    if len(rest) > 1:
        return None
    if not rest:
        return None, None, None
    found = _channel(form, narrow, rest[0], groups, outputs)
    return None if found is None else (rest[0], *found)


def _filter_channels(form: Form, weight: Map, windows: Sequence[int | None], group, narrow_within, wide_within):
    """The axes of the filter for the channels of the narrow and of the wide map."""
    narrow_axis = wide_axis = None
    for at in weight.axes:
        if at in windows:
            continue
        if wide_within is not None and alone_index(weight.places[at]) == wide_within:
            wide_axis = at
            continue
        found = _channel(form, weight, at, frozenset({group} - {None}), frozenset({narrow_within} - {None}))
        if narrow_axis is not None or found != (group, narrow_within):
            return None
        narrow_axis = at
    has_narrow = group is not None or narrow_within is not None
    fits = (narrow_axis is not None) == has_narrow and (wide_axis is not None) == (wide_within is not None)
    return (narrow_axis, wide_axis) if fits else None
