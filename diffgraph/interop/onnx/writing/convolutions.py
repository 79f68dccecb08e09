"""Convolutions, transposed convolutions and pooling as ONNX's operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from diffgraph.interop.onnx.writing.forms import FormWriter
from diffgraph.interop.onnx.writing.windows import Map, Sweep, Windows, find_windows, map_of
from diffgraph.ir.classify import classify
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Const, Index, Read
from diffgraph.ir.factors import conditions_and_factors
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.numbers import is_zero


@dataclass(frozen=True)
class Convolution:
    """An operator on data and a filter, whose axes are put into ONNX's order first, and its result's axes back after.
    crops: what is cut off the axes of space before."""

    op: str
    slots: tuple[int, int]
    data: tuple[int | None, ...]
    filter: tuple[int | None, ...]
    result: tuple[int | None, ...]
    attributes: dict
    crops: tuple[tuple[int, int], ...]
    factor: float

    def write(self, forms: FormWriter, bias: str | None = None) -> str:
        """The tensor. bias: one number for each channel of the result."""
        graph = forms.graph
        data = _arranged(forms, self.slots[0], self.data)
        if any(c != (0, 0) for c in self.crops):
            before, after = zip((0, 0), (0, 0), *self.crops)
            data = graph.pad(data, before, after, graph.real_number(0))
        weight = _arranged(forms, self.slots[1], self.filter)
        if self.factor != 1:
            weight = graph.node("Mul", weight, graph.real_number(self.factor))
        value = graph.node(self.op, data, weight, *([bias] if bias else []), **self.attributes)
        value = graph.squeeze(value, [at for at, axis in enumerate(self.result) if axis is None])
        kept = [axis for axis in self.result if axis is not None]
        value = graph.transpose(value, [kept.index(k) for k in sorted(kept)])
        return graph.unsqueeze(value, [k for k in range(len(forms.form.shape)) if k not in kept])


def _arranged(forms: FormWriter, slot: int, order: Sequence[int | None]) -> str:
    """An operand with its axes in an order, None for one of length 1; the axes that are left out have one element."""
    graph, rank = forms.graph, len(forms.form.operands[slot].shape)
    kept = [axis for axis in order if axis is not None]
    value = graph.squeeze(forms.operands[slot], [axis for axis in range(rank) if axis not in kept])
    value = graph.transpose(value, [sorted(kept).index(axis) for axis in kept])
    return graph.unsqueeze(value, [at for at, axis in enumerate(order) if axis is None])


def find_convolution(form: Form) -> Convolution | None:
    """The form as a convolution or a transposed one, if it is one that ONNX has."""
    if form.op != "sum" or not form.reduced:
        return None
    form = classify(form).form
    conditions, factors = conditions_and_factors(form.body)
    reads = [f for f in factors if type(f) is Read]
    numbers = [float(f.value) for f in factors if type(f) is Const]
    if conditions or len(reads) != 2 or len(reads) + len(numbers) != len(factors):
        return None
    if any(form.operands[r.slot].kind != "float" for r in reads):
        return None
    factor = 1.0
    for number in numbers:
        factor *= number
    result = map_of(form, form.write, form.shape)
    # Either could be the filter; it is the one whose sizes are all known, and the smaller one.
    reads.sort(key=lambda r: _largeness(form.operands[r.slot].shape), reverse=True)
    for data, weight in (reads, reads[::-1]):
        maps = (_map(form, data), result, _map(form, weight))
        if weight.otherwise is None:
            found = _forward(form, data, weight, factor, maps) or _adjoint(form, data, weight, factor, maps)
            if found:
                return found
    return None


def _largeness(shape: Sequence[Size]) -> tuple[int, int]:
    known = [n for n in shape if isinstance(n, int)]
    return len(shape) - len(known), prod(known)


def _map(form: Form, read: Read) -> Map:
    return map_of(form, read.place, form.operands[read.slot].shape)


def _summed(form: Form) -> frozenset[int]:
    return frozenset(k for k in form.reduced if form.domain[k] != 1)


def _forward(form: Form, data: Read, weight: Read, factor: float, maps) -> Convolution | None:
    wide, narrow, filters = maps
    found = find_windows(form, wide, narrow, filters)
    if found is None or found.wide_only != _summed(form):
        return None
    if data.otherwise is not None and not is_zero(data.otherwise):
        return None
    margins = _margins(form, found.sweeps, [wide.shape[at] for at in found.wide[2:]], data.otherwise is not None)
    if margins is None:
        return None
    pads, crops = margins
    attributes = {"group": found.groups, "pads": pads, **_steps(found)}
    slots = data.slot, weight.slot
    return Convolution("Conv", slots, found.wide, found.filter, found.narrow, attributes, crops, factor)


def _adjoint(form: Form, data: Read, weight: Read, factor: float, maps) -> Convolution | None:
    narrow, wide, filters = maps
    found = find_windows(form, wide, narrow, filters)
    if found is None or found.narrow_only != _summed(form) or data.otherwise is not None:
        return None
    before, after, more = [], [], []
    for sweep, kernel, at in zip(found.sweeps, found.kernel, found.wide[2:]):
        whole = sweep.stride * (form.domain[sweep.moved] - 1) + sweep.dilation * (kernel - 1) + 1
        left = whole + sweep.start - wide.shape[at]
        if not isinstance(left, int) or sweep.start > 0 or -left >= max(sweep.stride, sweep.dilation):
            return None
        before.append(-sweep.start)
        after.append(max(left, 0))
        more.append(max(-left, 0))
    attributes = {"group": found.groups, "pads": before + after, "output_padding": more, **_steps(found)}
    crops = ((0, 0),) * len(found.sweeps)
    slots = data.slot, weight.slot
    return Convolution("ConvTranspose", slots, found.narrow, found.filter, found.wide, attributes, crops, factor)


def _steps(found: Windows) -> dict:
    return {
        "strides": [s.stride for s in found.sweeps],
        "dilations": [s.dilation for s in found.sweeps],
        "kernel_shape": list(found.kernel),
    }


def _margins(form: Form, sweeps: Sequence[Sweep], sizes: Sequence[Size], is_guarded: bool):
    """(pads, crops) such that the windows sweep over exactly what the form says; None if there are none such."""
    ends = [_ends(form, sweep, size) for sweep, size in zip(sweeps, sizes)]
    if any(e is None or (not is_guarded and max(e) > 0) for e in ends):
        return None
    pads = [max(before, 0) for before, _ in ends] + [max(after, 0) for _, after in ends]
    return pads, tuple((min(before, 0), min(after, 0)) for before, after in ends)


def _ends(form: Form, sweep: Sweep, size: Size) -> tuple[int, int] | None:
    """How many elements the window needs before and after an axis; below 0: how many it does not reach."""
    kernel = form.domain[sweep.window] if sweep.window is not None else 1
    reach = sweep.dilation * (kernel - 1) + 1
    before = -sweep.start
    after = sweep.stride * (form.domain[sweep.moved] - 1) + reach - before - size
    if isinstance(after, int):
        # What a whole step would not reach is left by itself.
        return before, 0 if -sweep.stride < after < 0 else after
    for guess in sorted(range(reach + 1), key=lambda n: abs(n - before)):
        if (size + before + guess - reach) // sweep.stride + 1 == form.domain[sweep.moved]:
            return before, guess
    return None


# ---------------------------------------------------------------------------------------------------- pooling


def pooled(forms: FormWriter) -> str | None:
    """The form's tensor, if it is the maximum or the sum over windows of one tensor with axes of samples and channels."""
    form, graph = forms.form, forms.graph
    found = _pooling(form)
    if found is None:
        return None
    read, factor, sweeps = found
    order = [at for at, s in enumerate(sweeps) if s.is_plain]
    space = [at for at, s in enumerate(sweeps) if not s.is_plain]
    if len(order) != 2 or not space:
        return None
    ends = _margins(form, [sweeps[at] for at in space], [form.operands[read.slot].shape[at] for at in space],
                    read.otherwise is not None)  # fmt: skip
    kernel = [form.domain[sweeps[at].window] if sweeps[at].window is not None else 1 for at in space]
    dilations = [sweeps[at].dilation for at in space]
    if ends is None or not all(isinstance(n, int) for n in kernel) or any(c != (0, 0) for c in ends[1]):
        return None
    if any(p >= k for p, k in zip(ends[0], kernel * 2)) or (form.op == "sum" and set(dilations) != {1}):
        return None
    attributes = {"kernel_shape": kernel, "strides": [sweeps[at].stride for at in space], "pads": ends[0]}
    axes = [_written_axis(form, sweeps[at].moved) for at in (*order, *space)]
    value = graph.transpose(forms.operands[read.slot], [*order, *space])
    if form.op == "max":
        value = graph.node("MaxPool", value, dilations=dilations, **attributes)
    else:
        value = graph.node("AveragePool", value, count_include_pad=1, **attributes)
        count = factor
        for n in kernel:
            count *= n
        if abs(count - 1) > 1e-12:
            value = graph.node("Mul", value, graph.real_number(count))
    return graph.transpose(value, [axes.index(k) for k in range(len(axes))])


