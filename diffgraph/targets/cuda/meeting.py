"""Kernels that are one launch: their blocks, and where all blocks meet."""

from __future__ import annotations

import inspect

from llvmlite import ir
from numba import cuda
from numba.cuda import types
from diffgraph.targets.cuda.asynchronous import assembly, barrier_of_block
from diffgraph.targets.cuda.intrinsics import intrinsic

_INT = ir.IntType(32)
_WORD = ir.IntType(64)


@intrinsic
def _near(typing_context, value):
    """An argument, which for the compiler is another in each step: so that what a part computes of it is computed there,
    rather than kept in registers from the first step of a launch to the last."""

    def code(context, builder, sig, args):
        if isinstance(value, types.Integer) and value.bitwidth == 32:
            return assembly(builder, _INT, (_INT,), "mov.u32 $0, $1;", "=r,r", args)
        if not isinstance(value, types.CPointer):
            return args[0]
        word = assembly(builder, _WORD, (_WORD,), "mov.u64 $0, $1;", "=l,l", (builder.ptrtoint(args[0], _WORD),))
        return builder.inttoptr(word, args[0].type)

    return value(value), code


def inlined(function):
    """A part of a kernel: a function that is written out where it is called."""
    names = list(inspect.signature(function).parameters)
    given = ", ".join(f"near({name})" for name in names)
    known = {"near": _near, "run": cuda.jit(device=True, forceinline=True)(function)}
    exec(f"def part({', '.join(names)}):\n    run({given})", known)
    return cuda.jit(device=True, forceinline=True)(known["part"])


def _address(kind):
    """A function that gives the address which a table holds at a place, as one of elements of a type."""

    @intrinsic
    def at(typing_context, table, place):
        def code(context, builder, sig, args):
            word = builder.load(builder.gep(args[0], [args[1]], inbounds=True))
            return builder.inttoptr(word, context.get_data_type(kind).as_pointer())

        return types.CPointer(kind)(table, types.int32), code

    return at


float32_at, float64_at, int64_at, uint8_at = map(_address, (types.float32, types.float64, types.int64, types.uint8))


@intrinsic
def moved(typing_context, buffer, turn, size):
    """A buffer `turn * size` bytes further on."""

    def code(context, builder, sig, args):
        turns, each = (builder.sext(a, _WORD) if a.type.width < 64 else a for a in args[1:])
        word = builder.add(builder.ptrtoint(args[0], _WORD), builder.mul(turns, each))
        return builder.inttoptr(word, args[0].type)

    return buffer(buffer, turn, size), code


@intrinsic
def either(typing_context, turn, even, odd):
    """One buffer in even turns, another in odd ones."""

    def code(context, builder, sig, args):
        bit = builder.trunc(args[0], ir.IntType(1))
        return builder.select(bit, args[2], args[1])

    return even(turn, even, odd), code


@intrinsic
def _arrive(typing_context, meeting, count):
    """Adds to a word what other blocks see after they see it: everything that this block has written. Gives the word
    before."""

    def code(context, builder, sig, args):
        place = builder.ptrtoint(args[0], _WORD)
        text = "atom.add.release.gpu.global.u32 $0, [$1], $2;"
        return assembly(builder, _INT, (_WORD, _INT), text, "=r,l,r,~{memory}", (place, args[1]))

    return types.uint32(meeting, types.uint32), code


@intrinsic
def _seen(typing_context, meeting):
    """The word, after a moment."""

    def code(context, builder, sig, args):
        place = builder.ptrtoint(args[0], _WORD)
        text = "{ nanosleep.u32 20; ld.acquire.gpu.global.u32 $0, [$1]; }"
        return assembly(builder, _INT, (_WORD,), text, "=r,l,~{memory}", (place,))

    return types.uint32(meeting), code


@intrinsic
def _places(typing_context):
    """(thread of the block, block of the grid, blocks of the grid)."""

    def code(context, builder, sig, args):
        shape = ir.FunctionType(_INT, ())
        names = ("tid.x", "ctaid.x", "nctaid.x")
        values = [
            builder.call(builder.module.declare_intrinsic(f"llvm.nvvm.read.ptx.sreg.{n}", (), shape), ()) for n in names
        ]
        return context.make_tuple(builder, sig.return_type, values)

    return types.UniTuple(types.int32, 3)(), code


@cuda.jit(device=True, forceinline=True)
def meet_all(meeting):
    """All threads of all blocks meet: what was written before is seen after. All blocks must be on the device at once.

    The highest bit of the word turns over when the last block arrives, whatever it was before (as in NVIDIA's cooperative
    groups), so that nothing need be set between two meetings.
    """
    thread, block, blocks = _places()
    barrier_of_block()
    if blocks > 1:
        if thread == 0:
            count = types.uint32(0x80000000) - types.uint32(blocks - 1) if block == 0 else types.uint32(1)
            before = _arrive(meeting, types.uint32(count))
            while (types.uint32(_seen(meeting)) ^ before) < types.uint32(0x80000000):
                pass
        barrier_of_block()


@cuda.jit(device=True, forceinline=True)
def first_block(number, count):
    """Where this block begins in the number-th of `count` calls that all blocks do together: each at another one."""
    thread, block, blocks = _places()
    return types.int32((block + blocks - number * blocks // count) % blocks)
