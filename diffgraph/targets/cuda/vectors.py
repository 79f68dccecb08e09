"""Accesses of 128 bits: four neighbours at once."""

from __future__ import annotations

from llvmlite import ir
from numba.cuda import types
from diffgraph.targets.cuda.intrinsics import intrinsic

_FOUR = ir.VectorType(ir.FloatType(), 4)
_INT = ir.IntType(32)


def _at(builder, pointer, index):
    """The address of four floats in global memory."""
    address = builder.addrspacecast(pointer, ir.FloatType().as_pointer(1))
    return builder.bitcast(builder.gep(address, [index], inbounds=True), _FOUR.as_pointer(1))


@intrinsic
def is_aligned(typing_context, memory):
    """Whether memory begins at a multiple of 16 bytes."""

    def code(context, builder, sig, args):
        word = builder.ptrtoint(args[0], ir.IntType(64))
        return builder.icmp_unsigned("==", builder.and_(word, ir.Constant(word.type, 15)), ir.Constant(word.type, 0))

    return types.boolean(memory), code


@intrinsic
def load4(typing_context, memory, index):
    """The float32 elements index ... index + 3; index is a multiple of 4."""

    def code(context, builder, sig, args):
        loaded = builder.load(_at(builder, *args), align=16)
        lanes = [builder.extract_element(loaded, ir.Constant(_INT, n)) for n in range(4)]
        return context.make_tuple(builder, sig.return_type, lanes)

    return types.UniTuple(types.float32, 4)(memory, types.int32), code


@intrinsic
def store4(typing_context, memory, index, a, b, c, d):
    """Sets the float32 elements index ... index + 3; index is a multiple of 4."""

    def code(context, builder, sig, args):
        value = ir.Constant(_FOUR, ir.Undefined)
        for number, lane in enumerate(args[2:]):
            value = builder.insert_element(value, lane, ir.Constant(_INT, number))
        builder.store(value, _at(builder, *args[:2]), align=16)
        return context.get_dummy_value()

    real = types.float32
    return types.void(memory, types.int32, real, real, real, real), code
