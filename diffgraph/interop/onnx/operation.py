"""One ONNX operation while it is being written: its inputs as text, with what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diffgraph.diagnostics import DiffgraphError, error
from diffgraph.interop.onnx.graph import Graph, Node, Shape, Value


def literal(value: bool | int | float) -> str:
    """A number as an operand of the language."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value != value:
        return "(inf - inf)"
    text = repr(value)
    return f"({text})" if text.startswith("-") else text


class Operation:
    """A node, and where its text goes. `name` gives the text's name of a value, `write` adds a statement,
    `keep` a table under a name."""

    def __init__(
        self,
        node: Node,
        graph: Graph,
        name: Callable[[str], str],
        write: Callable[[str], None],
        keep: Callable[[str, np.ndarray], None],
    ):
        self.keep = keep
        self.node = node
        self.graph = graph
        self.name = name
        self.write = write
        self._extras: dict[str, str] = {}

    # ------------------------------------------------------------ inputs

    def has(self, k: int) -> bool:
        return k < len(self.node.inputs) and bool(self.node.inputs[k])

    def value(self, k: int) -> Value:
        if not self.has(k):
            raise self.refused(f"without its input {k}")
        return self._known(self.node.inputs[k])

    def atom(self, k: int) -> str:
        """An input as an operand that binds tightly."""
        return self.name(self.node.inputs[k]) if self.has(k) else ""

    def all_inputs(self) -> list[str]:
        return [self.atom(k) for k in range(len(self.node.inputs))]

    def kind(self, k: int) -> str:
        return self.value(k).kind

    def shape(self, k: int) -> Shape:
        return self.shape_of(self.node.inputs[k])

    def rank(self, k: int) -> int:
        return len(self.shape(k))

    def size(self, k: int, axis: int) -> int:
        found = self.shape(k)[axis]
        if not isinstance(found, int):
            raise self.refused(f"along the size `{found}`, which is not known")
        return found

    def array(self, k: int) -> np.ndarray | None:
        return self.value(k).array if self.has(k) else None

    def known(self, k: int) -> np.ndarray:
        """The elements of an input that the text depends on."""
        found = self.value(k).array
        if found is None:
            raise self.refused(f"whose input `{self.node.inputs[k]}` is computed at run time")
        return found

    def read(self, k: int, places: Sequence[str]) -> str:
        """An element of an input."""
        return f"{self.atom(k)}[{', '.join(places)}]" if places else self.atom(k)

    def literal(self, k: int) -> str:
        """An input of one element as a number, where it is known."""
        found = self.array(k)
        return literal(found.reshape(-1)[0].item()) if found is not None and found.size == 1 else self.atom(k)

    def by_channel(self, k: int) -> str:
        """A vector over the channels of the first input."""
        return f"reshape({self.atom(k)}, {[1, -1] + [1] * (self.rank(0) - 2)})"

    # ------------------------------------------------------------ attributes

    def attribute(self, name: str, default: Any) -> Any:
        found = self.node.attributes.get(name, default)
        return list(found) if isinstance(found, (list, tuple)) else found

    def flag(self, name: str, default: int) -> str:
        return "true" if self.attribute(name, default) else "false"

    def axis(self, name: str, default: int, rank: int | None = None) -> int:
        return self.attribute(name, default) % max(1, self.rank(0) if rank is None else rank)

    def integers(self, name: str, k: int) -> list[int]:
        """An attribute in older versions, an input in newer ones."""
        found = self.attribute(name, None)
        return found if found is not None else [int(v) for v in self.known(k).reshape(-1)] if self.has(k) else []

    def axes(self) -> list[int]:
        """The axes that are reduced: all unless given."""
        given = self.integers("axes", 1)
        if given:
            return sorted(a % self.rank(0) for a in given)
        return [] if self.attribute("noop_with_empty_axes", 0) else list(range(self.rank(0)))

    # ------------------------------------------------------------ results

    def outputs(self, count: int) -> list[str]:
        """The names of the results, made up where they are left out."""
        given = [*self.node.outputs, *[""] * count][:count]
        return [self.name(one) if one else self.extra(f"unused{k}") for k, one in enumerate(given)]

    def result_shape(self) -> Shape:
        return self.shape_of(self.node.outputs[0])

    def result_kind(self) -> str:
        return self._known(self.node.outputs[0]).kind

    def indices(self, name: str | None = None, bounded: bool | int = False) -> list[str]:
        """Names for the indices of a result, with bounds from the axis `bounded` on."""
        shape = self.shape_of(name or self.node.outputs[0])
        first = {True: 0, False: len(shape)}[bounded] if isinstance(bounded, bool) else bounded
        return [f"i{k} < {s}" if k >= first else f"i{k}" for k, s in enumerate(shape)]

    @staticmethod
    def bare(indices: Sequence[str]) -> list[str]:
        """The indices without their bounds."""
        return [index.partition(" ")[0] for index in indices]

    def element(self, indices: Sequence[str], text: str) -> None:
        """Writes the result by its element."""
        brackets = f"[{', '.join(indices)}]" if indices else ""
        self.write(f"{self.name(self.node.outputs[0])}{brackets} = {text}")

    def extra(self, hint: str) -> str:
        """A name of this operation's own."""
        if hint not in self._extras:
            self._extras[hint] = self.name(f"{self.node.outputs[0]} {hint}")
        return self._extras[hint]

    def let(self, hint: str, text: str) -> str:
        """A name for what is used several times."""
        self.write(f"{self.extra(hint)} = {text}")
        return self.extra(hint)

    def constant(self, hint: str, array: np.ndarray) -> str:
        """A name for a table that was computed when importing."""
        self.keep(self.extra(hint), array)
        return self.extra(hint)

    def turned(self, k: int, axis: int) -> str:
        """An input backwards along an axis."""
        places = [f"i{j}" for j in range(self.rank(k))]
        bounds = [p if j != axis else f"{p} < {self.size(k, axis)}" for j, p in enumerate(places)]
        places[axis] = f"{self.size(k, axis) - 1} - {places[axis]}"
        self.write(f"{self.extra('turned')}[{', '.join(bounds)}] = {self.read(k, places)}")
        return self.extra("turned")

    # ------------------------------------------------------------ text

    @staticmethod
    def listed(shape: Sequence[int | str]) -> str:
        return f"[{', '.join(map(str, shape))}]"

    @staticmethod
    def whole(value: int) -> str:
        return str(value) if value >= 0 else f"({value})"

    def shape_of(self, name: str) -> Shape:
        found = self._known(name).shape
        if found is None:
            raise self.refused(f"on `{name}`, whose shape is not known")
        return found

    def refused(self, why: str) -> DiffgraphError:
        where = f" ({self.node.name})" if self.node.name else ""
        return error("DG953", f"`{self.node.op}`{where} {why} cannot be imported")

    def _known(self, name: str) -> Value:
        if name not in self.graph.values:
            raise self.refused(f"on `{name}`, of which nothing is known")
        return self.graph.values[name]
