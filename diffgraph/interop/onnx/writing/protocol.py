"""The door to the package onnx, for writing: nodes, graphs and models as its protocol buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from diffgraph.diagnostics import error

#: The version of ONNX's operators that is written: the first with every attribute that is used here; and the oldest
#: version of the format that has it, so that as many programs as possible read it.
OPSET, FORMAT = 18, 8


def require() -> None:
    """DiffgraphError where the package is not installed."""
    try:
        import onnx.checker  # noqa: F401
    except ImportError:
        raise error("DG951", "ONNX models need the package onnx", help="pip install 'diffgraph[onnx]'") from None


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes):
    """A node."""
    from onnx import helper

    return helper.make_node(op, list(inputs), list(outputs), **attributes)


def element_type(dtype: np.dtype) -> int:
    """The number that ONNX has for a type of elements."""
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(dtype)


def value(name: str, dtype: np.dtype, shape: Sequence[int | str | None]):
    """The declaration of a value."""
    from onnx import helper

    return helper.make_tensor_value_info(name, element_type(dtype), list(shape))


def graph(name: str, nodes: Sequence, inputs: Sequence, outputs: Sequence, constants: Mapping[str, np.ndarray] = {}):
    """A graph."""
    from onnx import helper, numpy_helper

    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    return helper.make_graph(list(nodes), name, list(inputs), list(outputs), tensors)


def model(whole):
    """A checked model of a graph."""
    import onnx
    from onnx import helper

    made = helper.make_model(whole, producer_name="diffgraph", opset_imports=[helper.make_opsetid("", OPSET)])
    made.ir_version = FORMAT
    onnx.checker.check_model(made)
    return made
