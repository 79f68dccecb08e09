"""A simplified body taken apart, as the passes look at it."""

from __future__ import annotations

from diffgraph.ir.expression import Call, Expr
from diffgraph.ir.numbers import is_zero


def conditions_and_factors(body: Expr) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """A body taken apart: it is the product of the factors where all conditions hold, and 0 elsewhere."""
    conditions: tuple[Expr, ...] = ()
    if type(body) is Call and body.function == "where" and is_zero(body.args[2]):
        condition, body, _ = body.args
        together = type(condition) is Call and condition.function == "and"
        conditions = condition.args if together else (condition,)
    return conditions, body.args if type(body) is Call and body.function == "mul" else (body,)
