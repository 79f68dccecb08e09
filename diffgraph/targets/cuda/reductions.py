"""Threads that reduce together: within a warp by shuffles, beyond it through shared memory.

A team of threads works on one unit. `along`: its threads are neighbours (they walk what is contiguous); otherwise the
threads of a warp belong to different teams, and those of one team stand `members` apart. Every thread gets the result,
and the tree of every sum is fixed. All of them begin with a barrier, so that they may use one place of shared memory.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import cuda
from numba.cuda import types
from diffgraph.targets.cuda.asynchronous import barrier_of, shared_array, warp_barrier
from diffgraph.targets.cuda.intrinsics import intrinsic

_INT = ir.IntType(32)
_EVERYONE = 0xFFFFFFFF


def _shuffled(builder, value, distance: int):
    """The value of the lane whose number differs in one bit."""
    module, kind = builder.module, value.type
    if isinstance(kind, ir.FloatType):
        bits = builder.bitcast(value, _INT)
        return builder.bitcast(_shuffled(builder, bits, distance), kind)
    if isinstance(kind, ir.DoubleType):
        wide = ir.IntType(64)
        return builder.bitcast(_shuffled(builder, builder.bitcast(value, wide), distance), kind)
    if kind.width < 32:
        return builder.trunc(_shuffled(builder, builder.zext(value, _INT), distance), kind)
    if kind.width == 64:
        low = builder.trunc(value, _INT)
        high = builder.trunc(builder.lshr(value, ir.Constant(kind, 32)), _INT)
        low, high = (builder.zext(_shuffled(builder, half, distance), kind) for half in (low, high))
        return builder.or_(low, builder.shl(high, ir.Constant(kind, 32)))
    shape = ir.FunctionType(_INT, (_INT,) * 4)
    shuffle = module.declare_intrinsic("llvm.nvvm.shfl.sync.bfly.i32", (), shape)
    shuffle.attributes.add("convergent")
    arguments = (_EVERYONE, value, distance, 31)
    return builder.call(shuffle, [a if a is value else ir.Constant(_INT, a) for a in arguments])


def _exchange(distance: int):
    @intrinsic
    def exchange(typing_context, value):
        def code(context, builder, sig, args):
            return _shuffled(builder, args[0], distance)

        return value(value), code

    return exchange


_EXCHANGE = {distance: _exchange(distance) for distance in (16, 8, 4, 2, 1)}


def _joined(op: str):
    from diffgraph.targets.cuda import prelude

    of_floats = {"max": prelude.maximum, "min": prelude.minimum}

    def join(kind):
        if op in of_floats and isinstance(kind, types.Float):
            return of_floats[op]
        return {
            "sum": lambda a, b: a + b, "prod": lambda a, b: a * b, "max": lambda a, b: max(a, b),
            "min": lambda a, b: min(a, b), "any": lambda a, b: a | b, "all": lambda a, b: a & b,
        }[op]  # fmt: skip

    return join


#: Kinds as Numba's types, for memory: bools are bytes there.
_STORED = {"float32": types.float32, "float64": types.float64, "int64": types.int64, "boolean": types.uint8}


def reduction(op: str, kind: str, team: int, members: int, along: bool):
    """A function that joins the values of the threads of a team. kind: float32, float64, int64 or boolean."""
    value_kind = getattr(types, kind)
    join = _joined(op)(value_kind)
    join = join if not hasattr(join, "__code__") else cuda.jit(device=True)(join)
    cast = types.boolean if kind == "boolean" else value_kind
    if along and team <= 32:
        return _of_a_warp(join, team)
    if along:
        return _of_neighbours(join, _of_a_warp(join, 32), _STORED[kind], cast, team, members)
    return _of_columns(join, _STORED[kind], cast, team, members)


def _of_a_warp(join, team: int):
    """Butterfly over the lanes of a team."""
    exchanges = tuple(_EXCHANGE[d] for d in (16, 8, 4, 2, 1) if d < team)
    lines = [f"    value = join(value, exchange_{n}(value))" for n in range(len(exchanges))]
    names = {"join": join} | {f"exchange_{n}": e for n, e in enumerate(exchanges)}
    exec("\n".join(["def warp(value):", *lines, "    return value"]), names)
    return cuda.jit(device=True)(names["warp"])


def _of_neighbours(join, of_warp, stored, cast, team: int, members: int):
    """Each warp first, then the results of its warps through shared memory."""
    warps = team // 32
    memory, barrier = shared_array(stored), barrier_of(team * members)

    @cuda.jit(device=True)
    def reduce(value):
        partial = memory()
        value = of_warp(value)
        warp = cuda.threadIdx.x >> 5
        barrier()
        if cuda.threadIdx.x & 31 == 0:
            partial[warp] = stored(value)
        barrier()
        first = warp // warps * warps
        total = cast(partial[first])
        for other in range(1, warps):
            total = join(total, cast(partial[first + other]))
        return total

    return reduce


def _of_columns(join, stored, cast, team: int, members: int):
    """Through shared memory, a column for each member of the block."""
    memory, barrier = shared_array(stored), barrier_of(team * members)

    @cuda.jit(device=True)
    def reduce(value):
        partial = memory()
        barrier()
        partial[cuda.threadIdx.x] = stored(value)
        barrier()
        column = cuda.threadIdx.x & (members - 1)
        total = cast(partial[column])
        for other in range(1, team):
            total = join(total, cast(partial[column + other * members]))
        return total

    return reduce


def first_extreme(op: str, kind: str, team: int, members: int, along: bool):
    """A function of (value, rank) that gives the rank of the best value of a team: NaN before all, then the greatest
    (argmax) or least, among equals the one of lowest rank."""
    sign = 1 if op == "argmax" else -1
    best = reduction("max" if sign > 0 else "min", kind, team, members, along)
    lowest = reduction("min", "int64", team, members, along)
    last = np.int64(2**62)

    @cuda.jit(device=True)
    def find(value, rank):
        top = best(value)
        mine = value == top or (value != value and top != top)
        return lowest(rank if mine else last)

    return find


def team_barrier(team: int, members: int, along: bool):
    """A function that waits for the threads of a team, and makes what they wrote seen among them."""
    return warp_barrier if along and team <= 32 else barrier_of(team * members)
