"""The names that generated kernels use: scalar types, memory, and functions that Numba lacks or does badly."""

from __future__ import annotations

import functools
import math

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic

from diffgraph.ir.scalar import KERNEL_FUNCTIONS
from diffgraph.targets.cpu.algebra import Condition, Real
from diffgraph.targets.cpu.functions import FLOAT32, FLOAT64
from diffgraph.targets.cpu.memory import BYTE, element
from diffgraph.targets.cpu.memory import memory as memory
from diffgraph.targets.cpu.tile import at as at
from diffgraph.targets.cpu.tile import numbers as numbers
from diffgraph.targets.cpu.tile import scalar as scalar
from diffgraph.targets.cpu.tile import scratch as scratch
from diffgraph.targets.cpu.tile import tile as tile

boolean = types.boolean
int64 = types.int64
float32 = types.float32
float64 = types.float64

_WORD = ir.IntType(64)


@intrinsic
def select(typing_context, condition, a, b):
    """a if condition else b, without a branch: both have been computed."""
    kind = typing_context.unify_types(a, b)

    def code(context, builder, sig, args):
        return builder.select(*args)

    return kind(types.boolean, kind, kind), code


@intrinsic
def quotient(typing_context, a, b):
    """a // b for a >= 0 and b > 0."""

    def code(context, builder, sig, args):
        return builder.udiv(*args)

    return types.int64(types.int64, types.int64), code


@intrinsic
def prefetch(typing_context, buffer, index):
    """Asks for the line of an element: it should be in the second cache when it is read."""

    def code(context, builder, sig, args):
        word = ir.IntType(32)
        place = builder.bitcast(element(context, builder, buffer, *args, inbounds=False), BYTE.as_pointer())
        shape = ir.FunctionType(ir.VoidType(), (place.type, word, word, word))
        function = builder.module.declare_intrinsic("llvm.prefetch", (place.type,), shape)
        read, second_cache, data = (ir.Constant(word, n) for n in (0, 2, 1))
        builder.call(function, (place, read, second_cache, data))
        return context.get_dummy_value()

    return types.void(buffer, types.int64), code


def _extreme(name: str):
    """llvm.maximum and llvm.minimum: NaN if either is."""

    @intrinsic
    def function(typing_context, a, b):
        kind = typing_context.unify_types(a, b)
        if not isinstance(kind, types.Float):
            return None

        def code(context, builder, sig, args):
            real = args[0].type
            shape = ir.FunctionType(real, (real, real))
            return builder.call(builder.module.declare_intrinsic(f"llvm.{name}", (real,), shape), args)

        return kind(kind, kind), code

    return function


def _of_one_float(formula, kinds=(types.float32, types.float64)):
    """A formula over `Real` as a function of kernels."""

    @intrinsic
    def function(typing_context, x):
        if x not in kinds:
            return None

        def code(context, builder, sig, args):
            return formula(Real(builder, args[0])).value

        return x(x), code

    return function


def _sign(x: Real) -> Real:
    one = x.constant(1.0).with_sign_of(x)
    return x.choose(x == 0.0, x.choose(x != x, one))


rounded = _of_one_float(lambda x: x.intrinsic("rint"))
maximum = _extreme("maximum")
minimum = _extreme("minimum")


@intrinsic
def sign_of(typing_context, x):
    """-1, 0 or 1; NaN for NaN."""

    def code(context, builder, sig, args):
        if isinstance(x, types.Float):
            return _sign(Real(builder, args[0])).value
        zero = ir.Constant(_WORD, 0)
        above = builder.zext(builder.icmp_signed(">", args[0], zero), _WORD)
        return builder.sub(above, builder.zext(builder.icmp_signed("<", args[0], zero), _WORD))

    return x(x), code


@intrinsic
def relu_of(typing_context, x):
    """x where it is not below 0; NaN for NaN."""

    def code(context, builder, sig, args):
        zero = ir.Constant(args[0].type, 0)
        if isinstance(x, types.Float):
            below = builder.fcmp_ordered("<", args[0], zero, flags=("contract",))
        else:
            below = builder.icmp_signed("<", args[0], zero)
        return builder.select(below, zero, args[0])

    return x(x), code


