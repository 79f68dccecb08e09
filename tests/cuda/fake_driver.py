"""The functions of `cuda.bindings.driver` that the target calls, on a simulated device: what they take and give is that of
the real ones (a test compares them), handles are of the real types, and they refuse what a driver refuses.

Machine code cannot be run here: it stands for the PTX that it was assembled from.
"""

from __future__ import annotations

import ctypes

import numpy as np
from cuda.bindings import driver as real

from diffgraph.targets import parallel
from diffgraph.targets.cuda import compile as compiling
from diffgraph.targets.cuda import driver as target
from diffgraph.targets.cuda.operations import Launch, Move
from diffgraph.targets.cuda.ptx.parse import parse
from diffgraph.targets.cuda.simulated import SimulatedDriver

Result = real.CUresult
SUCCESS = Result.CUDA_SUCCESS

#: The fields of a parameter by its type in PTX.
_PARAMETERS = {"u64": ctypes.c_uint64, "b64": ctypes.c_uint64, "u32": ctypes.c_uint32, "b32": ctypes.c_uint32}


class FakeDriver:
    """See above. capability, room: of the device. version: of the driver. broken: the result of functions by name, instead
    of doing anything."""

    #: What machine code stands for: of all fakes, since they share the cache on disk.
    ptx: dict[bytes, str] = {}

    def __init__(self, capability=80, room=1 << 27, devices=1, broken=None, version=13000):
        self.capability, self.limit, self.devices = capability, room, devices
        self.broken = broken or {}
        self.version = version
        self.shared: dict[int, int] = {}
        self.simulated = SimulatedDriver(capability, room)
        self.handles: dict[tuple[type, int], object] = {}
        self.context = self.capturing = None
        self.calls: list[str] = []
        for name in ("CUresult", "CUdevice_attribute", "CUstream_flags", "CUstreamCaptureMode", "CUfunction_attribute"):
            setattr(self, name, getattr(real, name))

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not name.startswith("cu"):
            return found

        def call(*arguments):
            self.calls.append(name)
            if name in self.broken:
                return self.broken[name], *[None] * (OUTPUTS[name])
            if name not in ("cuInit", "cuGetErrorName") and "cuInit" not in self.calls:
                return Result.CUDA_ERROR_NOT_INITIALIZED, *[None] * OUTPUTS[name]
            return found(*arguments)

        return call

    def assemble(self, ptx, capability):
        """The target's assembler, remembering what its code stands for."""
        code, taken = target_assemble(ptx, capability)
        self.ptx[code] = ptx
        return code, taken

    def _handle(self, kind, value):
        handle = kind(len(self.handles) + 1)
        self.handles[kind, int(handle)] = value
        return handle

    def _of(self, kind, handle):
        assert isinstance(handle, kind), f"{handle!r} is no {kind.__name__}"
        return self.handles.get((kind, int(handle)))

    # ------------------------------------------------------------------------------------------- devices and contexts

    def cuInit(self, Flags):
        return (SUCCESS if Flags == 0 and self.devices else Result.CUDA_ERROR_NO_DEVICE,)

    def cuGetErrorName(self, error):
        return SUCCESS, error.name.encode()

    def cuDriverGetVersion(self):
        return SUCCESS, self.version

    def cuDeviceGetCount(self):
        return SUCCESS, self.devices

    def cuDeviceGet(self, ordinal):
        return (SUCCESS, real.CUdevice(ordinal)) if ordinal < self.devices else (Result.CUDA_ERROR_INVALID_DEVICE, None)

    def cuDeviceGetAttribute(self, attrib, dev):
        assert isinstance(dev, real.CUdevice)
        major, minor = divmod(self.capability, 10)
        known = {"COMPUTE_CAPABILITY_MAJOR": major, "COMPUTE_CAPABILITY_MINOR": minor,
                 "MULTIPROCESSOR_COUNT": 3, "COOPERATIVE_LAUNCH": 1,
                 "CLOCK_RATE": 1410000, "MEMORY_CLOCK_RATE": 1215000, "GLOBAL_MEMORY_BUS_WIDTH": 5120}  # fmt: skip
        return SUCCESS, known[attrib.name.removeprefix("CU_DEVICE_ATTRIBUTE_")]

    def cuDeviceGetName(self, length, dev):
        return SUCCESS, b"A Fake".ljust(length, b"\0")

    def cuDevicePrimaryCtxRetain(self, dev):
        return SUCCESS, self._handle(real.CUcontext, dev)

    def cuCtxSetCurrent(self, ctx):
        if self._of(real.CUcontext, ctx) is None:
            return (Result.CUDA_ERROR_INVALID_CONTEXT,)
        self.context = ctx
        return (SUCCESS,)

    # ------------------------------------------------------------------------------------------- memory

    def cuMemGetInfo(self):
        return SUCCESS, self.simulated.room(), self.limit

    def cuMemAlloc(self, bytesize):
        if self.context is None:
            return Result.CUDA_ERROR_INVALID_CONTEXT, None
        if bytesize == 0:
            return Result.CUDA_ERROR_INVALID_VALUE, None
        if bytesize > self.simulated.room():
            return Result.CUDA_ERROR_OUT_OF_MEMORY, None
        return SUCCESS, real.CUdeviceptr(self.simulated.allocate(bytesize))

    def cuMemFree(self, dptr):
        self.simulated.free(int(real.CUdeviceptr(dptr)))
        return (SUCCESS,)

    def cuMemcpyHtoDAsync(self, dstDevice, srcHost, ByteCount, hStream):
        if self.capturing is not None:
            return (Result.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,)
        assert self._of(real.CUstream, hStream) is not None
        self.simulated.upload(int(dstDevice), _host(srcHost, ByteCount))
        return (SUCCESS,)

    def cuMemcpyDtoH(self, dstHost, srcDevice, ByteCount):
        self.simulated.download(int(srcDevice), _host(dstHost, ByteCount))
        return (SUCCESS,)

    def cuMemcpyDtoDAsync(self, dstDevice, srcDevice, ByteCount, hStream):
        return self._submit(Move(int(dstDevice), int(srcDevice), ByteCount), hStream)

    # ------------------------------------------------------------------------------------------- code

    def cuModuleLoadData(self, image):
        if self.context is None:
            return Result.CUDA_ERROR_INVALID_CONTEXT, None
        if image.startswith(b"//"):
            assert image.endswith(b"\0"), "PTX is a text of C"
            text = image[:-1].decode()
        elif self.version < 13000:
            return Result.CUDA_ERROR_NO_BINARY_FOR_GPU, None
        elif image not in self.ptx:
            return Result.CUDA_ERROR_INVALID_IMAGE, None
        else:
            text = self.ptx[image]
        return SUCCESS, self._handle(real.CUmodule, parse(text))

    def cuModuleGetFunction(self, hmod, name):
        kernel = self._of(real.CUmodule, hmod)
        if kernel is None or kernel.name.encode() != name:
            return Result.CUDA_ERROR_NOT_FOUND, None
        return SUCCESS, self._handle(real.CUfunction, kernel)

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, func, blockSize, dynamicSMemSize):
        assert self._of(real.CUfunction, func) is not None
        return SUCCESS, 1

    def cuFuncSetAttribute(self, hfunc, attrib, value):
        assert self._of(real.CUfunction, hfunc) is not None
        assert attrib == real.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        if value > 227 * 1024:
            return (Result.CUDA_ERROR_INVALID_VALUE,)
        self.shared[int(hfunc)] = value
        return (SUCCESS,)

    # ------------------------------------------------------------------------------------------- streams and launches

    def cuStreamCreate(self, Flags):
        assert Flags == real.CUstream_flags.CU_STREAM_NON_BLOCKING
        return SUCCESS, self._handle(real.CUstream, "a stream")

    def cuStreamSynchronize(self, hStream):
        assert self._of(real.CUstream, hStream) is not None
        return (SUCCESS if self.capturing is None else Result.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,)

    def cuStreamBeginCapture(self, hStream, mode):
        assert mode in real.CUstreamCaptureMode
        if self.capturing is not None:
            return (Result.CUDA_ERROR_ILLEGAL_STATE,)
        self.capturing = []
        return (SUCCESS,)

    def cuStreamEndCapture(self, hStream):
        if self.capturing is None:
            return Result.CUDA_ERROR_ILLEGAL_STATE, None
        graph, self.capturing = self._handle(real.CUgraph, self.capturing), None
        return SUCCESS, graph

    def cuGraphInstantiate(self, hGraph, flags):
        operations = self._of(real.CUgraph, hGraph)
        return SUCCESS, self._handle(real.CUgraphExec, self.simulated.program(operations))

    def cuGraphDestroy(self, hGraph):
        del self.handles[real.CUgraph, int(hGraph)]
        return (SUCCESS,)

    def cuGraphExecDestroy(self, hGraphExec):
        self.handles[real.CUgraphExec, int(hGraphExec)] = None
        return (SUCCESS,)

    def cuGraphLaunch(self, hGraphExec, hStream):
        assert self._of(real.CUstream, hStream) is not None
        self._of(real.CUgraphExec, hGraphExec)()
        return (SUCCESS,)

    def cuLaunchKernel(
        self, f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes, hStream, kernelParams, extra
    ):
        assert extra == 0
        grid, block = (gridDimX, gridDimY, gridDimZ), (blockDimX, blockDimY, blockDimZ)
        return self._launch(f, grid, block, sharedMemBytes, hStream, kernelParams, False)

    def cuLaunchCooperativeKernel(
        self, f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes, hStream, kernelParams
    ):
        if gridDimX > 3:
            return (Result.CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,)
        grid, block = (gridDimX, gridDimY, gridDimZ), (blockDimX, blockDimY, blockDimZ)
        return self._launch(f, grid, block, sharedMemBytes, hStream, kernelParams, True)

    def _launch(self, f, grid, block, shared, stream, params, together):
        kernel = self._of(real.CUfunction, f)
        most = self.shared.get(int(f), 48 * 1024)
        if min(grid) < 1 or block[0] > 1024 or shared > most or grid[1:] + block[1:] != (1, 1, 1, 1):
            return (Result.CUDA_ERROR_INVALID_VALUE,)
        table = (ctypes.c_void_p * len(kernel.parameters)).from_address(params)
        values = [_PARAMETERS[kind].from_address(at).value for at, (kind, _) in zip(table, kernel.parameters)]
        return self._submit(Launch(kernel, grid[0], block[0], tuple(values), (), shared, together), stream)

    def _submit(self, operation, stream):
        assert self._of(real.CUstream, stream) is not None
        if self.context is None:
            return (Result.CUDA_ERROR_INVALID_CONTEXT,)
        if self.capturing is not None:
            self.capturing.append(operation)
        else:
            self.simulated.program([operation])()
        return (SUCCESS,)


