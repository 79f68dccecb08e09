"""Machine code for kernels: from this process, from the cache on disk, or compiled now.

A kernel is known by a key of its text without names and comments, of the target's own sources, of the versions of the
compilers, and of the processor. Kernels that differ in names only are one.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from diffgraph.ir.dimension import Size
from diffgraph.kernels.loops import Kernel, Loop, Statement, When
from diffgraph.runtime.cache import Cache, default_directory
from diffgraph.runtime.plan import Code


@dataclass(frozen=True)
class Named:
    """What the machine code of a kernel is found by, and which sizes it wants to be given."""

    key: str
    sizes: tuple[Size, ...]


class Library:
    """The loaded machine code of this process."""

    def __init__(self, cache: Cache):
        self.cache = cache
        self._addresses: dict[str, int] = {}
        self._lock = threading.RLock()
        #: How many functions were compiled, rather than found.
        self.compiled = 0

    def named(self, kernels: Iterable[Kernel], precision: str, check_bounds: bool = False) -> tuple[Named, ...]:
        """What each kernel is known by."""
        from diffgraph.targets.cpu.compile import fingerprint
        from diffgraph.targets.cpu.emit import emit

        texts = [emit(plain(k), precision, check_bounds) for k in kernels]
        return tuple(Named(_key(fingerprint(), t.source), t.sizes) for t in texts)

    def functions(
        self,
        kernels: Sequence[Kernel],
        precision: str,
        check_bounds: bool = False,
        named: Sequence[Named] | None = None,
    ) -> dict[Kernel, Code]:
        """Machine code for each kernel. named: what they are known by, where somebody has asked before."""
        named = named or self.named(kernels, precision, check_bounds)
        with self._lock:
            objects: dict[str, bytes] = {}
            jobs: dict[str, Kernel] = {}
            for kernel, name in zip(kernels, named, strict=True):
                key = name.key
                if key in self._addresses or key in objects or key in jobs:
                    continue
                found = self.cache.load(key)
                if found is None:
                    jobs[key] = kernel
                else:
                    objects[key] = found
            if jobs:
                self._compile(jobs, precision, check_bounds, objects)
            self._load(objects)
        return {k: Code(self._addresses[n.key], n.sizes) for k, n in zip(kernels, named)}

    def _compile(self, jobs: dict[str, Kernel], precision: str, check_bounds: bool, objects: dict[str, bytes]) -> None:
        """Adds object code by key."""
        from diffgraph.targets.cpu.compile import Job, compile_job
        from diffgraph.targets.cpu.emit import emit
        from diffgraph.targets.parallel import compile_all

        def keep(job: Job, code: bytes) -> None:
            key = job.name.removeprefix("diffgraph_")
            self.compiled += 1
            self.cache.store(key, job.source, code)
            objects[key] = code

        texts = {key: emit(kernel, precision, check_bounds).source for key, kernel in jobs.items()}
        wanted = [Job(t, _symbol(key), str(self.cache.path(key, ".py"))) for key, t in texts.items()]
        compile_all(wanted, compile_job, "diffgraph.targets.cpu.worker", keep)

    def entries(self, names: Iterable[str]) -> dict[str, int]:
        """The addresses of functions of `ENTRIES`."""
        from diffgraph.targets.cpu.compile import compile_entry, fingerprint

        with self._lock:
            keys = {name: _key(fingerprint(), f"entry {name}") for name in names}
            objects = {}
            for name, key in keys.items():
                if key in self._addresses:
                    continue
                code = self.cache.load(key)
                if code is None:
                    code = compile_entry(_symbol(key), name)
                    self.compiled += 1
                    self.cache.store(key, f"# {name}: see diffgraph/targets/cpu\n", code)
                objects[key] = code
            self._load(objects)
            return {name: self._addresses[key] for name, key in keys.items()}

    def drawing(self) -> Callable:
        """What draws many numbers at once, for `ir.random.drawing`."""
        word = ctypes.c_int64
        function = ctypes.CFUNCTYPE(None, *(word,) * 6)(self.entries(("draws",))["draws"])

        def draws(seed: int, step: int, site: int, elements: np.ndarray, drawn: np.ndarray) -> None:
            addresses = np.array((drawn.ctypes.data, elements.ctypes.data), np.int64)
            slots, scalars = np.arange(2), np.array((seed, step, site), np.uint64)
            function(addresses.ctypes.data, slots.ctypes.data, scalars.ctypes.data, 0, drawn.size, 0)

        return draws

    def _load(self, objects: dict[str, bytes]) -> None:
        if not objects:
            return
        from diffgraph.targets.cpu.compile import load

        addresses = load({_symbol(key): code for key, code in objects.items()})
        self._addresses.update({key: addresses[_symbol(key)] for key in objects})


@lru_cache
def library(directory: str) -> Library:
    """The library of this process for a cache directory."""
    from pathlib import Path

    return Library(Cache(Path(directory)))


def default_library() -> Library:
    """The library for the default cache directory."""
    return library(str(default_directory()))


def plain(kernel: Kernel) -> Kernel:
    """The kernel under names that say nothing, so that kernels alike have one text."""
    buffers = tuple(replace(b, name=f"b{n}") for n, b in enumerate(kernel.buffers))
    return replace(kernel, name="kernel", buffers=buffers, provenance=(), body=_without_comments(kernel.body))


def _without_comments(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    return tuple(_without_comment(s) for s in body)


def _without_comment(statement: Statement) -> Statement:
    match statement:
        case Loop():
            return replace(statement, body=_without_comments(statement.body), comment="")
        case When():
            return replace(statement, body=_without_comments(statement.body))
    return statement


def bounds_are_checked() -> bool:
    """`DIFFGRAPH_DEBUG_BOUNDS=1`: generated kernels check every index."""
    return os.environ.get("DIFFGRAPH_DEBUG_BOUNDS", "") not in ("", "0")


def _key(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def _symbol(key: str) -> str:
    return f"diffgraph_{key}"