def _floor_parts(builder, a, b):
    """(quotient, remainder) of ints, rounded down, both 0 for a divisor of 0."""
    zero, one = ir.Constant(_WORD, 0), ir.Constant(_WORD, 1)
    by_zero = builder.icmp_signed("==", b, zero)
    divisor = builder.select(by_zero, one, b)
    quotient, rest = builder.sdiv(a, divisor), builder.srem(a, divisor)
    differs = builder.icmp_signed("<", builder.xor(rest, divisor), zero)
    down = builder.and_(builder.icmp_signed("!=", rest, zero), differs)
    quotient = builder.sub(quotient, builder.zext(down, _WORD))
    rest = builder.add(rest, builder.select(down, divisor, zero))
    return builder.select(by_zero, zero, quotient), builder.select(by_zero, zero, rest)


@intrinsic
def floor_divide(typing_context, a, b):
    """a // b of ints."""

    def code(context, builder, sig, args):
        return _floor_parts(builder, *args)[0]

    return types.int64(types.int64, types.int64), code


@intrinsic
def remainder(typing_context, a, b):
    """a % b of ints, with the sign of b."""

    def code(context, builder, sig, args):
        return _floor_parts(builder, *args)[1]

    return types.int64(types.int64, types.int64), code


@intrinsic
def whole(typing_context, x):
    """A float without its fraction, as an int; the least int where it is too large or not a number."""

    def code(context, builder, sig, args):
        if isinstance(x, types.Boolean):
            return builder.zext(args[0], _WORD)
        if isinstance(x, types.Integer):
            return args[0]
        real = Real(builder, args[0])
        fits = abs(real) < 9.2233715e18
        cut = builder.fptosi(args[0], _WORD)
        return builder.select(fits.value, cut, ir.Constant(_WORD, -(2**63)))

    return types.int64(x), code


@intrinsic(prefer_literal=True)
def raised(typing_context, x, n):
    """x to an int power, by repeated multiplication; a negative one is the reciprocal (of ints, towards zero)."""
    known = n.literal_value if isinstance(n, types.IntegerLiteral) else None
    base = types.unliteral(x)

    def code(context, builder, sig, args):
        floating = isinstance(base, types.Float)
        if known is None:
            power = _power_of_unknown(builder, floating, args[0], args[1])
            return _reciprocal_if(builder, floating, power, builder.icmp_signed("<", args[1], ir.Constant(_WORD, 0)))
        power = _power_of_known(builder, floating, args[0], abs(known))
        return _reciprocal_if(builder, floating, power, ir.Constant(ir.IntType(1), 1)) if known < 0 else power

    return base(base, n if known is not None else types.int64), code


def _times(builder, floating: bool, a, b):
    return builder.fmul(a, b, flags=("contract",)) if floating else builder.mul(a, b)


def _power_of_known(builder, floating: bool, x, n: int):
    result = None
    while n:
        if n & 1:
            result = x if result is None else _times(builder, floating, result, x)
        n >>= 1
        x = _times(builder, floating, x, x) if n else x
    return ir.Constant(x.type, 1) if result is None else result


def _power_of_unknown(builder, floating: bool, x, n):
    """Squares once for each binary digit of |n|."""
    zero, one = ir.Constant(_WORD, 0), ir.Constant(_WORD, 1)
    left = builder.select(builder.icmp_signed("<", n, zero), builder.neg(n), n)
    before = builder.block
    loop, done = builder.append_basic_block("power"), builder.append_basic_block("power.done")
    builder.branch(loop)
    builder.position_at_end(loop)
    digits, base, result = (builder.phi(t) for t in (_WORD, x.type, x.type))
    product = _times(builder, floating, result, base)
    odd = builder.icmp_unsigned("!=", builder.and_(digits, one), zero)
    following = builder.select(odd, product, result)
    rest = builder.lshr(digits, one)
    squared = _times(builder, floating, base, base)
    for phi, first, then in ((digits, left, rest), (base, x, squared), (result, ir.Constant(x.type, 1), following)):
        phi.add_incoming(first, before)
        phi.add_incoming(then, loop)
    builder.cbranch(builder.icmp_unsigned("!=", rest, zero), loop, done)
    builder.position_at_end(done)
    return following


