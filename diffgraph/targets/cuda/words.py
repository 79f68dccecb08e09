"""What the emitter knows of the names in `prelude.py`, without loading Numba."""

from __future__ import annotations

import re

from diffgraph.ir.scalar import KERNEL_FUNCTIONS

#: Names that generated kernels use beside their own.
NAMES = frozenset(
    "boolean float32 float64 int32 int64 uint8 real select quotient maximum minimum sign_of relu_of floor_divide remainder"
    " within whole raised raised_to libdevice math np thread_of_block block_of_grid blocks_of_grid first_block meet_all moved either inlined"
    " float32_at float64_at int64_at uint8_at table word barrier barrier_of_block meeting"
    " steps run block"
    " reduction first_extreme team_barrier is_aligned load4 store4 shared_memory copy copies_sent copies_done products"
    " cores unit lane fours"
    " member alive left right stage sums part step range min max abs thread first_column first_row rest first turn following"
    " begin end element place at inside line row column kernel".split()
) | {f"{precision}_{f.__name__}" for precision in ("single", "double") for f in KERNEL_FUNCTIONS}

#: Words that do without branches, or that mean what the table means for every kind.
_OF_ANY = {"and": "({0} & {1})", "or": "({0} | {1})", "where": "select({0}, {1}, {2})", "sign": "sign_of({0})",
           "relu": "relu_of({0})"}  # fmt: skip
_OF_FLOATS = {
    "max": "maximum({0}, {1})",
    "min": "minimum({0}, {1})",
    "clamp": "minimum(maximum({0}, {1}), {2})",
    "log2": "math.log2({0})",
}
_OF_INTS = {
    "max": "max({0}, {1})",
    "min": "min({0}, {1})",
    "clamp": "within({0}, {1}, {2})",
    "floor": "{0}",
    "ceil": "{0}",
    "round": "{0}",
    "floordiv": "floor_divide({0}, {1})",
    "mod": "remainder({0}, {1})",
}
_OF_FLOAT32 = {
    "floor": "libdevice.floorf({0})",
    "ceil": "libdevice.ceilf({0})",
    "round": "libdevice.rintf({0})",
    "softplus": "(maximum({0}, float32(0)) + math.log1p(math.exp(-abs({0}))))",
    "floordiv": "libdevice.floorf({0} / {1})",
    "mod": "({0} - libdevice.floorf({0} / {1}) * {1})",
}
_OF_FLOAT64 = {
    "floor": "libdevice.floor({0})",
    "ceil": "libdevice.ceil({0})",
    "round": "libdevice.rint({0})",
    "softplus": "(maximum({0}, float64(0)) + math.log1p(math.exp(-abs({0}))))",
    "floordiv": "libdevice.floor({0} / {1})",
    "mod": "({0} - libdevice.floor({0} / {1}) * {1})",
}


#: A call of a function that is compiled for either precision.
_KERNEL_FUNCTION = re.compile(rf"\b({'|'.join(f.__name__ for f in KERNEL_FUNCTIONS)})(?=\()")


def text_of(function: str, default: str, precision: str | None, result: str) -> str:
    """The words for a scalar function of floats of a precision, or of ints and bools (None). `result`: the precision of
    the kernel."""
    if function in _OF_ANY:
        return _OF_ANY[function]
    if function == "int":
        return "whole({0})" if precision else default
    if precision == "f32" and function in _OF_FLOAT32:
        return _OF_FLOAT32[function]
    if precision == "f64" and function in _OF_FLOAT64:
        return _OF_FLOAT64[function]
    own = _KERNEL_FUNCTION.sub(rf"{'single' if result == 'f32' else 'double'}_\1", default)
    if own != default:
        return own
    return (_OF_FLOATS if precision else _OF_INTS).get(function, default)
