"""Source text of a kernel -> PTX (Numba and NVVM) -> machine code (nvJitLink). Neither needs a driver or a device.

Numba is the compiler only: its own launching, memory and caches are not used.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

from diffgraph.diagnostics import CompilerBug, error

#: Compute capabilities that kernels are tested for.
CAPABILITIES = (75, 80, 86, 89, 90)

#: The packages that the extra brings, by what they are imported as.
_PACKAGES = {"numba_cuda": "numba-cuda", "cuda.bindings": "cuda-bindings"}

#: The version of PTX that kernels are written in: the oldest that has all their instructions, so that drivers and linkers
#: that are older than NVVM read it too.
PTX_VERSION = "7.0"

#: The first version of nvJitLink that knows compute capabilities beyond 9.0. Older ones may end the process when asked.
_KNOWN_SINCE = {100: (12, 8), 101: (12, 8), 120: (12, 8), 103: (12, 9), 121: (12, 9), 110: (13, 0)}

_lock = threading.RLock()


@dataclass(frozen=True)
class Resources:
    """What the machine code of a kernel takes. registers: of a thread. The others are bytes: shared, of a block; stack and
    spills, of a thread."""

    registers: int
    shared: int
    stack: int
    spills: int


def is_installed() -> bool:
    """Whether kernels can be compiled here."""
    return all(map(_is_there, _PACKAGES))


def require() -> None:
    """DiffgraphError that says what to install, where the extra is missing."""
    missing = [name for module, name in _PACKAGES.items() if not _is_there(module)]
    if missing:
        raise error(
            "DG820",
            f"the target cuda needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            help="pip install 'diffgraph[cuda]'",
        )


    if _without_nvvm():
        raise error(
            "DG820",
            "the target cuda needs NVVM, NVIDIA's compiler library, which is not installed",
            help="pip install 'diffgraph[cuda]'",
        )


@lru_cache
def _without_nvvm() -> bool:
    """Whether NVVM is missing. PyTorch brings many of NVIDIA's libraries, but not this one."""
    from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib

    try:
        load_nvidia_dynamic_lib("nvvm")
    except (DynamicLibNotFoundError, RuntimeError, OSError):
        return True
    return False


def linker_for(capability: int, driver_version: int) -> int | None:
    """The compute capability that machine code can be made for here, on a device with this one; None where the driver must
    make it from PTX: it is older than nvJitLink (whose code it would refuse), or nvJitLink is missing or does not know the
    device. driver_version: as `cuDriverGetVersion` says it, such as 12080."""
    try:
        from cuda.bindings import nvjitlink

        version = tuple(nvjitlink.version())
    except Exception:
        return None
    if version[0] > driver_version // 1000:
        return None
    known = capability <= 90 or version >= _KNOWN_SINCE.get(capability, (10**6,))
    return capability if known else None


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@dataclass(frozen=True)
class Job:
    """A kernel to compile: see `to_ptx`. linked: the compute capability of the machine code; None: PTX is wanted."""

    source: str
    parameters: tuple[str, ...]
    sizes: int
    threads: int
    capability: int
    filename: str
    linked: int | None


def compile_job(job: Job) -> bytes:
    """Machine code, or PTX."""
    ptx = to_ptx(job.source, job.parameters, job.sizes, job.threads, job.capability, job.filename)
    return ptx.encode() if job.linked is None else assemble(ptx, job.linked)[0]


def to_ptx(source: str, parameters: Sequence[str], sizes: int, threads: int, capability: int, filename: str) -> str:
    """The PTX of the function `kernel` of a source text: its parameters are addresses of these element types, then so many
    int32 sizes."""
    with _lock:
        from numba import cuda
        from numba.cuda import types

        kinds = [types.CPointer(getattr(types, kind)) for kind in parameters]
        signature = types.void(*kinds, *(types.int32,) * sizes)
        with _device_of(capability):
            names: dict = {}
            exec(compile(source, filename, "exec"), names)
            text, _ = cuda.compile(
                names["kernel"], signature, device=False, cc=divmod(capability, 10), abi="numba", launch_bounds=threads
            )
    return _under_one_name(text)


