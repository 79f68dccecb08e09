"""Machine code for kernels: from this process, from the cache on disk, or compiled now.

A kernel is known by a key of its text without names and comments, of the target's own sources, of the versions of the
compilers, and of the processor. Kernels that differ in names only are one.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from diffgraph.kernels.loops import Kernel, Loop, Statement, When
from diffgraph.runtime.cache import Cache, default_directory
from diffgraph.runtime.plan import Code


class Library:
    """The loaded machine code of this process."""

    def __init__(self, cache: Cache):
        self.cache = cache
        self._addresses: dict[str, int] = {}
        self._lock = threading.RLock()
        #: How many functions were compiled, rather than found.
        self.compiled = 0

    def functions(self, kernels: Iterable[Kernel], precision: str, check_bounds: bool = False) -> dict[Kernel, Code]:
        """Machine code for each kernel."""
        from diffgraph.targets.cpu.compile import fingerprint
        from diffgraph.targets.cpu.emit import emit
        from diffgraph.targets.cpu.parallel import Job, compile_all

        kernels = list(kernels)
        texts = {k: emit(plain(k), precision, check_bounds) for k in kernels}
        keys = {k: _key(fingerprint(), t.source) for k, t in texts.items()}
        with self._lock:
            objects, jobs = {}, {}
            for kernel, key in keys.items():
                if key in self._addresses or key in objects or key in jobs:
                    continue
                found = self.cache.load(key)
                if found is None:
                    source = emit(kernel, precision, check_bounds).source
                    jobs[key] = Job(source, _symbol(key), str(self.cache.path(key, ".py")))
                else:
                    objects[key] = found

            def keep(job: Job, code: bytes) -> None:
                key = job.name.removeprefix("diffgraph_")
                self.compiled += 1
                self.cache.store(key, job.source, code)
                objects[key] = code

            compile_all(list(jobs.values()), keep)
            self._load(objects)
        return {k: Code(self._addresses[keys[k]], t.sizes) for k, t in texts.items()}

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