def _reciprocal_if(builder, floating: bool, power, condition):
    one = ir.Constant(power.type, 1)
    if floating:
        return builder.select(condition, builder.fdiv(one, power, flags=("contract",)), power)
    alone = builder.icmp_unsigned("<", builder.add(power, one), ir.Constant(power.type, 3))
    kept = builder.select(alone, power, ir.Constant(power.type, 0))
    return builder.select(condition, kept, power)


@intrinsic
def values_at(typing_context, address, dtype):
    """The values of a type at an address."""
    pointer = types.CPointer(dtype.dtype)

    def code(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.int64, dtype), code


@intrinsic
def checked(typing_context, addresses, index, size, buffer):
    """The index if it is inside; otherwise 0, and the number of the buffer goes to the fault cell at addresses[0]."""

    def code(context, builder, sig, args):
        addresses, index, size, buffer = args
        outside = builder.icmp_unsigned(">=", index, size)
        with builder.if_then(outside, likely=False):
            builder.store(buffer, builder.inttoptr(builder.load(addresses), _WORD.as_pointer()))
        return builder.select(outside, ir.Constant(_WORD, 0), index)

    return types.int64(addresses, types.int64, types.int64, types.int64), code


def _compiled(functions) -> dict:
    """Plain Python functions as functions of kernels, each seeing those before it."""
    known: dict = {"math": math, "np": np}
    for function in functions:
        free = dict(function.__globals__)
        compiled = njit(error_model="numpy")(_with_globals(function, free | known))
        known[function.__name__] = compiled
    return {f.__name__: known[f.__name__] for f in functions}


def _with_globals(function, names: dict):
    from types import FunctionType

    return FunctionType(function.__code__, names, function.__name__, function.__defaults__)


def tile_relu(x: Real) -> Real:
    """x where it is not below 0."""
    return x.constant(0.0).choose(x < 0.0, x)


def tile_condition(x: Real | Condition) -> Condition:
    """A condition; a number holds where it is not 0."""
    return x if isinstance(x, Condition) else x != 0.0


def tile_and(*conditions: Real | Condition) -> Condition:
    """All of them."""
    return functools.reduce(Condition.__and__, map(tile_condition, conditions))


def tile_or(*conditions: Real | Condition) -> Condition:
    """Any of them."""
    return functools.reduce(Condition.__or__, map(tile_condition, conditions))


def tile_not(condition: Real | Condition) -> Condition:
    """Where it does not hold."""
    return ~tile_condition(condition)


def tile_where(condition: Real | Condition, a: Real | float, b: Real | float) -> Real:
    """a where the condition holds, else b."""
    holds = tile_condition(condition)
    return (a if isinstance(a, Real) else holds.constant(a)).choose(holds, b)


def tile_float(x: Real | Condition) -> Real:
    """A condition as 1 or 0."""
    return x.real() if isinstance(x, Condition) else x


def tile_max(a: Real | float, b: Real | float) -> Real:
    """The greater one; NaN if either is."""
    return a.intrinsic("maximum", b) if isinstance(a, Real) else b.intrinsic("maximum", a)


def tile_min(a: Real | float, b: Real | float) -> Real:
    """The lesser one; NaN if either is."""
    return a.intrinsic("minimum", b) if isinstance(a, Real) else b.intrinsic("minimum", a)


def tile_power(x: Real, n: int) -> Real:
    """x to an int power that is known."""
    result = x.constant(1.0)
    for digit in bin(abs(n))[2:]:
        result = result * result
        result = result * x if digit == "1" else result
    return 1.0 / result if n < 0 else result


def _tile_function(name: str):
    """A function over vectors: our own for float32, else LLVM's or the C library's, lane by lane."""

    def function(x: Real) -> Real:
        kind = x.type.element if isinstance(x.type, ir.VectorType) else x.type
        if isinstance(kind, ir.FloatType):
            return FLOAT32[name](x)
        return FLOAT64[name](x)

    return function


globals().update({f"tile_{name}": _tile_function(name) for name in FLOAT32})
globals().update({f"vector_{name}": _of_one_float(f, (types.float32,)) for name, f in FLOAT32.items()})
globals().update(_compiled(KERNEL_FUNCTIONS))