class _device_of:
    """Answers Numba's question for the device at hand, which it asks when one function calls another, without a driver."""

    def __init__(self, capability: int):
        self.device = SimpleNamespace(compute_capability=divmod(capability, 10))

    def __enter__(self):
        import numba.cuda.dispatcher as dispatcher

        self.before = dispatcher.get_current_device
        dispatcher.get_current_device = lambda: self.device

    def __exit__(self, *exception):
        import numba.cuda.dispatcher as dispatcher

        dispatcher.get_current_device = self.before


def _under_one_name(ptx: str) -> str:
    """The kernel's long name as `kernel`, and without the global that Numba adds."""
    name = re.search(r"\.visible\s+\.entry\s+([\w$]+)", ptx).group(1)
    ptx = re.sub(r"[^\n]*\.global[^\n]*NumbaEnv[^\n]*\n", "", ptx)
    ptx = re.sub(r"^\.version \d+\.\d+$", f".version {PTX_VERSION}", ptx, count=1, flags=re.M)
    return ptx.replace(f"{name}_param_", "parameter_").replace(name, "kernel")


def assemble(ptx: str, capability: int) -> tuple[bytes, Resources]:
    """(machine code, what it takes) for a compute capability such as 80."""
    from cuda.bindings import nvjitlink

    text = ptx.encode() + b"\0"
    handle = nvjitlink.create(3, [f"-arch=sm_{capability}", "-verbose", "-O3"])
    try:
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, text, len(text), "kernel")
        nvjitlink.complete(handle)
        code = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, code)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    except nvjitlink.nvJitLinkError as problem:
        log = bytearray(nvjitlink.get_error_log_size(handle))
        nvjitlink.get_error_log(handle, log)
        raise CompilerBug("targets.cuda", f"{problem}: {log.decode(errors='replace')}") from problem
    finally:
        nvjitlink.destroy(handle)
    return bytes(code), _resources(log.decode(errors="replace"))


def _resources(log: str) -> Resources:
    def number(pattern: str) -> int:
        found = re.search(pattern, log)
        return int(found.group(1)) if found else 0

    spills = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
    shared = number(r"(\d+) bytes smem")
    return Resources(number(r"Used (\d+) registers"), shared, number(r"(\d+) bytes stack frame"), spills)


#: By compute capability: registers and bytes of shared memory of a multiprocessor, threads and blocks that it holds.
_LIMITS = {
    75: (65536, 65536, 1024, 16), 80: (65536, 167936, 2048, 32), 86: (65536, 102400, 1536, 16),
    89: (65536, 102400, 1536, 24), 90: (65536, 233472, 2048, 32),
}  # fmt: skip


def occupancy(resources: Resources, threads: int, capability: int) -> float:
    """The share of a multiprocessor's threads that can be there at once."""
    registers, shared, most_threads, most_blocks = _LIMITS[capability]
    warps = -(-threads // 32)
    by_registers = registers // (warps * 256 * -(-max(1, resources.registers) // 8))
    reserved = 1024 if capability >= 80 else 0
    by_shared = shared // (resources.shared + reserved) if resources.shared + reserved else most_blocks
    blocks = min(most_threads // threads, most_blocks, by_registers, by_shared)
    return blocks * threads / most_threads


@lru_cache
def fingerprint() -> str:
    """What the meaning of a source text depends on besides itself: this target, the versions below it."""
    from diffgraph.ir import random, scalar, special

    digest = hashlib.blake2b(digest_size=12)
    toolkits = ("nvidia-nvvm", "nvidia-nvjitlink", "nvidia-cuda-nvcc-cu12", "nvidia-nvjitlink-cu12")
    for name in ("numba", "numba-cuda", "llvmlite", *toolkits):
        try:
            digest.update(f"{name} {importlib.metadata.version(name)};".encode())
        except importlib.metadata.PackageNotFoundError:
            digest.update(f"{name} of the system;".encode())
    here = Path(__file__).parent
    sources = [*here.glob("*.py"), *(Path(module.__file__) for module in (random, scalar, special))]
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
