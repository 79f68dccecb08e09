"""Nodes, constants and sizes of an ONNX graph while it is written.

A value is the name of a tensor. Nodes that are equal are one; a node that only moves elements of a constant is computed
here and becomes a constant itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import lcm

import numpy as np

from diffgraph.interop.onnx.writing import protocol
from diffgraph.ir.dimension import Dimension, Floor, Size

#: "To the very end", for a slice.
END = 1 << 62

#: ONNX's types of what a kind is.
INT = np.int64

#: Operations that only move elements, on arrays.
_MOVES: dict[str, Callable] = {
    "Transpose": lambda a, perm: np.transpose(a, perm),
    "Reshape": lambda a, shape, allowzero=0: a.reshape(shape),
    "Unsqueeze": lambda a, axes: np.expand_dims(a, tuple(int(k) for k in axes)),
    "Squeeze": lambda a, axes: np.squeeze(a, tuple(int(k) for k in axes)),
    "Slice": lambda a, starts, ends, axes, steps=None: a[_slices(a.ndim, starts, ends, axes, steps)],
}


def _slices(rank: int, starts, ends, axes, steps) -> tuple[slice, ...]:
    steps = [1] * len(axes) if steps is None else steps
    by = {
        int(k): slice(int(a), None if s < 0 and b < 0 else int(b), int(s))
        for a, b, k, s in zip(starts, ends, axes, steps)
    }
    return tuple(by.get(k, slice(None)) for k in range(rank))


class GraphWriter:
    """A graph under construction. `within`: the graph around the body of a loop, whose values are seen inside."""

    def __init__(self, real, within: GraphWriter | None = None):
        self.real = np.dtype(real)
        self.within = within
        self.root = within.root if within else self
        self.nodes: list = []
        self._equal: dict[tuple, tuple[str, ...]] = {}
        self._made: dict[str, tuple[str, tuple[str, ...]]] = {}
        if within is None:
            self.constants: dict[str, np.ndarray] = {}
            self.symbols: dict[str, str] = {}
            self._by_content: dict[tuple, str] = {}
            self._taken: set[str] = set()

    def name(self, hint: str) -> str:
        """A name that nothing has."""
        taken, name, count = self.root._taken, hint, 1
        while name in taken:
            count += 1
            name = f"{hint}_{count}"
        taken.add(name)
        return name

    def node(self, op: str, *inputs: str, **attributes) -> str:
        """The result of an operation; an input that is left out is ""."""
        return self.node_of(op, inputs, 1, **attributes)[0]

    def node_of(self, op: str, inputs: Sequence[str], results: int, **attributes) -> tuple[str, ...]:
        """The results of an operation that has several."""
        moved = self._moved(op, inputs, attributes)
        if moved is not None:
            return (moved,)
        key = (op, tuple(inputs), repr(sorted(attributes.items())))
        found = self._known(key)
        if found is None:
            found = tuple(self.name(op.lower()) for _ in range(results))
            self.nodes.append(protocol.node(op, inputs, found, **attributes))
            self._equal[key] = found
            self._made.update((name, (op, tuple(inputs))) for name in found)
        return found

    def append(self, node) -> None:
        """Adds a node that names its own results."""
        self.nodes.append(node)

    def _maker(self, value: str) -> tuple[str, tuple[str, ...]]:
        """The operation that makes a value, and what of."""
        found = self._made.get(value)
        if found is None and self.within is not None:
            found = self.within._maker(value)
        return found or ("", ())

    def _known(self, key: tuple) -> tuple[str, ...] | None:
        found = self._equal.get(key)
        return found if found is not None or self.within is None else self.within._known(key)

    def _moved(self, op: str, inputs: Sequence[str], attributes: Mapping) -> str | None:
        """The result as a constant, if the operation only moves elements of one."""
        arrays = [self.root.constants.get(i) for i in inputs]
        if op not in _MOVES or any(a is None for a in arrays):
            return None
        return self.constant(_MOVES[op](*arrays, *attributes.values()), inputs[0])

    def constant(self, value, hint: str = "constant") -> str:
        """A constant tensor; equal ones are one."""
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        root = self.root
        if key not in root._by_content:
            root._by_content[key] = self.name(hint)
            root.constants[root._by_content[key]] = array
        return root._by_content[key]

    def given(self, hint: str, array: np.ndarray) -> str:
        """A constant that has a name of its own."""
        name = self.name(hint)
        self.root.constants[name] = np.asarray(array)
        return name

    def ints(self, *values: int) -> str:
        """A constant list of ints."""
        return self.constant(np.array(values, INT), "ints")

    def real_number(self, value) -> str:
        """A constant of rank 0 in the precision of the graph."""
        return self.constant(self.real.type(value), "number")

    # ------------------------------------------------------------------------------------------------ sizes

    def size(self, size: Size) -> str:
        """A size as an int of rank 0, symbols from the shapes of the inputs."""
        if isinstance(size, int):
            return self.constant(INT(size), "size")
        bottom = lcm(*(c.denominator for _, c in size.terms))
        total = None
        for monomial, coefficient in size.terms:
            factors = [self._atom(atom) for atom, power in monomial for _ in range(power)]
            whole = int(coefficient * bottom)
            if whole != 1 or not factors:
                factors.append(self.constant(INT(whole), "size"))
            product = factors[0]
            for factor in factors[1:]:
                product = self.node("Mul", product, factor)
            total = product if total is None else self.node("Add", total, product)
        return total if bottom == 1 else self._floor(total, bottom)

    def _atom(self, atom: str | Floor) -> str:
        if isinstance(atom, str):
            return self.root.symbols[atom]
        return self._floor(self.size(atom.dimension), atom.divisor)

    def _floor(self, value: str, divisor: int) -> str:
        """floor(value / divisor): ONNX's division of ints cuts off, so the remainder goes first."""
        by = self.constant(INT(divisor), "size")
        return self.node("Div", self.node("Sub", value, self.node("Mod", value, by)), by)

    def shape(self, sizes: Sequence[Size]) -> str:
        """Sizes as a list of ints."""
        if all(isinstance(s, int) for s in sizes):
            return self.ints(*sizes)
        parts = [self.ints(s) if isinstance(s, int) else self.listed(self.size(s)) for s in sizes]
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=0)

    def listed(self, value: str) -> str:
        """An int of rank 0 as a list of one."""
        return self.node("Reshape", value, self.ints(1))

    # ------------------------------------------------------------------------------------------------ moving elements

    def reshape(self, value: str, sizes: Sequence[Size], before: Sequence[Size] = ()) -> str:
        """The same elements under another shape; one size that is not known follows from the others, and those that
        stand where they stood `before` stay."""
        kept = [k for k, (new, old) in enumerate(zip(sizes, before)) if new == old and not is_known(new)]
        unknown = [k for k, n in enumerate(sizes) if not is_known(n) and k not in kept]
        if len(unknown) <= 1 and 0 not in sizes:
            numbers = [0 if k in kept else -1 if k in unknown else n for k, n in enumerate(sizes)]
            return self.node("Reshape", value, self.ints(*numbers))
        # A size of 0 means "as it was" unless it is allowed.
        return self.node("Reshape", value, self.shape(sizes), allowzero=1)

    def transpose(self, value: str, order: Sequence[int]) -> str:
        """Axis k of the result is axis order[k] of the value."""
        return value if list(order) == sorted(order) else self.node("Transpose", value, perm=list(order))

    def unsqueeze(self, value: str, axes: Sequence[int]) -> str:
        """With axes of length 1 at these places of the result."""
        return self._with_axes("Unsqueeze", "Squeeze", value, axes)

    def squeeze(self, value: str, axes: Sequence[int]) -> str:
        """Without these axes, which have length 1."""
        return self._with_axes("Squeeze", "Unsqueeze", value, axes)

    def _with_axes(self, op: str, inverse: str, value: str, axes: Sequence[int]) -> str:
        if not axes:
            return value
        listed = self.ints(*axes)
        made, inputs = self._maker(value)
        return inputs[0] if made == inverse and inputs[1] == listed else self.node(op, value, listed)

    def expand(self, value: str, sizes: Sequence[Size]) -> str:
        """Repeated along axes of length 1."""
        return self.node("Expand", value, self.shape(sizes))

    def pad(self, value: str, before: Sequence[Size], after: Sequence[Size], filling: str) -> str:
        """With margins; a margin below 0 cuts off."""
        cut = [k for k, pair in enumerate(zip(before, after)) if any(is_known(m) and m < 0 for m in pair)]
        if cut:
            starts = [-min(before[k], 0) if is_known(before[k]) else 0 for k in cut]
            ends = [after[k] if is_known(after[k]) and after[k] < 0 else END for k in cut]
            value = self.node("Slice", value, self.ints(*starts), self.ints(*ends), self.ints(*cut))
            before, after = ([max(m, 0) if is_known(m) else m for m in side] for side in (before, after))
        if all(m == 0 for m in (*before, *after)):
            return value
        return self.node("Pad", value, self.shape([*before, *after]), filling)

    def cast(self, value: str, kind: str) -> str:
        """The value as a kind: a bool is what is not zero, ints truncate."""
        return self.node("Cast", value, to=protocol.element_type(self.dtype(kind)))

    def dtype(self, kind: str) -> np.dtype:
        """The type of elements of a kind."""
        return {"float": self.real, "int": np.dtype(INT), "bool": np.dtype(bool)}[kind]


def is_known(size: Size) -> bool:
    """The size is a number."""
    return not isinstance(size, Dimension)
