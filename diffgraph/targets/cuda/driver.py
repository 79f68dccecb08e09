"""The real device, through `cuda.bindings`: memory, modules, and a step as one CUDA graph or one launch."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Sequence

import numpy as np

from diffgraph.diagnostics import CompilerBug, error
from diffgraph.targets.cuda.compile import CAPABILITIES, linker_for, require
from diffgraph.targets.cuda.operations import Launch, Operation

#: A kernel that takes more shared memory than this must say so before it is started.
_USUAL_SHARED = 48 * 1024


def bindings():
    """The functions of the driver."""
    from cuda.bindings import driver

    return driver


class CudaDriver:
    """See `operations.Driver`. All work goes through one stream of the device's primary context."""

    def __init__(self, ordinal: int = 0):
        require()
        driver = self._driver = bindings()
        self._lock = threading.RLock()
        self._initialize()
        count = self._call(driver.cuDeviceGetCount())
        if ordinal >= count:
            raise error("DG822", "there is no CUDA device", help="`nvidia-smi` lists those that the driver sees")
        self.device = self._call(driver.cuDeviceGet(ordinal))
        major, minor = (self.attribute(f"COMPUTE_CAPABILITY_{part}") for part in ("MAJOR", "MINOR"))
        self.capability = 10 * major + minor
        if self.capability < CAPABILITIES[0]:
            text = f"{self.name} has compute capability {major}.{minor}; the target cuda needs 7.5 or later"
            raise error("DG823", text, help="use --target cpu")
        self.linked = linker_for(self.capability, self._call(driver.cuDriverGetVersion()))
        self.context = self._retained()
        self._call(driver.cuCtxSetCurrent(self.context))
        self.stream = self._call(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
        self._modules: list = []
        results = driver.CUresult
        self._too_new = (results.CUDA_ERROR_UNSUPPORTED_PTX_VERSION, results.CUDA_ERROR_NO_BINARY_FOR_GPU)

    def _retained(self) -> object:
        """The primary context, which PyTorch uses too. DiffgraphError where another process has the device for itself."""
        driver = self._driver
        status, context = driver.cuDevicePrimaryCtxRetain(self.device)
        if status == driver.CUresult.CUDA_ERROR_DEVICE_UNAVAILABLE:
            raise error("DG821", "another process has the GPU for itself", help="`nvidia-smi` lists what runs on it")
        self._call((status,))
        return context

    def attribute(self, name: str) -> int:
        """What the device says of itself: `CU_DEVICE_ATTRIBUTE_` and a name."""
        attribute = getattr(self._driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self._call(self._driver.cuDeviceGetAttribute(attribute, self.device)))

    @property
    def name(self) -> str:
        """What its maker calls it."""
        return self._call(self._driver.cuDeviceGetName(128, self.device)).split(b"\0")[0].decode()

    def _initialize(self) -> None:
        driver = self._driver
        try:
            status = driver.cuInit(0)[0]
        except Exception as problem:
            text = "the target cuda needs the driver of an NVIDIA GPU, which is not installed on this machine"
            raise error("DG821", text, help="use --target cpu, or install the driver") from problem
        if status == driver.CUresult.CUDA_ERROR_NO_DEVICE:
            raise error("DG822", "there is no CUDA device", help="`nvidia-smi` lists those that the driver sees")
        if status != driver.CUresult.CUDA_SUCCESS:
            text = f"the driver of the GPU cannot be used: {self._name_of(status)}"
            raise error("DG821", text, help="use --target cpu, or update the driver")

    def _call(self, result):
        """The value of a call of the driver; its failures as errors."""
        status, *values = result
        driver = self._driver
        if status == driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise error("DG824", "the memory of the CUDA device is full", help="take a smaller batch, or --target cpu")
        if status != driver.CUresult.CUDA_SUCCESS:
            raise CompilerBug("targets.cuda", f"the driver says {self._name_of(status)}")
        return values[0] if len(values) == 1 else tuple(values) or None

    def _name_of(self, status) -> str:
        name = self._driver.cuGetErrorName(status)[1]
        return name.decode() if name else str(status)

    def load(self, code: bytes) -> object:
        driver = self._driver
        with self._lock:
            self._call(driver.cuCtxSetCurrent(self.context))
            # PTX is a text that ends with a zero; machine code knows its own length.
            code = code if self.linked is not None else code + b"\0"
            status, module = driver.cuModuleLoadData(code)
            if status in self._too_new:
                text = f"the driver of the GPU is older than the code that is made for it: {self._name_of(status)}"
                raise error("DG821", text, help="update the driver, or use --target cpu")
            self._call((status,))
            self._modules.append((module, code))
            return self._call(driver.cuModuleGetFunction(module, b"kernel"))

    def most_together(self, function: object, threads: int, shared: int) -> int:
        driver = self._driver
        self._call(driver.cuCtxSetCurrent(self.context))
        self._allow(function, shared)
        each = self._call(driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(function, threads, shared))
        return int(each) * self.attribute("MULTIPROCESSOR_COUNT") if self.attribute("COOPERATIVE_LAUNCH") else 1

    def _allow(self, function: object, shared: int) -> None:
        """Lets a kernel take so much shared memory."""
        if shared > _USUAL_SHARED:
            name = self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self._call(self._driver.cuFuncSetAttribute(function, name, shared))

    def allocate(self, size: int) -> int:
        self._call(self._driver.cuCtxSetCurrent(self.context))
        return int(self._call(self._driver.cuMemAlloc(max(1, size))))

    def free(self, address: int) -> None:
        self._call(self._driver.cuCtxSetCurrent(self.context))
        self._call(self._driver.cuMemFree(address))  # waits for the kernels that may use it

    def room(self) -> int:
        self._call(self._driver.cuCtxSetCurrent(self.context))
        return int(self._call(self._driver.cuMemGetInfo())[0])

    def wait(self) -> None:
        with self._lock:  # a stream that is being captured cannot be waited for
            self._call(self._driver.cuCtxSetCurrent(self.context))
            self._call(self._driver.cuStreamSynchronize(self.stream))

    def upload(self, address: int, array: np.ndarray) -> None:
        if not array.nbytes:
            return
        array = np.ascontiguousarray(array)
        with self._lock:
            self._call(self._driver.cuCtxSetCurrent(self.context))
            self._call(self._driver.cuMemcpyHtoDAsync(address, array.ctypes.data, array.nbytes, self.stream))
            self._call(self._driver.cuStreamSynchronize(self.stream))

    def download(self, address: int, array: np.ndarray) -> None:
        self.wait()
        if array.nbytes:
            self._call(self._driver.cuMemcpyDtoH(array.ctypes.data, address, array.nbytes))

    def program(self, operations: Sequence[Operation]) -> Callable[[], None]:
        """The operations with their arguments packed once: one by itself, several as one graph."""
        self._call(self._driver.cuCtxSetCurrent(self.context))
        for launch in (o for o in operations if isinstance(o, Launch)):
            self._allow(launch.function, launch.shared)
        packed = [_Packed(o) if isinstance(o, Launch) else o for o in operations]
        if not packed:
            return lambda: None
        if len(packed) == 1:
            return lambda: self._one(packed[0])
        graph = self._captured(packed)
        driver = self._driver

        def start(held=packed) -> None:
            with self._lock:
                self._call(driver.cuCtxSetCurrent(self.context))
                self._call(driver.cuGraphLaunch(graph, self.stream))

        weakref.finalize(start, driver.cuGraphExecDestroy, graph)
        return start

    def _one(self, operation) -> None:
        with self._lock:
            self._call(self._driver.cuCtxSetCurrent(self.context))
            self._record(operation)

    def _captured(self, operations) -> object:
        """A graph of what the operations put on the stream."""
        driver = self._driver
        with self._lock:
            self._call(driver.cuCtxSetCurrent(self.context))
            self._call(driver.cuStreamSynchronize(self.stream))
            # Relaxed: an array that the garbage collector gives back meanwhile frees memory, which other modes forbid.
            mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
            self._call(driver.cuStreamBeginCapture(self.stream, mode))
            try:
                for operation in operations:
                    self._record(operation)
            except BaseException:
                driver.cuStreamEndCapture(self.stream)
                raise
            graph = self._call(driver.cuStreamEndCapture(self.stream))
            executable = self._call(driver.cuGraphInstantiate(graph, 0))
            self._call(driver.cuGraphDestroy(graph))
        return executable

    def _record(self, operation) -> None:
        driver = self._driver
        if isinstance(operation, _Packed):
            call = operation.launch
            sizes = (call.blocks, 1, 1, call.threads, 1, 1, call.shared)
            if call.together:
                self._call(driver.cuLaunchCooperativeKernel(call.function, *sizes, self.stream, operation.address))
            else:
                self._call(driver.cuLaunchKernel(call.function, *sizes, self.stream, operation.address, 0))
        elif operation.size:
            self._call(driver.cuMemcpyDtoDAsync(operation.target, operation.source, operation.size, self.stream))


class _Packed:
    """A launch with its arguments in memory, as the driver wants them."""

    def __init__(self, launch: Launch):
        self.launch = launch
        self._values = [ctypes.c_uint64(a) for a in launch.addresses] + [ctypes.c_int32(s) for s in launch.sizes]
        self._table = (ctypes.c_void_p * max(1, len(self._values)))(*(ctypes.addressof(v) for v in self._values))
        self.address = ctypes.addressof(self._table)
