"""The names that generated kernels use: scalar types, memory, and functions that Numba lacks or does badly."""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic

from diffgraph.ir.scalar import KERNEL_FUNCTIONS
from diffgraph.targets.cpu.memory import memory

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


maximum = _extreme("maximum")
minimum = _extreme("minimum")


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


globals().update(_compiled(KERNEL_FUNCTIONS))
