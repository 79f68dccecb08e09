"""From an ONNX model to a net in text, and its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.interop.onnx.graph import MOST_IN_TEXT, Graph, Value, read_graph
from diffgraph.interop.onnx.operation import Operation, literal
from diffgraph.interop.onnx.operators import OPERATORS
from diffgraph.interop.onnx.recurrent import LOCAL, RECURRENT

#: Names that texts use for indices, and words of the language and of its library that a value may not hide.
_INDEX = re.compile(r"[cehiknpqstwx]\d*|x_\w")


@dataclass(frozen=True)
class Imported:
    """text: a file with one net. weights: its parameters by path. tables: files of constants that the text names."""

    text: str
    weights: dict[str, np.ndarray]
    tables: dict[str, np.ndarray]


def import_onnx(path: str | Path, taken: frozenset[str], sizes: Mapping[str, int] = {}) -> Imported:
    """The net of an ONNX file. taken: names that mean something in every program. sizes: of symbolic sizes to be fixed.

    Operations that are not known, and those that depend on what is computed at run time where the text must know it,
    are refused by name."""
    return text_of(read_graph(path, sizes, OPERATORS), taken)


def text_of(graph: Graph, taken: frozenset[str]) -> Imported:
    """The net of a graph."""
    unknown = sorted({node.op for node in graph.nodes} - OPERATORS.keys())
    if unknown:
        near = get_close_matches(unknown[0], OPERATORS, 1)
        help = f"it is near to `{near[0]}`" if near else None
        raise error("DG953", f"operations that cannot be imported: {', '.join(unknown)}", help=help)
    return _Writer(graph, taken).imported()


class _Writer:
    def __init__(self, graph: Graph, taken: frozenset[str]):
        self.graph = graph
        self.taken = {*taken, *(LOCAL if any(node.op in RECURRENT for node in graph.nodes) else ())}
        self.symbols: set[str] = {
            s for name in graph.inputs for s in graph.values[name].shape or () if isinstance(s, str)
        }
        self.taken |= self.symbols
        self.names: dict[str, str] = {}
        self.weights: dict[str, np.ndarray] = {}
        self.tables: dict[str, np.ndarray] = {}
        self.head: list[str] = []
        self.lines: list[str] = []

    def imported(self) -> Imported:
        graph = self.graph
        for name in graph.inputs:
            self.head.append(f"input {self.name(name)}{self._declared(graph.values[name])}")
        for node in graph.nodes:
            op = Operation(node, graph, self.name, self.lines.append, self._table)
            text = OPERATORS[node.op](op)
            if text is not None:
                self.lines.append(f"{self.name(node.outputs[0])} = {text}")
        results = [f"output {self._result(name)}" for name in graph.outputs]
        body = "\n".join(f"    {line}" for line in (*self.head, "", *self.lines, "", *results))
        name = self._free(graph.name)
        return Imported(f"net {name} {{\n{body}\n}}\n", self.weights, self.tables)

    def name(self, value: str) -> str:
        """The text of a value: its name, or what it is where it is known and small."""
        if value not in self.names:
            known = self.graph.values.get(value)
            self.names[value] = self._free(value)
            if known is not None and known.array is not None:
                self.names[value] = self._constant(value, known.array)
        return self.names[value]

    def _result(self, name: str) -> str:
        own = self.name(name)
        known = self.graph.values.get(name)
        if name in self.graph.inputs or (known is not None and known.array is not None):
            return f"{self._free(name)} = {own}"
        return own

    def _constant(self, value: str, array: np.ndarray) -> str:
        name = self.names[value]
        if array.ndim == 0:
            return literal(array.reshape(()).item())
        if value in self.graph.parameters:
            self.weights[name] = np.asarray(array, np.float32 if array.dtype.itemsize < 8 else np.float64)
            role = "state" if value in self.graph.states else "param"
            self.head.append(f"{role} {name}[{', '.join(map(str, array.shape))}] = 0")
        else:
            self._table(name, array)
        return name

    def _table(self, name: str, array: np.ndarray) -> None:
        if 0 < array.size <= MOST_IN_TEXT:
            self.head.append(f"{name} = constant({_listed(array)})")
        else:
            self.tables[f"{name}.npy"] = array
            self.head.append(f'{name} = constant("{name}.npy")')

    def _declared(self, value: Value) -> str:
        if value.shape is None:
            raise error("DG952", f"the shape of the input `{value.name}` is not known")
        shape = f"[{', '.join(map(str, value.shape))}]" if value.shape else ""
        return shape + ("" if value.kind == "float" else f": {value.kind}")

    def _free(self, wanted: str) -> str:
        stem = re.sub(r"\W", "_", wanted).strip("_") or "value"
        stem = f"t{stem}" if stem[0].isdigit() else stem
        stem = f"{stem}_t" if _INDEX.fullmatch(stem) else stem
        name, count = stem, 1
        while name in self.taken or not name.isidentifier():
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        return name


def _listed(array: np.ndarray) -> str:
    if array.ndim == 0:
        return literal(array.item())
    return "[" + ", ".join(_listed(row) for row in array) + "]"

