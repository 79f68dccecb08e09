"""Memory as a Numba type: a pointer whose loads and stores say which others they cannot overlap.

With that said, LLVM runs loops in vectors without comparing addresses first. Buffers that are only read share one alias
scope; each written buffer has its own.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import types
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

BYTE = ir.IntType(8)
WORD = ir.IntType(64)


class Memory(types.Type):
    """Elements of a type in the buffer of a number; `written` are the numbers of all written buffers of the kernel."""

    def __init__(self, dtype, number: int, written: tuple[int, ...]):
        self.dtype = dtype
        self.number = number
        self.written = written
        super().__init__(name=f"Memory({dtype}, {number}, {written})")


@register_model(Memory)
class _MemoryModel(models.PrimitiveModel):
    def __init__(self, manager, memory):
        super().__init__(manager, memory, BYTE.as_pointer())


@infer_global(operator.getitem)
class _Element(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Memory) and isinstance(args[1], types.Integer):
            return signature(args[0].dtype, args[0], types.int64)


@infer_global(operator.setitem)
class _SetElement(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Memory) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.int64, args[0].dtype)


def mark(builder, instruction, memory: Memory) -> None:
    """Says with which other accesses of the kernel this one cannot overlap."""
    module = builder.module
    domain = module.add_metadata(["diffgraph"])

    def scope(name):
        return module.add_metadata([f"diffgraph {name}", domain])

    own = memory.number if memory.number in memory.written else "read"
    others = [scope(n) for n in (*memory.written, "read") if n != own]
    if own == "read":
        others = [scope(n) for n in memory.written]
    instruction.set_metadata("alias.scope", module.add_metadata([scope(own)]))
    if others:
        instruction.set_metadata("noalias", module.add_metadata(others))


def element(context, builder, memory: Memory, base, index, inbounds: bool = True):
    """The address of an element."""
    stored = context.get_data_type(memory.dtype)
    return builder.gep(builder.bitcast(base, stored.as_pointer()), [index], inbounds=inbounds)


@lower_builtin(operator.getitem, Memory, types.Integer)
def _load(context, builder, sig, args):
    memory = sig.args[0]
    loaded = builder.load(element(context, builder, memory, *args))
    mark(builder, loaded, memory)
    return context.data_model_manager[memory.dtype].from_data(builder, loaded)


@lower_builtin(operator.setitem, Memory, types.Integer, types.Any)
def _store(context, builder, sig, args):
    memory = sig.args[0]
    data = context.data_model_manager[memory.dtype].as_data(builder, args[2])
    mark(builder, builder.store(data, element(context, builder, memory, *args[:2])), memory)
    return context.get_dummy_value()


def memory(number: int, dtype, written: tuple[int, ...], each: int = 0):
    """A function of (addresses, slots, thread) that gives the buffer of a number: at addresses[slots[number]], and there
    that of a thread, `each` elements after that of the one before."""
    kind = Memory(dtype, number, tuple(written))

    @intrinsic
    def at(typing_context, addresses, slots, thread):
        def code(context, builder, sig, args):
            slot = builder.load(builder.gep(args[1], [ir.Constant(WORD, number)]))
            first = builder.inttoptr(builder.load(builder.gep(args[0], [slot])), BYTE.as_pointer())
            if not each:
                return first
            own = builder.mul(args[2], ir.Constant(WORD, each * dtype.bitwidth // 8))
            return builder.gep(first, [own], inbounds=True)

        return kind(addresses, slots, types.int64), code

    return at