def _pooling(form: Form) -> tuple[Read, float, list[Sweep]] | None:
    """The tensor that is read, what it is multiplied by, and how each of its axes is swept over."""
    conditions, factors = conditions_and_factors(form.body)
    reads = [f for f in factors if type(f) is Read]
    numbers = [float(f.value) for f in factors if type(f) is Const]
    if form.op not in ("max", "sum") or conditions or len(reads) != 1 or len(factors) != 1 + len(numbers):
        return None
    (read,) = reads
    if form.operands[read.slot].kind != "float" or not form.is_projection or (form.op == "max" and numbers):
        return None
    if read.otherwise is not None and not _is_neutral(read, form.op):
        return None
    sweeps = [_swept(p, form) for p in read.place]
    if any(s is None for s in sweeps):
        return None
    used = [k for s in sweeps for k in (s.moved, s.window) if k is not None]
    if len(set(used)) != len(used) or set(used) != set(range(len(form.domain))):
        return None
    return read, (numbers[0] if numbers else 1.0), sweeps


def _is_neutral(read: Read, op: str) -> bool:
    if op == "sum":
        return is_zero(read.otherwise)
    return type(read.otherwise) is Const and float(read.otherwise.value) == float("-inf")


def _swept(place, form: Form) -> Sweep | None:
    if any(type(atom) is not Index or c < 1 for atom, c in place.terms):
        return None
    by = {atom.axis: c for atom, c in place.terms}
    moved, window = [k for k in by if k in form.written], [k for k in by if k not in form.written]
    if len(moved) != 1 or len(window) > 1:
        return None
    inner = window[0] if window else None
    return Sweep(moved[0], by[moved[0]], inner, by[inner] if window else 1, place.constant)


def _written_axis(form: Form, index: int) -> int:
    return next(at for at, w in enumerate(form.write) if alone_index(w) == index)
