"""The passes of Numba that kernels need: their text has no closures, `with`, exceptions or literals to unroll, and most of
the time of compiling one is spent in passes that look for these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import PassManager
from numba.core.typed_passes import (
    AnnotateTypes,
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.types.functions import BaseFunction
from numba.core.untyped_passes import FixupArgs, GenericRewrites, IRProcessing, ReconstructSSA, TranslateByteCode

PASSES = (
    TranslateByteCode,
    FixupArgs,
    IRProcessing,
    GenericRewrites,
    ReconstructSSA,
    NopythonTypeInference,
    PreLowerStripPhis,
    IRLegalization,
    AnnotateTypes,
    NativeLowering,
    NoPythonBackend,
)


class Frontend(CompilerBase):
    """Numba's compiler for generated kernels."""

    def define_pipelines(self):
        passes = PassManager("kernel")
        for step in PASSES:
            passes.add_pass(step, step.__name__)
        passes.finalize()
        return [passes]


#: The signature of a function for types of its arguments, as Numba has resolved it before.
_RESOLVED: dict = {}


@contextmanager
def remembering() -> Iterator[None]:
    """What `+` of two numbers is, and the like, is resolved once in a process: Numba tries every template of an operator at
    each place (a seventh of the time of compiling). Hold the compiler's lock meanwhile."""
    resolve = BaseFunction.get_call_type

    def resolved(function, context, args, kws):
        if kws or not all(a.is_precise() for a in args):
            return resolve(function, context, args, kws)
        key = context, function, args
        found = _RESOLVED.get(key)
        if found is None:
            found = _RESOLVED[key] = resolve(function, context, args, kws)
        return found

    BaseFunction.get_call_type = resolved
    try:
        yield
    finally:
        BaseFunction.get_call_type = resolve
