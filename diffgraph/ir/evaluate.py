"""The value of a form: what `out[write(d)] op= body(d)` means, with NumPy.

This is the executable specification, so it favours the obvious. Two things keep it usable. The domain is worked
through in boxes, so that no array is much larger than `POINTS` elements; and a sum of products is left to `einsum`,
which need not hold the product of all factors in memory.

A box is a half-open range for each axis of the domain. Inside it every expression is an array with as many axes as the
domain, of length 1 along the axes that do not occur in it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from diffgraph.diagnostics import CompilerBug
from diffgraph.ir import dimension, scalar
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.form import Form, alone_index

#: The most elements of one array in a box: 32 MB in float64, and 1 MB where nothing is reduced, so that what is made on
#: the way to an element stays in a core's cache.
POINTS = 1 << 22
FEW_POINTS = 1 << 17

Box = tuple[tuple[int, int], ...]

_held: ContextVar[Iterator[np.ndarray] | list[np.ndarray] | None] = ContextVar("held", default=None)


@contextmanager
def holding(values: list[np.ndarray]) -> Iterator[None]:
    """Runs inside take what `stop_gradient` gives from `values`, in the order in which it was met; the first run, with
    an empty list, fills it. So the derivative of a program, for which these are constants, is that of its runs."""
    token = _held.set(iter(values) if values else values)
    try:
        yield
    finally:
        _held.reset(token)


def _stopped(value: np.ndarray) -> np.ndarray:
    held = _held.get()
    if held is None:
        return value
    if isinstance(held, list):
        held.append(value)
        return value
    return next(held)


def result_kind(form: Form) -> str:
    """The kind of a form's values. Bools that are added or multiplied become ints."""
    if form.op in ("argmax", "argmin"):
        return "int"
    if form.op in ("any", "all"):
        return "bool"
    kind = scalar.kind_of(form.body, [o.kind for o in form.operands])
    return "int" if kind == "bool" and not form.is_pointwise else kind


def evaluate_form(form: Form, operands: Sequence, sizes: Mapping[str, int] = {}, real=np.float64) -> np.ndarray:
    """The tensor a form makes of its operands (one array per slot), floats computed in `real`.

    `sizes` gives a value to every symbol of the extents. CompilerBug if a read without a guard is outside its operand.
    """
    arrays = [scalar.cast(a, o.kind, real, copy=False) for a, o in zip(operands, form.operands, strict=True)]
    domain = tuple(dimension.evaluate(s, sizes) for s in form.domain)
    shape = tuple(dimension.evaluate(s, sizes) for s in form.shape)
    result = _Result(form, shape, real)
    for box in _boxes(domain, _widest(form, domain), POINTS if form.reduced else FEW_POINTS):
        result.include(_Evaluation(form, arrays, sizes, real, box))
    return result.values


def _widest(form: Form, domain: tuple[int, ...]) -> tuple[frozenset[int], ...]:
    """The axes of each of the large arrays that a box needs."""
    if _factors(form):
        return tuple(f.indices for f in _factors(form)) + (form.written,)
    return (frozenset(range(len(domain))),)


def _factors(form: Form) -> tuple[Expr, ...]:
    """The factors, if the form is a sum of products of floats over reduced axes."""
    if form.op != "sum" or not form.reduced or result_kind(form) != "float":
        return ()
    body = form.body
    return body.args if isinstance(body, Call) and body.function == "mul" else ()


def _boxes(domain: tuple[int, ...], widest: tuple[frozenset[int], ...], most: int = POINTS) -> Iterator[Box]:
    """The domain in boxes, in row-major order, such that no array over the axes in `widest` has more elements than
    `most`."""
    steps = list(domain)
    for axis in range(len(domain)):
        while steps[axis] > 1 and max(math.prod(steps[k] for k in axes) for axes in widest) > most:
            steps[axis] = (steps[axis] + 1) // 2
    ranges = ([(a, min(a + s, n)) for a in range(0, n, s or 1)] for n, s in zip(domain, steps))
    yield from itertools.product(*ranges)


