"""Source text of a kernel -> object code, through Numba's front end and LLVM.

The object holds one function, `void NAME(int64 *addresses, int64 *slots, int64 *sizes, int64 first, int64 last,
int64 thread)`, and needs nothing from Numba to run: it is written to a file and loaded by any later process.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from diffgraph.diagnostics import CompilerBug

#: Addition may be regrouped and products fused, so that sums run in vectors; nothing may assume that NaN does not occur.
FASTMATH = frozenset(("reassoc", "contract", "arcp"))


@dataclass(frozen=True)
class Job:
    """A kernel to compile: its text, the name of its function, and the file that debuggers shall show."""

    source: str
    name: str
    filename: str


def compile_job(job: Job) -> bytes:
    """The object code of a job."""
    return compile_kernel(job.source, job.name, job.filename)


def compile_kernel(source: str, name: str, filename: str) -> bytes:
    """The object code of the function `kernel` of a source text, as a function `name`."""
    from numba.core import types
    from numba.core.typing import signature

    words = types.CPointer(types.int64)
    sig = signature(types.void, words, words, words, types.int64, types.int64, types.int64)
    return compile_function(_function(source, filename), sig, name)


def compile_function(function, sig, name: str) -> bytes:
    """The object code of a Python function for a signature, callable from C as `name`."""
    from numba.core import registry
    from numba.core.ccallback import _CFuncCompiler
    from numba.core.compiler_lock import global_compiler_lock

    from diffgraph.targets.cpu.frontend import Frontend, remembering

    _keep_order()
    options = {"nopython": True, "fastmath": set(FASTMATH), "error_model": "numpy", "boundscheck": False}
    with global_compiler_lock, _uncollected(), remembering():
        front = _CFuncCompiler(function, registry.cpu_target, options, {}, Frontend)
        result = front.compile(sig.args, sig.return_type)
        library = result.library
        for used in dict.fromkeys(library._linking_libraries):
            library._final_module.link_in(used._get_module_for_linking(), preserve=True)
        module = library._final_module
        wrapper = module.get_function(result.fndesc.llvm_cfunc_wrapper_name)
        wrapper.name = name
        for other in module.functions:
            if not other.is_declaration and other.name != name:
                other.linkage = "internal"
        library._optimize_final_module()
        module.verify()
        _stands_alone(module, name)
        return library._codegen._tm.emit_object(module)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Nothing is looked through for garbage meanwhile: a compiler makes many objects that live as long as it works."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@lru_cache
def _keep_order() -> None:
    """Instructions stay in the order in which tiles are written: each number is loaded just before it is used. LLVM would
    load all of them first, and run out of registers (half the speed for 14 x 2 vectors)."""
    import llvmlite.binding as llvm

    llvm.set_option("diffgraph", "-enable-misched=false")


def _stands_alone(module, name: str) -> None:
    """Code that calls into Numba or Python could not be loaded by a process that has not started them."""
    used = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    if strange := used - set(EXTERNALS):
        raise CompilerBug("targets.cpu", f"the code of {name} needs {', '.join(sorted(strange))}")


def _function(source: str, filename: str):
    names: dict = {}
    exec(compile(source, filename, "exec"), names)
    return names["kernel"]


def compile_entry(name: str, entry: str) -> bytes:
    """The object code of a function that is the same for every program, by the key it has in `ENTRIES`, as `name`."""
    from diffgraph.targets.cpu import common, dispatcher, limits

    function, sig = (common.ENTRIES | dispatcher.ENTRIES | limits.ENTRIES)[entry]
    return compile_function(function, sig, name)


#: The functions of `compile_entry` that every program needs: those of the dispatcher, and kernels.
ENTRIES = ("start", "serve", "gather_rows", "sort_float32", "sort_float64", "sort_int64", "sort_bool")


@lru_cache
def fingerprint() -> str:
    """What the meaning of a source text depends on besides itself: this target, the versions below it, the processor."""
    import llvmlite.binding as llvm

    digest = hashlib.blake2b(digest_size=12)
    for version in ("numba", "llvmlite"):
        digest.update(f"{version} {importlib.metadata.version(version)};".encode())
    digest.update(f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()}".encode())
    digest.update(llvm.get_host_cpu_features().flatten().encode())
    for path in sorted(_sources()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _sources() -> list[Path]:
    """The files of this target, and those of the scalar functions that it compiles into kernels."""
    from diffgraph.ir import random, scalar, special

    here = Path(__file__).parent
    return [*here.glob("*.py"), *(Path(module.__file__) for module in (random, scalar, special))]


#: Functions of the C library that kernels may call.
EXTERNALS = tuple(
    name + suffix
    for name in "exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh"
    " erf erfc pow fmod floor ceil rint trunc round fmax fmin fma sincos ldexp".split()
    for suffix in ("", "f")
) + ("memcpy", "memmove", "memset", "sched_yield")


#: What keeps machine code in memory. It is never unloaded: a worker thread may be inside of it, plans hold its addresses.
_LOADED: list = []


def load(objects: dict[str, bytes]) -> dict[str, int]:
    """The address by name of functions, each in its object code. They stay in memory until the process ends."""
    import llvmlite.binding as llvm

    _provide_externals()
    engine = _engine()
    for code in objects.values():
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _LOADED.append(engine)
    return {name: engine.get_function_address(name) for name in objects}


@lru_cache
def _provide_externals() -> None:
    """Tells LLVM where the functions of the C library are: it finds not all of them in every process by itself."""
    import ctypes
    import ctypes.util

    import llvmlite.binding as llvm

    sources = [ctypes.CDLL(None)] if sys.platform != "win32" else [ctypes.CDLL("ucrtbase"), ctypes.CDLL("kernel32")]
    mathematics = ctypes.util.find_library("m") if sys.platform != "win32" else None
    if mathematics:
        sources.append(ctypes.CDLL(mathematics))
    for name in EXTERNALS:
        for source in sources:
            found = getattr(source, name, None)
            if found is not None:
                llvm.add_symbol(name, ctypes.cast(found, ctypes.c_void_p).value)
                break


@lru_cache
def _engine_machine():
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple()


def _engine():
    import llvmlite.binding as llvm

    target = _engine_machine()
    relocation = "static" if target.name.startswith("x86") else "default"
    machine = target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), opt=3, reloc=relocation, codemodel="jitdefault", jit=True
    )
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
