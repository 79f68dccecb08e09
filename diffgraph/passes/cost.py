"""What passes take arithmetic and memory to cost. Only the order of magnitude counts."""

from __future__ import annotations

from functools import lru_cache

from diffgraph.ir.dimension import Size, evaluate, symbols
from diffgraph.ir.expression import Affine, Call, Expr, Read

#: What a scalar function costs beside an addition; those not listed cost 1.
COSTS = {
    "exp": 8, "log": 8, "tanh": 10, "sigmoid": 10, "sin": 10, "cos": 10, "tan": 14, "erf": 12, "pow": 16, "random": 24,
    "normal_quantile": 24, "softplus": 16, "recip": 4, "sqrt": 4, "div": 4, "log1p": 10, "expm1": 10, "powi": 8,
    "log2": 8, "log10": 8, "asin": 12, "acos": 12, "atan": 12, "atan2": 16, "sinh": 14, "cosh": 14,
}  # fmt: skip

#: A symbolic extent counts as this many.
USUAL_EXTENT = 64


def usual(size: Size) -> int:
    """A plain number for a size."""
    return size if isinstance(size, int) else evaluate(size, dict.fromkeys(symbols(size), USUAL_EXTENT))


@lru_cache(maxsize=1 << 14)
def cost(body: Expr) -> int:
    """The arithmetic of a body; places and reads are free."""
    return sum(_price(e) for e in nodes(body) if type(e) is Call)


@lru_cache(maxsize=1 << 14)
def cost_of_each(body: Expr) -> int:
    """The arithmetic that is done for each element: without that of sizes and numbers alone, which is done once."""
    return sum(_price(e) for e in nodes(body) if type(e) is Call and (e.slots or e.indices))


def _price(call: Call) -> int:
    repeated = len(call.args) - 1 if call.function in ("add", "mul", "and", "or") else 1
    return COSTS.get(call.function, 1) * max(1, repeated)


@lru_cache(maxsize=1 << 14)
def nodes(body: Expr) -> tuple[Expr, ...]:
    """Every distinct node that computes a value; what is inside places is left out."""
    seen: dict[Expr, None] = {}
    stack = [body]
    while stack:
        e = stack.pop()
        if e in seen or type(e) is Affine:
            continue
        seen[e] = None
        stack.extend(() if type(e) is Read else e.children)
    return tuple(seen)