class _Evaluation:
    """The expressions of a form over one box."""

    def __init__(self, form: Form, arrays, sizes, real, box: Box):
        self.form = form
        self.arrays = arrays
        self.sizes = sizes
        self.real = real
        self.box = box
        self.lengths = tuple(b - a for a, b in box)
        self.kinds = tuple(o.kind for o in form.operands)
        self._known: dict[Expr, np.ndarray] = {}

    def value(self, expr: Expr) -> np.ndarray:
        """The values of an expression, of length 1 along axes that do not occur in it."""
        found = self._known.get(expr)
        if found is None:
            found = self._known[expr] = self._compute(expr)
        return found

    def _compute(self, expr: Expr) -> np.ndarray:
        match expr:
            case Const(value):
                kind = scalar.kind_of(expr, ())
                return self._scalar(scalar.cast(float(value) if kind == "float" else value, kind, self.real))
            case Extent(size):
                return self._scalar(np.int64(dimension.evaluate(size, self.sizes)))
            case Index(axis):
                start, stop = self.box[axis]
                shape = [1] * len(self.box)
                shape[axis] = -1
                return np.arange(start, stop).reshape(shape)
            case Affine(constant, terms):
                total = self._scalar(np.int64(constant))
                for atom, coefficient in terms:
                    total = total + coefficient * scalar.cast(self.value(atom), "int")
                return total
            case Call(function, args):
                if function == "stop_gradient":
                    return _stopped(self.value(args[0]))
                kinds = [scalar.kind_of(a, self.kinds) for a in args]
                return scalar.evaluate(function, [self.value(a) for a in args], kinds, self.real)
            case Read():
                return self._read(expr)
        raise CompilerBug("interpret", f"unknown expression {expr!r}")

    def _scalar(self, value) -> np.ndarray:
        return np.asarray(value).reshape((1,) * len(self.box))

    def _read(self, read: Read) -> np.ndarray:
        array = self.arrays[read.slot]
        if not read.place:
            return self._scalar(array)
        stretch = self._stretch(read, array.shape)
        if stretch is not None:
            return array[stretch].reshape([n if k in read.indices else 1 for k, n in enumerate(self.lengths)])
        places = [self.value(p) for p in read.place]
        inside = np.True_
        for place, extent in zip(places, array.shape, strict=True):
            inside = inside & (place >= 0) & (place < extent)
        if read.otherwise is None:
            if not np.all(inside):
                raise CompilerBug("interpret", f"a read without a guard is outside {array.shape}: {read!r}")
            return array[tuple(places)]
        otherwise = scalar.cast(self.value(read.otherwise), self.kinds[read.slot], self.real)
        if array.size == 0:
            return np.broadcast_to(otherwise, inside.shape)
        nearest = (np.clip(p, 0, extent - 1) for p, extent in zip(places, array.shape))
        return np.where(inside, array[tuple(nearest)], otherwise)

    def _stretch(self, read: Read, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
        """The part of an array that is read where each axis is read at an index of its own, in order, and inside."""
        axes = [alone_index(p) for p in read.place]
        if None in axes or sorted(set(axes)) != axes or any(self.box[k][1] > n for k, n in zip(axes, shape)):
            return None
        return tuple(slice(*self.box[k]) for k in axes)

    def body(self) -> np.ndarray:
        """The values of the body over the whole box."""
        kind = scalar.kind_of(self.form.body, self.kinds)
        return np.broadcast_to(scalar.cast(self.value(self.form.body), kind, self.real, copy=False), self.lengths)

    def reduced(self) -> np.ndarray:
        """The body reduced over the axes that are not written; the written ones are left, in order."""
        form = self.form
        if factors := _factors(form):
            return self._sum_of_products(factors)
        values = self.body()
        if not form.reduced:
            return values
        if result_kind(form) == "int":
            values = scalar.cast(values, "int")
        with np.errstate(all="ignore"):
            return _REDUCE[form.op](values, axis=form.reduced)

    def _sum_of_products(self, factors: Sequence[Expr]) -> np.ndarray:
        arrays = [scalar.cast(self.value(f), "float", self.real) for f in factors]
        for axis, length in enumerate(self.lengths):
            if length != 1 and all(a.shape[axis] == 1 for a in arrays):
                arrays.append(np.ones([length if k == axis else 1 for k in range(len(self.lengths))], self.real))
        operands = []
        for array in arrays:
            long = [k for k, n in enumerate(array.shape) if n != 1]
            operands += [array.reshape([array.shape[k] for k in long]), long]
        written = sorted(self.form.written)
        kept = [k for k in written if self.lengths[k] != 1]
        with np.errstate(all="ignore"):
            total = np.einsum(*operands, kept, optimize=True)
        return total.reshape([self.lengths[k] for k in written])

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """For argmax and argmin: the extreme values, and the row-major rank of the first place that has each."""
        written, reduced = sorted(self.form.written), self.form.reduced
        values = np.transpose(self.body(), (*written, *reduced))
        values = values.reshape(*values.shape[: len(written)], math.prod(self.lengths[k] for k in reduced))
        find = np.argmax if self.form.op == "argmax" else np.argmin
        first = find(values, axis=-1)[..., None]
        ranks = np.broadcast_to(self.value(self._rank()), self.lengths)
        ranks = ranks[tuple(slice(None) if k in reduced else 0 for k in range(len(self.box)))].reshape(-1)
        return np.take_along_axis(values, first, -1)[..., 0], ranks[first[..., 0]]

    def _rank(self) -> Affine:
        """The row-major position among the reduced indices."""
        terms, stride = [], 1
        for axis in reversed(self.form.reduced):
            terms.append((Index(axis), stride))
            stride *= dimension.evaluate(self.form.domain[axis], self.sizes)
        return Affine(0, tuple(terms))

    def places(self) -> list[np.ndarray]:
        """The place written, one array over the written axes for each axis of the result."""
        written = sorted(self.form.written)
        arrays = (self.value(w) for w in self.form.write)
        return [np.broadcast_to(a.reshape([a.shape[k] for k in written]), self._written_lengths()) for a in arrays]

    def _written_lengths(self) -> list[int]:
        return [self.lengths[k] for k in sorted(self.form.written)]


def values_over(expr: Expr, domain: tuple[int, ...]) -> np.ndarray:
    """The values that an expression without reads takes over a domain."""
    nothing = Form(domain, "sum", (), (), (), Const(0))
    return _Evaluation(nothing, (), {}, np.float64, tuple((0, n) for n in domain)).value(expr)


def identity(op: str, kind: str, real=np.float64):
    """What a reduction of nothing gives."""
    if op in ("max", "min"):
        sign = -1 if op == "max" else 1
        if kind == "float":
            return real(sign * np.inf)
        ends = np.iinfo(np.int64)
        return op == "min" if kind == "bool" else np.int64(ends.min if op == "max" else ends.max)
    return {"prod": 1, "all": True}.get(op, 0)


_REDUCE = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min, "any": np.any, "all": np.all}
_COMBINE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


