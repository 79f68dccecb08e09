"""An ONNX model as plain values: nodes in order, with the types, shapes and constants of what flows between them.

The only door to the `onnx` package, which is an extra: `pip install 'diffgraph[onnx]'`.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.interop.onnx import functions

#: A constant of more elements is kept with the weights, not in the text.
MOST_IN_TEXT = 64

#: Nodes of more elements are not computed beforehand.
MOST_FOLDED = 1 << 20

#: Inference, folding and expansion go on until nothing changes, at most so often.
_MOST_ROUNDS = 24

#: Before this version of the operations, sums of tensors broadcast by rules of their own.
_OLDEST = 7

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Value:
    """What a name stands for. kind: float, int, or bool; shape: sizes and names of open ones, None where it is not
    known; array: its elements, where they are known."""

    name: str
    kind: str
    shape: Shape | None
    array: np.ndarray | None = None


@dataclass(frozen=True)
class Node:
    """One operation. Names that are empty are inputs or outputs left out."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A model: what it is given, its operations, its results. parameters: constants that training changes; states:
    running statistics among them. version: of the operations."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    parameters: tuple[str, ...]
    states: frozenset[str] = frozenset()
    version: int = 13


def read_graph(path: str | Path, sizes: Mapping[str, int] = {}, known: Container[str] = ()) -> Graph:
    """The graph of a file. sizes: of the symbolic sizes that are to be fixed, by name. known: as for `graph_of`."""
    onnx = _onnx()
    try:
        model = onnx.load(str(path))
    except OSError as problem:
        raise error("DG950", f"{path} cannot be read: {problem.strerror or problem}") from None
    except Exception as problem:  # Protocol buffers raise whatever they like.
        raise error("DG950", f"{path} is no ONNX model: {problem}") from None
    return graph_of(model, sizes, known)


def graph_of(model, sizes: Mapping[str, int] = {}, known: Container[str] = ()) -> Graph:
    """The graph of an `onnx.ModelProto`: shapes inferred, what depends on constants and shapes only computed.

    known: operations that are left as they are; others are replaced by what ONNX says they consist of, where it
    does."""
    onnx = _onnx()
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    if version < _OLDEST:
        raise error("DG950", f"the model is of version {version} of ONNX's operations; {_OLDEST} is the oldest known")
    model = _with_sizes(model, sizes)
    for _ in range(_MOST_ROUNDS):
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except onnx.shape_inference.InferenceError as problem:
            raise error("DG950", f"the model is wrong: {problem}") from None
        _name_sizes(onnx, model)
        values = _values(onnx, model)
        folded = _fold(onnx, model, values)
        if not folded and not functions.expand(onnx, model, known):
            break
    graph = model.graph
    stored = {t.name for t in graph.initializer}
    parameters = tuple(n for n in stored if values[n].kind == "float" and values[n].array.size > 1)
    given = tuple(i.name for i in graph.input if i.name not in stored)
    results = tuple(o.name for o in graph.output)
    nodes = _needed([_node(onnx, node) for node in graph.node], results, values)
    states = {n for node in nodes if node.op == "BatchNormalization" for n in node.inputs[3:5]}
    return Graph(graph.name or "model", given, results, nodes, values, parameters, frozenset(states), version)


#: Operations whose second input says a shape, which the text does not need where it is known.
_SHAPED = frozenset({"Reshape", "Expand"})


def _needed(nodes: Sequence[Node], results: Sequence[str], values: Mapping[str, Value]) -> tuple[Node, ...]:
    """The nodes that the results are computed from, in order."""
    needed, kept = set(results), []
    for node in reversed(nodes):
        if needed.isdisjoint(node.outputs):
            continue
        made = values.get(node.outputs[0])
        is_known = node.op in _SHAPED and made is not None and made.shape is not None
        needed.update(node.inputs[:1] if is_known else node.inputs)
        kept.append(node)
    return tuple(reversed(kept))


