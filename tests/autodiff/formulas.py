"""A reader of formulas for tests that must not depend on the language: index notation in Python's own syntax.

    let(builder, "y[n, u] = sum[d](w[u, d] * x[n, d])")
    let(builder, "y[n, i] = max[p](x[n, i + p - 1] or -inf)", i=4, p=3)      (x or v): the value outside

An index without a given extent has that of the first axis it stands alone in. An index as a value is a float.
"""

from __future__ import annotations

import ast
import math
from fractions import Fraction

from diffgraph.ir.affine import affine, as_affine, divide
from diffgraph.ir.canonical import canonical
from diffgraph.ir.expression import Affine, Const, Expr, Extent, Index, Read
from diffgraph.ir.form import OPS, Form
from diffgraph.ir.program import Builder
from diffgraph.ir.scalar import FUNCTIONS, kind_of
from diffgraph.ir.simplify import call, conjunction, mul, where

_COMPARE = {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne"}
_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.FloorDiv: "floordiv", ast.Mod: "mod"}


def let(builder: Builder, text: str, **extents) -> str:
    """Defines a tensor; its name."""
    statement = ast.parse(text.strip()).body[0]
    return _Formula(builder, extents).define(statement.targets[0], statement.value)


class _Formula:
    def __init__(self, builder: Builder, extents):
        self.builder = builder
        self.extents = dict(extents)
        self.axes: dict[str, int] = {}
        self.operands: list[str] = []

    def define(self, target, value) -> str:
        name, subscripts = _access(target)
        self._infer(value)
        written = [s.id for s in subscripts]
        op, reduced, body = _reduction(value) or ("sum", [], value)
        for index in (*written, *reduced):
            self.axes[index] = len(self.axes)
        expr = self.expr(body)
        domain = tuple(self.extents[i] for i in self.axes)
        if op == "mean":
            op = "sum"
            expr = mul(expr, *(call("recip", _size(self.extents[i])) for i in reduced))
        shape = tuple(self.extents[i] for i in written)
        write = tuple(self.place(s) for s in subscripts)
        operands = tuple(self.builder.tensors[o].operand for o in self.operands)
        form, kept = canonical(Form(domain, op, write, shape, operands, expr))
        kind = "int" if op.startswith("arg") else kind_of(expr, [o.kind for o in operands])
        return self.builder.define(name, (form, tuple(self.operands[k] for k in kept)), kind=kind).name

    def _infer(self, value) -> None:
        for node in ast.walk(value):
            if isinstance(node, ast.Subscript) and getattr(node.value, "id", None) in self.builder.tensors:
                name, subscripts = _access(node)
                for subscript, extent in zip(subscripts, self.builder.tensors[name].shape):
                    if isinstance(subscript, ast.Name):
                        self.extents.setdefault(subscript.id, extent)

    def place(self, node) -> Affine:
        return as_affine(self.expr(node))

    def expr(self, node) -> Expr:
        match node:
            case ast.Constant(value=value):
                return Const(value)
            case ast.Name(id="inf"):
                return Const(math.inf)
            case ast.Name(id=name):
                return affine(0, [(Index(self.axes[name]), 1)]) if name in self.axes else self.read(node, None)
            case ast.UnaryOp(op=ast.USub()):
                return self.times(Const(-1), self.expr(node.operand))
            case ast.UnaryOp(op=ast.Not()):
                return call("not", self.expr(node.operand))
            case ast.BinOp(op=ast.Pow()):
                name = "powi" if isinstance(node.right, ast.Constant) and isinstance(node.right.value, int) else "pow"
                return call(name, self.expr(node.left), self.expr(node.right))
            case ast.BinOp():
                return self.binary(_BINARY[type(node.op)], self.expr(node.left), self.expr(node.right))
            case ast.BoolOp(op=ast.Or(), values=[ast.Subscript() as access, otherwise]):
                return self.read(access, self.expr(otherwise))
            case ast.BoolOp(op=ast.And()):
                return conjunction(*(self.expr(v) for v in node.values))
            case ast.Compare():
                return call(_COMPARE[type(node.ops[0])], self.expr(node.left), self.expr(node.comparators[0]))
            case ast.IfExp():
                return where(self.expr(node.test), self.expr(node.body), self.expr(node.orelse))
            case ast.Subscript():
                return self.read(node, None)
            case ast.Call() if _reduction(node):
                return self.nested(node)
            case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS:
                return call(name, *(self.expr(a) for a in node.args))
        raise SyntaxError(ast.unparse(node))

    def times(self, constant: Const, value: Expr) -> Expr:
        return affine(0, [(value, constant.value)]) if isinstance(value, Affine) else call("mul", constant, value)

    def binary(self, name: str, a: Expr, b: Expr) -> Expr:
        whole = all(isinstance(x, Affine) or isinstance(x, Const) and isinstance(x.value, int) for x in (a, b))
        if not whole:
            return call(name, a, b)
        if name == "add":
            return affine(0, [(a, 1), (b, 1)])
        if name == "sub":
            return affine(0, [(a, 1), (b, -1)])
        if name == "mul" and isinstance(a, Const):
            return self.times(a, b)
        if name == "mul" and isinstance(b, Const):
            return self.times(b, a)
        if name in ("floordiv", "mod"):
            return divide(as_affine(a), b.value, tuple(self.extents[i] for i in self.axes), name)
        return call(name, a, b)

    def read(self, node, otherwise: Expr | None) -> Read:
        name, subscripts = _access(node)
        if name not in self.operands:
            self.operands.append(name)
        place = tuple(self.place(s) for s in subscripts)
        return Read(self.operands.index(name), place, otherwise)

    def nested(self, node) -> Expr:
        _, bound, _ = _reduction(node)
        used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        free = [i for i in self.axes if i in used and i not in bound]
        target = f"part[{', '.join(free)}]" if free else "part"
        inner = _Formula(self.builder, self.extents)
        made = inner.define(ast.parse(target).body[0].value, node)
        self.extents |= {k: v for k, v in inner.extents.items() if k not in bound}
        return self.read(ast.parse(target.replace("part", made)).body[0].value, None)


def _size(extent) -> Expr:
    return Const(Fraction(extent)) if isinstance(extent, int) else Extent(extent)


def _access(node) -> tuple[str, list]:
    if isinstance(node, ast.Name):
        return node.id, []
    subscripts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return node.value.id, subscripts


def _reduction(node):
    """(op, index names, body) of `sum[i, j](body)`, or None."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript):
        op, indices = _access(node.func)
        if op in (*OPS, "mean"):
            return op, [i.id for i in indices], node.args[0]
    return None
