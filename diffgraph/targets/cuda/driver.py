"""The real device, through `cuda.bindings`: memory, modules, and a step as one CUDA graph."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence

import numpy as np

from diffgraph.diagnostics import CompilerBug, error
from diffgraph.targets.cuda.compile import CAPABILITIES, assemble, require
from diffgraph.targets.cuda.operations import Launch, Operation


class CudaDriver:
    """See `operations.Driver`. All work goes through one stream of the device's primary context."""

    def __init__(self, ordinal: int = 0):
        require()
        from cuda.bindings import driver

        self._driver = driver
        self._lock = threading.RLock()
        self._initialize()
        count = self._call(driver.cuDeviceGetCount())
        if ordinal >= count:
            raise error("DG822", "there is no CUDA device", help="`nvidia-smi` lists those that the driver sees")
        self.device = self._call(driver.cuDeviceGet(ordinal))
        attribute = driver.CUdevice_attribute
        major, minor = (
            self._call(driver.cuDeviceGetAttribute(a, self.device))
            for a in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        self.capability = 10 * major + minor
        if self.capability < CAPABILITIES[0]:
            name = self._call(driver.cuDeviceGetName(128, self.device)).split(b"\0")[0].decode()
            text = f"{name} has compute capability {major}.{minor}; the target cuda needs 7.5 or later"
            raise error("DG823", text, help="use --target cpu")
        self.form = f"sm_{self.capability}"
        self.context = self._call(driver.cuDevicePrimaryCtxRetain(self.device))
        self._call(driver.cuCtxSetCurrent(self.context))
        self.stream = self._call(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
        self._modules: list = []

    def _initialize(self) -> None:
        driver = self._driver
        try:
            status = driver.cuInit(0)[0]
        except Exception as problem:
            text = "the target cuda needs the driver of an NVIDIA GPU, which is not installed on this machine"
            raise error("DG821", text, help="use --target cpu, or install the driver") from problem
        if status == driver.CUresult.CUDA_ERROR_NO_DEVICE:
            raise error("DG822", "there is no CUDA device", help="`nvidia-smi` lists those that the driver sees")
        self._call((status,))

    def _call(self, result):
        """The value of a call of the driver; its failures as errors."""
        status, *values = result
        driver = self._driver
        if status == driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise error("DG824", "the memory of the CUDA device is full", help="take a smaller batch, or --target cpu")
        if status != driver.CUresult.CUDA_SUCCESS:
            name = driver.cuGetErrorName(status)[1]
            raise CompilerBug("targets.cuda", f"the driver says {name.decode() if name else status}")
        return values[0] if len(values) == 1 else tuple(values) or None

    def translate(self, ptx: str) -> bytes:
        """Machine code for this device, or for the nearest one below that is known."""
        return assemble(ptx, max(c for c in CAPABILITIES if c <= self.capability and c // 10 == self.capability // 10)
                        if any(c // 10 == self.capability // 10 for c in CAPABILITIES) else self.capability)[0]  # fmt: skip

    def load(self, code: bytes) -> object:
        driver = self._driver
        with self._lock:
            self._call(driver.cuCtxSetCurrent(self.context))
            module = self._call(driver.cuModuleLoadData(code))
            self._modules.append((module, code))
            return self._call(driver.cuModuleGetFunction(module, b"kernel"))

    def allocate(self, size: int) -> int:
        self._call(self._driver.cuCtxSetCurrent(self.context))
        return int(self._call(self._driver.cuMemAlloc(max(1, size))))

    def free(self, address: int) -> None:
        self._call(self._driver.cuCtxSetCurrent(self.context))
        self._call(self._driver.cuMemFree(address))

    def room(self) -> int:
        self._call(self._driver.cuCtxSetCurrent(self.context))
        return int(self._call(self._driver.cuMemGetInfo())[0])

    def upload(self, address: int, array: np.ndarray) -> None:
        self._call(self._driver.cuCtxSetCurrent(self.context))
        if array.nbytes:
            array = np.ascontiguousarray(array)
            self._call(self._driver.cuMemcpyHtoDAsync(address, array.ctypes.data, array.nbytes, self.stream))
            self._call(self._driver.cuStreamSynchronize(self.stream))

    def download(self, address: int, array: np.ndarray) -> None:
        self._call(self._driver.cuCtxSetCurrent(self.context))
        self._call(self._driver.cuStreamSynchronize(self.stream))
        if array.nbytes:
            self._call(self._driver.cuMemcpyDtoH(array.ctypes.data, address, array.nbytes))

    def program(self, operations: Sequence[Operation]) -> Callable[[], None]:
        """The operations as one graph, its arguments packed once."""
        driver = self._driver
        if not operations:
            return lambda: None
        keep = [_Packed(o) if isinstance(o, Launch) else o for o in operations]
        with self._lock:
            self._call(driver.cuCtxSetCurrent(self.context))
            mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
            self._call(driver.cuStreamBeginCapture(self.stream, mode))
            try:
                for operation in keep:
                    self._record(operation)
            finally:
                graph = self._call(driver.cuStreamEndCapture(self.stream))
            executable = self._call(driver.cuGraphInstantiate(graph, 0))
            self._call(driver.cuGraphDestroy(graph))

        def start(launch=driver.cuGraphLaunch, held=keep) -> None:
            self._call(driver.cuCtxSetCurrent(self.context))
            self._call(launch(executable, self.stream))

        return start

    def _record(self, operation) -> None:
        driver = self._driver
        if isinstance(operation, _Packed):
            call = operation.launch
            arguments = (call.blocks, 1, 1, call.threads, 1, 1, 0, self.stream, operation.address, 0)
            self._call(driver.cuLaunchKernel(call.function, *arguments))
        elif operation.size:
            self._call(driver.cuMemcpyDtoDAsync(operation.target, operation.source, operation.size, self.stream))


class _Packed:
    """A launch with its arguments in memory, as the driver wants them."""

    def __init__(self, launch: Launch):
        self.launch = launch
        self._values = [ctypes.c_uint64(a) for a in launch.addresses] + [ctypes.c_int32(s) for s in launch.sizes]
        self._table = (ctypes.c_void_p * max(1, len(self._values)))(*(ctypes.addressof(v) for v in self._values))
        self.address = ctypes.addressof(self._table)
