"""What this machine's vectors are like, and how many cores it has."""

from __future__ import annotations

import os
from functools import lru_cache

from diffgraph.kernels.tiles import Machine


@lru_cache
def machine(precision: str) -> Machine:
    """The vectors, for floats of a precision, and the number of the processors that this runs on."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        size, registers = 64, 32
    elif features.get("avx2"):
        size, registers = 32, 16
    else:
        size, registers = 16, 16
    return Machine(size // (4 if precision == "f32" else 8), registers, len(os.sched_getaffinity(0)))
