"""The scalar functions: one row each, with everything the system knows of a function.

A new function is a new row here and nothing else: its value with NumPy, its derivative, the kind of its result, how it
is written in `.net`, and its text for each target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diffgraph.ir.expression import Call, Expr


@dataclass(frozen=True)
class ScalarFunction:
    """A row.

    arity: number of arguments, None for any (`add`, `mul`, `and`, `or`, `random`).
    kind: `same` (float if any argument is, else int; bools count as ints), `float`, `int`, or `bool`.
    derivative: given the call itself, the partial derivative by each argument, None where there is none.
    numpy: the value on arrays, vectorised, exact in float64, quiet about overflow.
    cpu: text of the value for a Numba CPU kernel, a format string over the arguments `{0}`, `{1}`, ...
    cuda: likewise for Numba CUDA; None where it is the same.
    net: how it prints in `.net` over printed arguments; None for `name(arguments)`.
    """

    name: str
    arity: int | None
    kind: str
    numpy: Callable
    derivative: Callable[[Call], tuple[Expr | None, ...]] | None
    cpu: str
    cuda: str | None = None
    net: str | None = None
