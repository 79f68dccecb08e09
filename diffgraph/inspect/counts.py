"""What a program costs, counted from its forms: multiply-adds, bytes moved, floating-point operations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from diffgraph.ir.dimension import Size, product, substitute
from diffgraph.ir.expression import Call, Expr
from diffgraph.ir.form import Form
from diffgraph.ir.program import Definition, Program, Scan, Statement

#: Bytes of an element by kind; `float` depends on the precision.
ITEM_BYTES = {"int": 8, "bool": 1}


def multiply_adds(statement: Statement) -> Size:
    """Multiply-adds of the sums of products in a statement, the usual measure (`MACs`) of a layer.

    A term counts its whole domain when it sums products of two tensors; pointwise work and plain sums count nothing."""
    if isinstance(statement, Scan):
        total: Size = 0
        for inner in statement.body.statements:
            total = total + multiply_adds(inner)
        return total * statement.length
    if not isinstance(statement, Definition):
        return 0
    total = 0
    for term in statement.terms:
        if _sums_products(term.form):
            total = total + product(term.form.domain)
    return total


@lru_cache(maxsize=None)
def _sums_products(form: Form) -> bool:
    if form.op != "sum" or (not form.reduced and form.is_projection):
        return False
    factors = _factors(form.body)
    return sum(1 for f in factors if f.slots) >= 2


def _factors(body: Expr) -> tuple[Expr, ...]:
    """The factors of a product, looked for under a guard."""
    if type(body) is Call and body.function == "where":
        return _factors(body.args[1])
    if type(body) is Call and body.function in ("mul", "div"):
        return tuple(f for a in body.args for f in _factors(a))
    return (body,)


def macs(program: Program, sizes: Mapping[str, Size]) -> Size:
    """Multiply-adds of a whole program; symbols take the given sizes (the batch is usually 1)."""
    total: Size = 0
    for statement in program.statements:
        total = total + multiply_adds(statement)
    return substitute(total, sizes)


def traffic(program: Program, sizes: Mapping[str, Size], precision: str = "f32") -> Size:
    """Bytes that a program must move through memory whatever it does between: what it is given, read once, and what it
    gives and commits, written once."""
    given = [i.tensor for i in program.inputs if i.table is None]
    made = [program.tensors[name] for name in dict.fromkeys(program.roots)]
    total: Size = 0
    for tensor in (*given, *made):
        total = total + tensor_bytes(tensor.shape, tensor.kind, precision)
    return substitute(total, sizes)


def tensor_bytes(shape: tuple[Size, ...], kind: str, precision: str = "f32") -> Size:
    """Bytes that a tensor takes."""
    item = ITEM_BYTES.get(kind) or (8 if precision == "f64" else 4)
    return product(shape) * item