def _name_sizes(onnx, model) -> None:
    """Inference makes up a name for the size that a `Reshape` leaves open, though it often is the batch: the number of
    elements says so."""
    infos = {i.name: i for i in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    shapes |= {name: _sizes(info) for name, info in infos.items() if info.type.tensor_type.HasField("shape")}
    names: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "Reshape" and node.input[0] in shapes and node.output[0] in shapes:
            before, after = ([names.get(s, s) for s in shapes[n]] for n in (node.input[0], node.output[0]))
            (open_before, count), (open_after, other) = _parts(before), _parts(after)
            if len(open_before) == len(open_after) == 1 and count == other and _is_made_up(open_after[0]):
                names[open_after[0]] = open_before[0]
    for info in infos.values():
        for d in info.type.tensor_type.shape.dim:
            if d.dim_param in names:
                d.dim_param = names[d.dim_param]


def _parts(shape: Sequence[int | str]) -> tuple[list[str], int]:
    """The symbols of a shape, and the product of its numbers."""
    return [s for s in shape if isinstance(s, str)], math.prod(s for s in shape if not isinstance(s, str))


def _values(onnx, model) -> dict[str, Value]:
    values = {}
    for info in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        values[info.name] = _declared(info)
    for tensor in model.graph.initializer:
        values[tensor.name] = _constant(tensor.name, onnx.numpy_helper.to_array(tensor))
    return values


def _fold(onnx, model, values: dict[str, Value]) -> bool:
    """Replaces the nodes whose results can be computed now by constants."""
    kept, found = [], False
    for proto in model.graph.node:
        folded = _folded(onnx, model, _node(onnx, proto), values)
        values.update((value.name, value) for value in folded)
        model.graph.initializer.extend(onnx.numpy_helper.from_array(v.array, v.name) for v in folded)
        found = found or bool(folded)
        kept += [] if folded else [proto]
    if found:
        kept = [_copy(proto) for proto in kept]
        del model.graph.node[:]
        model.graph.node.extend(kept)
        # What was inferred may be less than what can be inferred now.
        del model.graph.value_info[:]
    return found


def _copy(proto):
    copy = type(proto)()
    copy.CopyFrom(proto)
    return copy


def _onnx():
    try:
        import onnx
        import onnx.numpy_helper
        import onnx.shape_inference
    except ImportError:
        raise error("DG951", "ONNX models need the package onnx", help="pip install 'diffgraph[onnx]'") from None
    return onnx


def _with_sizes(model, sizes: Mapping[str, int]):
    """A copy of the model, with symbolic sizes of its inputs replaced by numbers."""
    changed = _copy(model)
    # Before version 4 what is stored had to be among the inputs, too; what is computed here is not.
    changed.ir_version = max(changed.ir_version, 4)
    for info in changed.graph.input:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    if sizes:
        del changed.graph.value_info[:]
    return changed


_KINDS = {1: "float", 10: "float", 11: "float", 16: "float", 9: "bool"}


def _declared(info) -> Value:
    if not info.type.HasField("tensor_type"):
        raise error("DG952", f"`{info.name}` is no tensor")
    tensor = info.type.tensor_type
    kind = _KINDS.get(tensor.elem_type, "int")
    if tensor.elem_type in (8, 14, 15) or tensor.elem_type >= 17:
        raise error("DG952", f"`{info.name}` holds elements of a type that is not known here")
    shape = _sizes(info) if tensor.HasField("shape") else None
    is_known = shape is not None and not any(isinstance(s, str) and _is_made_up(s) for s in shape)
    return Value(info.name, kind, shape if is_known else None)


def _sizes(info) -> Shape:
    dimensions = info.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dimensions)


def _is_made_up(size: str) -> bool:
    """Names that inference makes up stand for sizes that it does not know."""
    return size == "?" or size.startswith("unk__")


def _constant(name: str, array: np.ndarray) -> Value:
    if array.dtype.kind not in "fiub":
        raise error("DG952", f"`{name}` holds elements of a type that is not known here")
    kind = {"f": "float", "b": "bool"}.get(array.dtype.kind, "int")
    return Value(name, kind, tuple(array.shape), array)


def _node(onnx, node) -> Node:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    plain = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
    op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    return Node(op, node.name, tuple(node.input), tuple(node.output), plain)


def _folded(onnx, model, node: Node, values: Mapping[str, Value]) -> list[Value]:
    """The values of a node whose inputs are known, or which depends on shapes only; else nothing."""
    inputs = [values.get(name) for name in node.inputs if name]
    if node.op in ("Shape", "Size") and inputs[0] is not None and _is_static(inputs[0].shape):
        shape = np.array(inputs[0].shape, np.int64)
        shape = shape[slice(node.attributes.get("start", 0), node.attributes.get("end"))]
        return [_constant(node.outputs[0], shape if node.op == "Shape" else np.array(shape.prod(), np.int64))]
    if node.op.startswith("Random") or node.op in ("Bernoulli", "Multinomial", "Dropout"):
        return []
    if node.op == "CastLike" and None not in inputs and inputs[0].array is not None:
        kinds = {"float": np.float32, "int": np.int64, "bool": np.bool_}
        return [_constant(node.outputs[0], inputs[0].array.astype(kinds[inputs[1].kind]))]
    if any(value is None or value.array is None for value in inputs):
        return []
    if any(isinstance(a, onnx.GraphProto) for a in node.attributes.values()):
        return []
    if sum(value.array.size for value in inputs) > MOST_FOLDED:
        return []
    found = _computed(onnx, model, node, {name: values[name].array for name in node.inputs if name})
    return [_constant(name, np.asarray(array)) for name, array in zip(node.outputs, found) if name]


def _computed(onnx, model, node: Node, given: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
    """The results of one node, by ONNX's own reference."""
    from onnx.reference import ReferenceEvaluator

    if any(array.size == 0 for array in given.values()) and node.op.startswith("Reduce"):
        return []
    made = onnx.helper.make_node(node.op, node.inputs, node.outputs, **node.attributes)
    types = [onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
             for n, a in given.items()]  # fmt: skip
    outputs = [onnx.helper.make_empty_tensor_value_info(n) for n in node.outputs if n]
    graph = onnx.helper.make_graph([made], "constant", types, outputs)
    alone = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    try:
        return ReferenceEvaluator(alone).run(None, dict(given))
    except Exception:
        return []  # What the reference cannot compute may still be written as text.


def _is_static(shape: Shape | None) -> bool:
    return shape is not None and all(isinstance(size, int) for size in shape)