class _Result:
    """The tensor that is being made, box by box."""

    def __init__(self, form: Form, shape: tuple[int, ...], real):
        self.form = form
        kind = result_kind(form)
        self.values = np.full(shape, identity(form.op, kind, real), scalar.cast(0, kind, real).dtype)
        self._extremes = None
        if form.op in ("argmax", "argmin"):
            value_kind = scalar.kind_of(form.body, [o.kind for o in form.operands])
            dtype = scalar.cast(0, value_kind, real).dtype
            self._extremes = np.full(shape, identity(form.op[3:], value_kind, real), dtype)

    def include(self, box: _Evaluation) -> None:
        """Combines the values over a box into the result."""
        if 0 in box.lengths:
            return
        if _is_slice(self.form):
            self._include_slice(box)
        elif self.form.op == "sum":
            self._scatter(box)
        else:
            raise CompilerBug("interpret", f"{self.form.op} does not write a projection of its domain")

    def _include_slice(self, box: _Evaluation) -> None:
        found = _slices(self.form, box, self.values.shape)
        if found is None:
            return
        target, source = found
        if self._extremes is not None:
            extremes, ranks = (_arrange(self.form, a)[source] for a in box.extremes())
            self._include_extremes(target, extremes, ranks)
            return
        values = _arrange(self.form, box.reduced())[source]
        view = self.values[target]
        if view.dtype == np.bool_:
            combine = np.logical_and if self.form.op in ("all", "min", "prod") else np.logical_or
        else:
            combine = _COMBINE[self.form.op]
        with np.errstate(all="ignore"):
            combine(view, values, out=view)

    def _include_extremes(self, target, extremes, ranks) -> None:
        """Later boxes have larger ranks, so only a strictly better value replaces one that is there."""
        known, places = self._extremes[target], self.values[target]
        better = extremes > known if self.form.op == "argmax" else extremes < known
        if known.dtype.kind == "f":
            better = better | (np.isnan(extremes) & ~np.isnan(known))
        np.copyto(known, extremes, where=better)
        np.copyto(places, ranks, where=better)

    def _scatter(self, box: _Evaluation) -> None:
        places, values = box.places(), box.reduced()
        inside = np.ones(values.shape, bool)
        for place, extent in zip(places, self.values.shape):
            inside &= (place >= 0) & (place < extent)
        if not inside.any():
            return
        flat = np.ravel_multi_index(tuple(p[inside] for p in places), self.values.shape)
        np.add.at(self.values.reshape(-1), flat, values[inside])


def _is_slice(form: Form) -> bool:
    """Whether every axis written is a constant or a positive multiple of an index of its own plus a constant."""
    atoms = [w.terms for w in form.write if w.terms]
    if any(len(t) != 1 or type(t[0][0]) is not Index or t[0][1] < 1 for t in atoms):
        return False
    return len({t[0][0] for t in atoms}) == len(atoms)


def _arrange(form: Form, values: np.ndarray) -> np.ndarray:
    """An array over the written axes in order, transposed to the order in which the result has them."""
    written = sorted(form.written)
    return np.transpose(values, [written.index(w.terms[0][0].axis) for w in form.write if w.terms])


def _slices(form: Form, box: _Evaluation, shape: tuple[int, ...]):
    """Where a box writes, as subscripts of the result and of its arranged values; None if all of it is outside."""
    target: list = []
    source: list = []
    for write, extent in zip(form.write, shape, strict=True):
        if not write.terms:
            if not 0 <= write.constant < extent:
                return None
            target.append(write.constant)
            continue
        (index, step), constant = write.terms[0], write.constant
        start, stop = box.box[index.axis]
        first = max(start, -(constant // step))
        end = min(stop, (extent - 1 - constant) // step + 1)
        if first >= end:
            return None
        target.append(slice(first * step + constant, (end - 1) * step + constant + 1, step))
        source.append(slice(first - start, end - start))
    return (*target, ...), (*source, ...)
