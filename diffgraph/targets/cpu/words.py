"""What the emitter knows of the names in `prelude.py`, without loading Numba."""

from __future__ import annotations

from diffgraph.ir.scalar import KERNEL_FUNCTIONS

#: Names that generated kernels use beside their own.
NAMES = frozenset(
    "boolean float32 float64 int64 real memory select quotient maximum minimum checked math np".split()
) | {f.__name__ for f in KERNEL_FUNCTIONS}

#: Functions for which the words of the table would make branches.
OWN_TEXT = {
    "and": "({0} & {1})",
    "or": "({0} | {1})",
    "where": "select({0}, {1}, {2})",
}

#: Functions of float32 for which this target has a vector version.
FLOAT32_TEXT: dict[str, str] = {}


def text_of(function: str, default: str, precision: str | None) -> str:
    """The words for a scalar function of floats of a precision (None: of something else)."""
    if precision == "f32" and function in FLOAT32_TEXT:
        return FLOAT32_TEXT[function]
    return OWN_TEXT.get(function, default)
