"""Intrinsics of the dispatcher: calls through pointers, atomic words, copies of memory."""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

WORD = ir.IntType(64)
BYTE = ir.IntType(8)
WORDS = types.CPointer(types.int64)


@intrinsic
def call_kernel(typing_context, function, addresses, slots, sizes, first, last, thread):
    """Calls the kernel at an address; slots and sizes are addresses of tables, `thread` is the number of the caller."""

    def code(context, builder, sig, args):
        pointer = WORD.as_pointer()
        shape = ir.FunctionType(ir.VoidType(), (pointer, pointer, pointer, WORD, WORD, WORD))
        function, addresses, slots, sizes, first, last, thread = args
        tables = (addresses, builder.inttoptr(slots, pointer), builder.inttoptr(sizes, pointer))
        builder.call(builder.inttoptr(function, shape.as_pointer()), (*tables, first, last, thread))
        return context.get_dummy_value()

    word = types.int64
    return types.void(word, WORDS, word, word, word, word, word), code


@intrinsic
def copy_bytes(typing_context, target, source, count):
    """Copies bytes between addresses that do not overlap."""

    def code(context, builder, sig, args):
        pointer = BYTE.as_pointer()
        shape = ir.FunctionType(ir.VoidType(), (pointer, pointer, WORD, ir.IntType(1)))
        copy = builder.module.declare_intrinsic("llvm.memcpy", (pointer, pointer, WORD), shape)
        target, source = (builder.inttoptr(a, pointer) for a in args[:2])
        builder.call(copy, (target, source, args[2], ir.Constant(ir.IntType(1), 0)))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@intrinsic
def words_at(typing_context, address):
    """The int64 words at an address."""

    def code(context, builder, sig, args):
        return builder.inttoptr(args[0], WORD.as_pointer())

    return WORDS(types.int64), code


@intrinsic
def atomic_add(typing_context, words, index, value):
    """words[index] += value, seen by every thread."""

    def code(context, builder, sig, args):
        builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), args[2], "seq_cst")
        return context.get_dummy_value()

    return types.void(WORDS, types.int64, types.int64), code


@intrinsic
def atomic_load(typing_context, words, index):
    """words[index], as the last thread left it."""

    def code(context, builder, sig, args):
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "seq_cst", 8, typ=WORD)

    return types.int64(WORDS, types.int64), code


@intrinsic
def atomic_store(typing_context, words, index, value):
    """words[index] = value, seen by every thread."""

    def code(context, builder, sig, args):
        builder.store_atomic(args[2], builder.gep(args[0], [args[1]]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(WORDS, types.int64, types.int64), code


@intrinsic
def relax(typing_context):
    """Tells the processor that this is a loop that waits."""

    def code(context, builder, sig, args):
        if "x86" in str(builder.module.triple):
            shape = ir.FunctionType(ir.VoidType(), ())
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), shape), ())
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def clock(typing_context):
    """A count that goes on evenly with time, in units of the processor's own."""

    def code(context, builder, sig, args):
        shape = ir.FunctionType(WORD, ())
        counter = "readcyclecounter" if "x86" in str(builder.module.triple) else "readsteadycounter"
        return builder.call(builder.module.declare_intrinsic(f"llvm.{counter}", (), shape), ())

    return types.int64(), code


@intrinsic
def give_way(typing_context):
    """Lets another thread of the machine run."""

    def code(context, builder, sig, args):
        shape = ir.FunctionType(ir.IntType(32), ())
        found = builder.module.globals.get("sched_yield") or ir.Function(builder.module, shape, "sched_yield")
        builder.call(found, ())
        return context.get_dummy_value()

    return types.void(), code


#: Of the control word of x86: results, and operands, that are subnormal count as 0. Of the one of Arm: both.
FLUSH_X86, FLUSH_ARM = 0x8040, 1 << 24


@intrinsic
def flush_subnormals(typing_context):
    """From now on this thread takes floats that are too small to be normal as 0. Gives what `restore_floats` wants."""

    def code(context, builder, sig, args):
        before = _float_mode(builder)
        if before is None:
            return WORD(0)
        bits = FLUSH_X86 if "x86" in str(builder.module.triple) else FLUSH_ARM
        _set_float_mode(builder, builder.or_(before, WORD(bits)))
        return before

    return types.int64(), code


@intrinsic
def restore_floats(typing_context, mode):
    """Takes floats as before `flush_subnormals`."""

    def code(context, builder, sig, args):
        if _float_mode(builder) is not None:
            _set_float_mode(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), code


def _float_mode(builder):
    """The control word of the processor's float unit; None on processors where it is not known."""
    triple = str(builder.module.triple)
    if "x86" in triple:
        cell = builder.alloca(ir.IntType(32))
        shape = ir.FunctionType(ir.VoidType(), (BYTE.as_pointer(),))
        store = builder.module.declare_intrinsic("llvm.x86.sse.stmxcsr", (), shape)
        builder.call(store, (builder.bitcast(cell, BYTE.as_pointer()),))
        return builder.zext(builder.load(cell), WORD)
    if "aarch64" in triple or "arm64" in triple:
        return builder.call(builder.module.declare_intrinsic("llvm.aarch64.get.fpcr", (), ir.FunctionType(WORD, ())), ())
    return None


def _set_float_mode(builder, mode) -> None:
    if "x86" in str(builder.module.triple):
        cell = builder.alloca(ir.IntType(32))
        builder.store(builder.trunc(mode, ir.IntType(32)), cell)
        shape = ir.FunctionType(ir.VoidType(), (BYTE.as_pointer(),))
        load = builder.module.declare_intrinsic("llvm.x86.sse.ldmxcsr", (), shape)
        builder.call(load, (builder.bitcast(cell, BYTE.as_pointer()),))
    else:
        shape = ir.FunctionType(ir.VoidType(), (WORD,))
        builder.call(builder.module.declare_intrinsic("llvm.aarch64.set.fpcr", (), shape), (mode,))
