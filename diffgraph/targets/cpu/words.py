"""What the emitter knows of the names in `prelude.py`, without loading Numba."""

from __future__ import annotations

from diffgraph.ir.scalar import KERNEL_FUNCTIONS

#: Names that generated kernels use beside their own.
NAMES = frozenset(
    "boolean float32 float64 int64 real memory select quotient maximum minimum checked raised sign_of relu_of rounded"
    " floor_divide remainder whole values_at tile at scalar numbers scratch prefetch math np".split()
) | {f.__name__ for f in KERNEL_FUNCTIONS}

#: Words that do without branches, or that mean what the table means for every kind.
_OF_ANY = {"and": "({0} & {1})", "or": "({0} | {1})", "where": "select({0}, {1}, {2})", "powi": "raised({0}, {1})",
           "sign": "sign_of({0})", "relu": "relu_of({0})"}  # fmt: skip
_OF_FLOATS = {
    "max": "maximum({0}, {1})",
    "min": "minimum({0}, {1})",
    "clamp": "minimum(maximum({0}, {1}), {2})",
    "round": "rounded({0})",
}
_OF_INTS = {
    "max": "max({0}, {1})",
    "min": "min({0}, {1})",
    "floor": "{0}",
    "ceil": "{0}",
    "round": "{0}",
    "floordiv": "floor_divide({0}, {1})",
    "mod": "remainder({0}, {1})",
}

#: Functions of float32 that this target computes in vectors.
VECTOR_FUNCTIONS = "exp expm1 log log1p tanh sigmoid softplus erf sin cos".split()


def text_of(function: str, default: str, precision: str | None) -> str:
    """The words for a scalar function of floats of a precision, or of ints and bools (None)."""
    if function in _OF_ANY:
        return _OF_ANY[function]
    if function == "int":
        return "whole({0})" if precision else default
    if precision == "f32" and function in VECTOR_FUNCTIONS:
        return f"vector_{function}({{0}})"
    return (_OF_FLOATS if precision else _OF_INTS).get(function, default)


#: The functions of a tile's body that are not operators, as methods of `Real` or functions of `functions.py`.
_TILE_WORDS = {
    "sub": "({0} - {1})",
    "div": "({0} / {1})",
    "neg": "(-{0})",
    "stop_gradient": "{0}",
    "eq": "({0} == {1})",
    "ne": "({0} != {1})",
    "lt": "({0} < {1})",
    "le": "({0} <= {1})",
    "gt": "({0} > {1})",
    "ge": "({0} >= {1})",
    "where": "tile_where({0}, {1}, {2})",
    "abs": "abs({0})",
    "relu": "tile_relu({0})",
    "max": "tile_max({0}, {1})",
    "min": "tile_min({0}, {1})",
    "clamp": "tile_min(tile_max({0}, {1}), {2})",
}


def tile_text(function: str, args: list[str]) -> str:
    """The words for a function over `Real`, in the body of a tile."""
    if function in ("add", "mul"):
        return f"({(' + ' if function == 'add' else ' * ').join(args)})"
    if function in ("and", "or"):
        return f"tile_{function}({', '.join(args)})"
    if function == "powi":
        return f"tile_power({args[0]}, {args[1]})"
    return _TILE_WORDS.get(function, f"tile_{function}({{0}})").format(*args)
