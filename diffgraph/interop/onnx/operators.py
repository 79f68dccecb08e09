"""ONNX operations as text of the language: what each computes, by its element or by functions of the standard library.

An operation is a function of an `Operation` that gives the expression of its only output, or writes statements itself.
The specification is ONNX's own: https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

from collections.abc import Callable

from diffgraph.interop.onnx import axes, contractions, elementwise, shapes
from diffgraph.interop.onnx.operation import Operation

OPERATORS: dict[str, Callable[[Operation], str | None]] = {
    **{name: elementwise.formula(template, defaults) for name, (template, defaults) in elementwise.FORMULAS.items()},
    **{f"Reduce{name}": axes.reduced("{0}", name.lower(), "{0}") for name in ("Sum", "Mean", "Max", "Min", "Prod")},
    "ReduceL1": axes.reduced("abs({0})", "sum", "{0}"),
    "ReduceL2": axes.reduced("{0}^2", "sum", "sqrt({0})"),
    "ReduceSumSquare": axes.reduced("{0}^2", "sum", "{0}"),
    "ReduceLogSum": axes.reduced("{0}", "sum", "log({0})"),
    "ArgMax": axes.extreme_place("argmax"),
    "ArgMin": axes.extreme_place("argmin"),
    "Softmax": axes.softmax("softmax"),
    "LogSoftmax": axes.softmax("log_softmax"),
    "Sum": elementwise.folded("+"),
    "Max": elementwise.folded("max"),
    "Min": elementwise.folded("min"),
    "Mean": elementwise.mean,
    "Div": elementwise.div,
    "Mod": elementwise.mod,
    "Pow": elementwise.power,
    "Clip": elementwise.clip,
    "Cast": elementwise.cast,
    "CastLike": elementwise.cast,
    "Gelu": elementwise.gelu,
    "IsInf": elementwise.is_inf,
    "ReduceLogSumExp": axes.log_sum_exp,
    "Hardmax": axes.hardmax,
    "CumSum": axes.cumulated,
    "CumProd": axes.cumulated,
    "TopK": axes.top_k,
    "LayerNormalization": axes.layer_norm,
    "RMSNormalization": axes.layer_norm,
    "InstanceNormalization": axes.instance_norm,
    "GroupNormalization": axes.group_norm,
    "BatchNormalization": axes.batch_norm,
    "LRN": axes.lrn,
    "LpNormalization": axes.lp_norm,
    "Dropout": axes.dropout,
    "Reshape": shapes.reshape,
    "Flatten": shapes.reshape,
    "Squeeze": shapes.reshape,
    "Unsqueeze": shapes.reshape,
    "Transpose": shapes.transpose,
    "Expand": shapes.expand,
    "Tile": shapes.tile,
    "Concat": shapes.concat,
    "Split": shapes.split,
    "Slice": shapes.sliced,
    "Gather": shapes.gather,
    "GatherElements": shapes.gather_elements,
    "GatherND": shapes.gather_nd,
    "Pad": shapes.pad,
    "DepthToSpace": shapes.depth_to_space,
    "SpaceToDepth": shapes.space_to_depth,
    "OneHot": shapes.one_hot,
    "Trilu": shapes.trilu,
    "EyeLike": shapes.eye_like,
    "Gemm": contractions.gemm,
    "Einsum": contractions.einsum,
    "Conv": contractions.conv,
    "ConvTranspose": contractions.conv_transpose,
    "MaxPool": contractions.pool,
    "AveragePool": contractions.pool,
    "LpPool": contractions.pool,
}
