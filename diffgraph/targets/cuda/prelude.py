"""The names that generated CUDA kernels use: types, places of threads, and functions that Numba lacks or does badly."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap

import numpy as np
from llvmlite import ir
from numba import cuda
from numba.cuda import libdevice as libdevice
from numba.cuda import types
from diffgraph.targets.cuda.intrinsics import intrinsic, literal_intrinsic

from diffgraph.ir import special
from diffgraph.ir.scalar import KERNEL_FUNCTIONS
from diffgraph.targets.cuda.asynchronous import assembly
from diffgraph.targets.cuda.asynchronous import barrier as barrier
from diffgraph.targets.cuda.asynchronous import barrier_of_block as barrier_of_block
from diffgraph.targets.cuda.asynchronous import copies_done as copies_done
from diffgraph.targets.cuda.asynchronous import copies_sent as copies_sent
from diffgraph.targets.cuda.asynchronous import copy as copy
from diffgraph.targets.cuda.asynchronous import shared_memory as shared_memory
from diffgraph.targets.cuda.meeting import either as either
from diffgraph.targets.cuda.meeting import first_block as first_block
from diffgraph.targets.cuda.meeting import float32_at as float32_at
from diffgraph.targets.cuda.meeting import float64_at as float64_at
from diffgraph.targets.cuda.meeting import int64_at as int64_at
from diffgraph.targets.cuda.meeting import uint8_at as uint8_at
from diffgraph.targets.cuda.meeting import inlined as inlined
from diffgraph.targets.cuda.meeting import meet_all as meet_all
from diffgraph.targets.cuda.meeting import moved as moved
from diffgraph.targets.cuda.products import cores as cores
from diffgraph.targets.cuda.products import products as products
from diffgraph.targets.cuda.reductions import first_extreme as first_extreme
from diffgraph.targets.cuda.reductions import reduction as reduction
from diffgraph.targets.cuda.reductions import team_barrier as team_barrier
from diffgraph.targets.cuda.vectors import is_aligned as is_aligned
from diffgraph.targets.cuda.vectors import load4 as load4
from diffgraph.targets.cuda.vectors import store4 as store4

boolean = types.boolean
int32 = types.int32
int64 = types.int64
uint8 = types.uint8
float32 = types.float32
float64 = types.float64

_INT = ir.IntType(32)
_WORD = ir.IntType(64)


def _special(name: str):
    """A register of the thread, as int32."""

    @intrinsic
    def read(typing_context):
        def code(context, builder, sig, args):
            shape = ir.FunctionType(_INT, ())
            return builder.call(builder.module.declare_intrinsic(f"llvm.nvvm.read.ptx.sreg.{name}", (), shape), ())

        return types.int32(), code

    return read


@intrinsic
def thread_of_block(typing_context):
    """The number of this thread in its block, read where it stands: what follows from it is not kept from step to step of a
    launch that makes many."""

    def code(context, builder, sig, args):
        return assembly(builder, _INT, (), "mov.u32 $0, %tid.x;", "=r", ())

    return types.int32(), code


block_of_grid = _special("ctaid.x")


blocks_of_grid = _special("nctaid.x")


@intrinsic
def select(typing_context, condition, a, b):
    """a if condition else b, without a branch: both have been computed."""
    kind = typing_context.unify_types(types.unliteral(a), types.unliteral(b))

    def code(context, builder, sig, args):
        return builder.select(*args)

    return kind(types.boolean, kind, kind), code


def _narrow(*kinds) -> bool:
    """Whether ints can be computed in 32 bits: one is of 32 bits, and none is wider but a literal."""
    return any(k == types.int32 for k in kinds) and all(
        k == types.int32 or isinstance(k, types.IntegerLiteral) for k in kinds
    )


def _of_ints(make, of_three: bool = False):
    """An intrinsic of ints that is computed in 32 bits where its arguments allow it."""

    def typed(kinds):
        kind = types.int32 if _narrow(*kinds) else types.int64

        def code(context, builder, sig, args):
            return make(builder, *args)

        return kind(*(kind,) * len(kinds)), code

    if of_three:

        @literal_intrinsic
        def three(typing_context, a, b, c):
            return typed((a, b, c))

        return three

    @literal_intrinsic
    def two(typing_context, a, b):
        return typed((a, b))

    return two


def _floor_parts(builder, a, b):
    """(quotient, remainder) of ints, rounded down, both 0 for a divisor of 0."""
    zero, one = ir.Constant(a.type, 0), ir.Constant(a.type, 1)
    by_zero = builder.icmp_signed("==", b, zero)
    divisor = builder.select(by_zero, one, b)
    quotient, rest = builder.sdiv(a, divisor), builder.srem(a, divisor)
    differs = builder.icmp_signed("<", builder.xor(rest, divisor), zero)
    down = builder.and_(builder.icmp_signed("!=", rest, zero), differs)
    quotient = builder.sub(quotient, builder.zext(down, a.type))
    rest = builder.add(rest, builder.select(down, divisor, zero))
    return builder.select(by_zero, zero, quotient), builder.select(by_zero, zero, rest)


def _clamped(builder, x, low, high):
    x = builder.select(builder.icmp_signed("<", x, low), low, x)
    return builder.select(builder.icmp_signed(">", x, high), high, x)


#: a // b for a >= 0 and b > 0; a // b and a % b rounded down; ints within bounds.
quotient = _of_ints(lambda builder, a, b: builder.udiv(a, b))
floor_divide = _of_ints(lambda builder, a, b: _floor_parts(builder, a, b)[0])
remainder = _of_ints(lambda builder, a, b: _floor_parts(builder, a, b)[1])
within = _of_ints(_clamped, of_three=True)


def _extreme(sign: str):
    """The larger or smaller of two floats; NaN if either is."""

    @intrinsic
    def function(typing_context, a, b):
        kind = typing_context.unify_types(a, b)
        if not isinstance(kind, types.Float):
            return None

        def code(context, builder, sig, args):
            a, b = args
            better = builder.or_(builder.fcmp_ordered(sign, a, b), builder.fcmp_unordered("uno", a, a))
            return builder.select(better, a, b)

        return kind(kind, kind), code

    return function


maximum = _extreme(">")
minimum = _extreme("<")


@intrinsic
def sign_of(typing_context, x):
    """-1, 0 or 1; NaN for NaN."""

    def code(context, builder, sig, args):
        value = args[0]
        zero = ir.Constant(value.type, 0)
        if isinstance(x, types.Float):
            above, below = builder.fcmp_ordered(">", value, zero), builder.fcmp_ordered("<", value, zero)
            one, less = ir.Constant(value.type, 1.0), ir.Constant(value.type, -1.0)
            unordered = builder.fcmp_unordered("uno", value, value)
            return builder.select(unordered, value, builder.select(above, one, builder.select(below, less, zero)))
        above = builder.zext(builder.icmp_signed(">", value, zero), value.type)
        return builder.sub(above, builder.zext(builder.icmp_signed("<", value, zero), value.type))

    return x(x), code


@intrinsic
def relu_of(typing_context, x):
    """x where it is not below 0; NaN for NaN."""

    def code(context, builder, sig, args):
        zero = ir.Constant(args[0].type, 0)
        less = builder.fcmp_ordered if isinstance(x, types.Float) else builder.icmp_signed
        return builder.select(less("<", args[0], zero), zero, args[0])

    return x(x), code


@intrinsic
def whole(typing_context, x):
    """A float without its fraction, as an int; the least int where it is too large or not a number."""

    def code(context, builder, sig, args):
        if isinstance(x, types.Boolean):
            return builder.zext(args[0], _WORD)
        if isinstance(x, types.Integer):
            return builder.sext(args[0], _WORD) if x.bitwidth < 64 else args[0]
        most, least = (ir.Constant(args[0].type, sign * 9.2233715e18) for sign in (1, -1))
        fits = builder.and_(builder.fcmp_ordered("<", args[0], most), builder.fcmp_ordered(">", args[0], least))
        return builder.select(fits, builder.fptosi(args[0], _WORD), ir.Constant(_WORD, -(2**63)))

    return types.int64(x), code


@literal_intrinsic
def raised(typing_context, x, n):
    """x to an int power that is known, by repeated multiplication; a negative one is the reciprocal (of ints, towards zero)."""
    if not isinstance(n, types.IntegerLiteral):
        return None
    power, base = n.literal_value, types.unliteral(x)
    floating = isinstance(base, types.Float)

    def code(context, builder, sig, args):
        times = builder.fmul if floating else builder.mul
        result, square, left = None, args[0], abs(power)
        while left:
            if left & 1:
                result = square if result is None else times(result, square)
            left >>= 1
            square = times(square, square) if left else square
        result = ir.Constant(args[0].type, 1) if result is None else result
        return result if power >= 0 else _reciprocal(builder, floating, result)

    return base(base, n), code


def _reciprocal(builder, floating: bool, value):
    """1 / value; of ints towards zero."""
    one = ir.Constant(value.type, 1)
    if floating:
        return builder.fdiv(one, value)
    alone = builder.icmp_unsigned("<", builder.add(value, one), ir.Constant(one.type, 3))
    return builder.select(alone, value, ir.Constant(one.type, 0))


@intrinsic
def _one_like(typing_context, x):
    """1 of the type of x."""
    return x(x), lambda context, builder, sig, args: ir.Constant(args[0].type, 1)


@intrinsic
def _inverse(typing_context, x):
    """1 / x; of ints towards zero."""

    def code(context, builder, sig, args):
        return _reciprocal(builder, isinstance(x, types.Float), args[0])

    return x(x), code


@cuda.jit(device=True)
def raised_to(x, n):
    """x to an int power that is computed, by repeated multiplication; a negative one is the reciprocal."""
    result = _one_like(x)
    left = abs(n)
    while left:
        if left & 1:
            result = result * x
        x = x * x
        left >>= 1
    return result if n >= 0 else _inverse(result)


class _Single(ast.NodeTransformer):
    """Numbers that are written out as float32, so that nothing is computed in float64; ints too where all are floats."""

    def __init__(self, of_floats: bool):
        self.kinds = (int, float) if of_floats else (float,)

    def visit_Constant(self, node):
        return self._cast(node) if type(node.value) in self.kinds else node

    def visit_Attribute(self, node):
        return self._cast(node) if node.attr in ("inf", "nan") else node

    @staticmethod
    def _cast(node):
        return ast.copy_location(ast.Call(ast.Name("float32", ast.Load()), [node], []), node)


def _compiled(functions, single: bool) -> dict:
    """Plain Python functions as functions of kernels, each seeing those before it; in float32 if `single`."""
    known: dict = {"math": math, "np": np, "float32": types.float32, "min": min, "abs": abs}
    for function in functions:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        if single:
            tree = ast.fix_missing_locations(_Single(function.__module__ == special.__name__).visit(tree))
        exec(compile(tree, inspect.getsourcefile(function), "exec"), known)
        known[function.__name__] = cuda.jit(device=True)(known[function.__name__])
    return {f.__name__: known[f.__name__] for f in functions}


# The functions of the scalar table that are plain Python, in each precision.
globals().update({f"single_{name}": f for name, f in _compiled(KERNEL_FUNCTIONS, True).items()})
globals().update({f"double_{name}": f for name, f in _compiled(KERNEL_FUNCTIONS, False).items()})


@cuda.jit(device=True)
def single_draw(seed, step, site, element):
    """`draw` in float32, which holds each of its values exactly."""
    bits = single_drawn_bits(seed, step, site, element)  # noqa: F821
    return (float32(np.uint32(bits)) * float32(2) + float32(1)) * float32(2.0**-24)
