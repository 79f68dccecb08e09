"""Shared memory, barriers, and copies from global to shared memory that run beside the arithmetic."""

from __future__ import annotations

from llvmlite import ir
from numba.cuda import types
from diffgraph.targets.cuda.intrinsics import intrinsic, literal_intrinsic

_INT = ir.IntType(32)
_WORD = ir.IntType(64)
_VOID = ir.VoidType()


def assembly(builder, result, kinds, text: str, constraints: str, arguments, convergent: bool = False):
    """A call of inline PTX that may touch memory."""
    code = ir.InlineAsm(ir.FunctionType(result, kinds), text, constraints, side_effect=True)
    return builder.call(code, arguments, attrs=("convergent",) if convergent else ())


def _plain(text: str):
    """An instruction without operands."""

    @intrinsic
    def instruction(typing_context):
        def code(context, builder, sig, args):
            assembly(builder, _VOID, (), text, "~{memory}", ())
            return context.get_dummy_value()

        return types.void(), code

    return instruction


def _meeting(name: str, *arguments):
    """An intrinsic of LLVM that threads meet at."""

    @intrinsic
    def meeting(typing_context):
        def code(context, builder, sig, args):
            given = [ir.Constant(_INT, a) for a in arguments]
            shape = ir.FunctionType(_VOID, [_INT] * len(given))
            function = builder.module.declare_intrinsic(name, (), shape)
            function.attributes.add("convergent")
            builder.call(function, given)
            return context.get_dummy_value()

        return types.void(), code

    return meeting


#: All threads of the block; all lanes of the warp.
barrier_of_block = _meeting("llvm.nvvm.barrier0")
warp_barrier = _meeting("llvm.nvvm.bar.warp.sync", 0xFFFFFFFF)


def barrier_of(count: int):
    """A function at which the first `count` threads of the block meet: those of a kernel that is a part of a larger one
    may be fewer than the block has."""

    @intrinsic
    def meeting(typing_context):
        def code(context, builder, sig, args):
            assembly(builder, _VOID, (), f"bar.sync 1, {count};", "~{memory}", (), convergent=True)
            return context.get_dummy_value()

        return types.void(), code

    return meeting


@literal_intrinsic
def barrier(typing_context, count):
    """The first `count` threads of the block meet."""
    number = count.literal_value

    def code(context, builder, sig, args):
        assembly(builder, _VOID, (), f"bar.sync 1, {number};", "~{memory}", (), convergent=True)
        return context.get_dummy_value()

    return types.void(count), code


#: The copies begun since the last one form a group.
copies_sent = _plain("cp.async.commit_group;")


@literal_intrinsic
def copies_done(typing_context, left):
    """Waits until all but the last so many groups of this thread's copies are there."""
    count = left.literal_value

    def code(context, builder, sig, args):
        assembly(builder, _VOID, (), f"cp.async.wait_group {count};", "~{memory}", ())
        return context.get_dummy_value()

    return types.void(left), code


def _shared(builder, element, offset: int):
    """The address of the block's shared memory, so many bytes behind its start, which is a multiple of 16 bytes. How much
    there is says the launch: the parts of a kernel, and kernels that are parts of one, use it one after the other."""
    module = builder.module
    memory = module.globals.get("shared_memory")
    if memory is None:
        memory = ir.GlobalVariable(module, ir.ArrayType(ir.IntType(8), 0), "shared_memory", addrspace=3)
        memory.linkage = "external"
        memory.align = 16
    first = builder.gep(memory, [ir.Constant(_INT, 0), ir.Constant(_INT, offset)], inbounds=True)
    return builder.addrspacecast(builder.bitcast(first, element.as_pointer(3)), element.as_pointer())


@literal_intrinsic
def shared_memory(typing_context, offset):
    """Shared memory as float32 elements, from so many elements on."""

    def code(context, builder, sig, args):
        return _shared(builder, ir.FloatType(), 4 * offset.literal_value)

    return types.CPointer(types.float32)(offset), code


def shared_array(kind):
    """A function that gives shared memory as elements of a type."""

    @intrinsic
    def array(typing_context):
        def code(context, builder, sig, args):
            return _shared(builder, context.get_data_type(kind), 0)

        return types.CPointer(kind)(), code

    return array


@literal_intrinsic
def copy(typing_context, shared, at, memory, index, count, inside):
    """Begins a copy of `count` (1, 2 or 4) float32 elements from memory[index] to shared[at]; zeros if not `inside`.
    Both places are multiples of `count`."""
    size = 4 * count.literal_value
    how = "cg" if size == 16 else "ca"

    def code(context, builder, sig, args):
        shared, at, memory, index, _, inside = args
        target = builder.gep(shared, [at], inbounds=True)
        target = builder.addrspacecast(target, ir.FloatType().as_pointer(3))
        source = builder.addrspacecast(memory, ir.FloatType().as_pointer(1))
        source = builder.gep(source, [index], inbounds=True)
        given = builder.select(inside, ir.Constant(_INT, size), ir.Constant(_INT, 0))
        arguments = (builder.ptrtoint(target, _INT), builder.ptrtoint(source, _WORD), given)
        text = f"cp.async.{how}.shared.global [$0], [$1], {size}, $2;"
        assembly(builder, _VOID, (_INT, _WORD, _INT), text, "r,l,r,~{memory}", arguments)
        return context.get_dummy_value()

    return types.void(shared, types.int32, memory, types.int32, count, types.boolean), code