def _host(address: int, size: int) -> np.ndarray:
    """Memory of this process as bytes."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


#: How many values each function gives after its status.
OUTPUTS = {name: 0 for name in vars(FakeDriver) if name.startswith("cu")} | {
    "cuGetErrorName": 1, "cuDriverGetVersion": 1, "cuDeviceGetCount": 1, "cuDeviceGet": 1, "cuDeviceGetAttribute": 1, "cuDeviceGetName": 1,
    "cuDevicePrimaryCtxRetain": 1, "cuMemGetInfo": 2, "cuMemAlloc": 1, "cuModuleLoadData": 1, "cuModuleGetFunction": 1,
    "cuOccupancyMaxActiveBlocksPerMultiprocessor": 1, "cuStreamCreate": 1, "cuStreamEndCapture": 1, "cuGraphInstantiate": 1,
}  # fmt: skip

target_assemble = compiling.assemble


def installed(monkeypatch, **options) -> FakeDriver:
    """A fake in the place of the bindings."""
    fake = FakeDriver(**options)
    monkeypatch.setattr(target, "bindings", lambda: fake)
    monkeypatch.setattr(compiling, "assemble", fake.assemble)
    # What others assemble, this process does not know.
    monkeypatch.setattr(parallel, "helpers_for", lambda jobs, worker: 0)
    return fake
