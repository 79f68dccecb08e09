"""Kernels that do nothing but reach a limit of the machine: multiply-adds in registers, and a stream through memory."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing import signature
from numba.extending import intrinsic

from diffgraph.targets.cpu.algebra import Real
from diffgraph.targets.cpu.machine import machine
from diffgraph.targets.cpu.native import WORDS
from diffgraph.targets.cpu.prelude import float32, float64, values_at


def chains(precision: str) -> int:
    """How many multiply-adds are under way at once: enough to hide their latency, few enough for the registers."""
    return machine(precision).registers * 3 // 4


def _multiply_adds(precision: str):
    """A function (count, start) that makes count * chains vectors of multiply-adds, none of which waits for another
    chain's; gives a number that depends on all."""
    real = types.float32 if precision == "f32" else types.float64

    @intrinsic
    def function(typing_context, count, start):
        def code(context, builder, sig, args):
            element = ir.FloatType() if precision == "f32" else ir.DoubleType()
            vector = ir.VectorType(element, machine(precision).lanes)
            zero = ir.Constant(ir.IntType(32), 0)
            cells = [cgutils.alloca_once(builder, vector) for _ in range(chains(precision))]
            first = builder.insert_element(ir.Constant(vector, [1.0] * vector.count), args[1], zero)
            for cell in cells:
                builder.store(first, cell)
            with cgutils.for_range(builder, args[0]):
                for cell in cells:
                    known = Real(builder, builder.load(cell))
                    builder.store(known.fma(known.constant(0.999), 0.001).value, cell)
            total = builder.load(cells[0])
            for cell in cells[1:]:
                total = builder.fadd(total, builder.load(cell))
            return builder.extract_element(total, zero)

        return real(types.int64, real), code

    return function


def _arithmetic(precision: str, dtype):
    multiply_adds = _multiply_adds(precision)

    def arithmetic(addresses, slots, sizes, first, last, thread):
        """target[0] = something after sizes[0] rounds of multiply-adds."""
        target = values_at(addresses[slots[0]], dtype)
        target[0] = multiply_adds(sizes[0], target[0])

    return arithmetic


def stream(addresses, slots, sizes, first, last, thread):
    """a[i] = b[i] + 3 * c[i] for floats first .. last. Slots: a, b, c."""
    a = values_at(addresses[slots[0]], float32)
    b = values_at(addresses[slots[1]], float32)
    c = values_at(addresses[slots[2]], float32)
    for i in range(last - first):
        a[first + i] = b[first + i] + float32(3.0) * c[first + i]


_kernel = signature(types.void, WORDS, WORDS, WORDS, types.int64, types.int64, types.int64)

#: Functions by name, with the signature of kernels.
ENTRIES = {
    "arithmetic_f32": (_arithmetic("f32", float32), _kernel),
    "arithmetic_f64": (_arithmetic("f64", float64), _kernel),
    "stream": (stream, _kernel),
}
