"""A program on a device: kernels, a plan for each batch size, and one start for each step.

Parameters and states stay on the device from run to run, and come back when somebody asks for them (`mirror`); those of a
plain dict go there when a run or an epoch begins, and come back when it ends. Nothing else leaves but what is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffgraph.diagnostics import DiffgraphError
from diffgraph.ir.program import Program
from diffgraph.kernels.commit import place_commits
from diffgraph.kernels.grid import Device
from diffgraph.kernels.loops import Kernel
from diffgraph.kernels.schedule import schedule
from diffgraph.runtime import values
from diffgraph.runtime.device_launch import MEETING, Launches
from diffgraph.runtime.device_library import DeviceLibrary, Source, Texts, default_cache, texts_of
from diffgraph.runtime.device_plan import DevicePlan, DevicePlanner
from diffgraph.runtime.device_program import Item
from diffgraph.runtime.executable import Block, Executable, Shown, every, fail_unless
from diffgraph.runtime.mirror import Mirror
from diffgraph.targets.cuda.compile import is_installed
from diffgraph.targets.cuda.listing import listing
from diffgraph.targets.cuda.operations import Driver

#: Plans are kept for so many different batch sizes.
MOST_PLANS = 32

#: Kernels are shown for this compute capability where there is no device.
USUAL_CAPABILITY = 80

#: What the matrix units multiply, by precision.
CORES = {"f32": None, "f64": None, "tf32": "tf32", "bf16": "bf16"}


class DeviceExecutable(Executable):
    """A program run by kernels on a device."""

    is_on_device = True

    def __init__(self, program: Program, precision: str, driver: Driver | None = None):
        super().__init__(program, precision)
        self._given_driver = driver
        self.real = "f64" if precision == "f64" else "f32"
        self.capability = _capability(driver)
        self.device = device_of(precision, self.capability)
        self.commits = place_commits(schedule(program, self.device), program)
        self._kernels = self.commits.schedule.kernels
        self._runs: dict[tuple, DeviceRun] = {}
        kinds = values.DTYPES[self.real]
        tensors = self.commits.schedule.tensors
        self.tables = {
            n: np.ascontiguousarray(t.array, kinds[tensors[n].kind]) for n, t in self.commits.schedule.tables.items()
        }
        self.memories: dict[str, _Memory] = {}
        self._kept: list[int] = []
        #: By the name of a memory, the array that nobody writes to and that is there.
        self._brought: dict[str, np.ndarray] = {}

    @cached_property
    def library(self) -> DeviceLibrary:
        """The kernels of the device. DiffgraphError where there is none: to look at a program, none is needed."""
        return _library(self._given_driver)

    @property
    def driver(self) -> Driver:
        """The device."""
        return self.library.driver

    @cached_property
    def texts(self) -> dict[Kernel, Texts]:
        """Each kernel as text."""
        return {k: texts_of(k, self.real, self.device) for k in self._kernels}

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return self._kernels

    def source(self, shown: Shown = every) -> str:
        return "\n\n".join(self.texts[k].readable.source for k in self._kernels if shown(k))

    def listing(self, shown: Shown = every) -> str:
        if not is_installed():
            return self.source(shown)
        return "\n\n".join(listing(k, self.real, self.device, self.capability) for k in self._kernels if shown(k))

    def memory(self, sizes: Mapping[str, int]) -> tuple[Block, ...]:
        planner = _planner(self, sizes, False, None, frozenset())
        plan = planner.plan()
        own = sorted(planner.given & plan.lives.keys() & planner.tensors.keys())
        lives = ((n, at, (plan.lives[n].first, plan.lives[n].last)) for n, at in plan.offsets.items() if n in plan.lives)
        return (*(Block(n, planner.bytes(n)) for n in own), *(Block(n, planner.bytes(n), at, life) for n, at, life in lives))

    def dtype(self, tensor: str) -> np.dtype:
        """The type of the elements of a tensor."""
        return values.DTYPES[self.real][self.commits.schedule.tensors[tensor].kind]

    def reserve(self, name: str, size: int) -> int:
        """The address of memory of a name: the same for every run that wants no more of it."""
        found = self.memories.get(name)
        if found is None or found.size < size:
            if found is not None:
                self.driver.free(found.address)
                self._forget()
            self._brought.pop(name, None)
            found = self.memories[name] = _Memory(self.driver.allocate(size), size)
        return found.address

    def bring(self, name: str, array: np.ndarray, source: np.ndarray) -> None:
        """Brings an array, which is what was made of `source`, to a memory; not again where nobody writes to the source."""
        if self._brought.get(name) is source:
            return
        self.driver.upload(self.memories[name].address, array)
        self._brought.pop(name, None)
        if isinstance(source, np.ndarray) and not source.flags.writeable:
            self._brought[name] = source

    def keep(self, array: np.ndarray) -> int:
        """The address of an array that is put on the device for the runs that there are."""
        address = self.driver.allocate(array.nbytes)
        self.driver.upload(address, array)
        self._kept.append(address)
        return address

    @property
    def mirror(self) -> Mirror | None:
        """What keeps parameters and states on the device; None where nobody knows who writes to them."""
        return None if self.tracker is None else Mirror.of(self.tracker, self.driver)

    def _rebound(self) -> None:
        self._forget()
        for given in self.stored.values():
            found = self.memories.pop(given.tensor.name, None)
            if found is not None and found.is_own:
                self.driver.free(found.address)

    def _forget(self) -> None:
        """Drops all runs: memory that they work on has moved."""
        self._runs.clear()
        while self._kept:
            self.driver.free(self._kept.pop())

    def stepper(self, inputs, commit=False):
        arrays = self._arrays(inputs)
        shapes = tuple(a.shape for a in arrays.values())
        sizes = self._sizes(arrays)
        given = {self.given[p].tensor.name: a for p, a in arrays.items()}
        return lambda: self.planned((shapes, commit), sizes, commit).call(given)

    def resident(self, inputs: Mapping[str, np.ndarray]) -> tuple[Callable[[], None], Callable[[], None]]:
        """(a function that starts a step on these inputs, which are on the device by then; one that waits for all that was
        started): what is timed, since nothing crosses to or from the host."""
        arrays = self._arrays(inputs)
        run = self.planned((tuple(a.shape for a in arrays.values()), False), self._sizes(arrays), False)
        run.upload({self.given[p].tensor.name: a for p, a in arrays.items()})
        return run.start, self.driver.wait

    def planned(self, key: tuple, sizes, commit: bool, around=None, own: frozenset[str] = frozenset()) -> DeviceRun:
        """The run of a key, planned if need be. `own`: inputs, by tensor name, that are made on the device."""
        run = self._runs.get(key)
        if run is None:
            if len(self._runs) >= MOST_PLANS:
                self._forget()
            made = DeviceRun(self, sizes, commit, around, own)
            run = self._runs[key] = made
        return run

    def _epoch(self, columns, order, first_step, run, commit):
        from diffgraph.runtime.device_epoch import run_epoch

        return run_epoch(self, columns, order, first_step, run, commit)


@dataclass(frozen=True)
class _Memory:
    """is_own: the executable's, rather than that of a mirror."""

    address: int
    size: int
    is_own: bool = True


class DeviceRun:
    """A plan with its memory, ready to be started again and again. apart: each kernel is a launch of its own."""

    def __init__(self, owner: DeviceExecutable, sizes: Mapping[str, int], commit: bool, around, own: frozenset[str], apart: bool = False):
        self.owner = owner
        self.commit = commit
        self.stored = {i.tensor.name: p for p, i in owner.stored.items()}
        self.inputs = {i.tensor.name for i in owner.given.values()} - own
        self.extra = getattr(around, "memories", {})
        self.planner = _planner(owner, sizes, commit, around, own)
        self.plan: DevicePlan = self.planner.plan(around, apart)
        self._reserve()
        self._launches = Launches(owner.library, owner.texts, self.address, self.planner.extent, owner.keep)
        self._programs: dict[int, Callable[[], None]] = {}

    def start(self, steps: int = 1) -> None:
        """Makes so many steps."""
        while steps:
            now = min(steps, self.plan.most_steps)
            if now not in self._programs:
                self._programs[now] = self.owner.driver.program(self._launches.of(self.plan.items, now))
            self._programs[now]()
            steps -= now

    def alone(self, item: Item, times: int) -> Callable[[], None]:
        """A function that starts one item of the plan so many times."""
        return self.owner.driver.program(self._launches.of([item]) * times)

    def _reserve(self) -> None:
        """Memory for everything; then none of it moves."""
        owner, planner = self.owner, self.planner
        wanted = {name: size for name, size in self.extra.items()}
        for name, path in self.stored.items():
            if owner.mirror is None:
                wanted[name] = planner.bytes(name)
            else:
                owner.memories[name] = _Memory(owner.mirror.address(owner.storage[path]), planner.bytes(name), False)
        for name in self.inputs:
            wanted[name] = planner.bytes(name)
        for name, size in {**wanted, "(arena)": self.plan.arena, "(indices)": 8 * planner.indices}.items():
            owner.reserve(name, max(8, size))
        if MEETING not in owner.memories:
            owner.driver.upload(owner.reserve(MEETING, 8), np.zeros(1, np.int64))
        for name, table in owner.tables.items():
            if name not in owner.memories:
                owner.driver.upload(owner.reserve(name, max(8, table.nbytes)), table)
        if planner.indices:
            indices = np.arange(planner.indices, dtype=np.int64)
            owner.driver.upload(owner.reserve("(indices)", indices.nbytes), indices)

    def address(self, name: str) -> int:
        """Where a memory is on the device."""
        if name in self.plan.offsets:
            return self.owner.memories["(arena)"].address + self.plan.offsets[name]
        return self.owner.memories[name.removesuffix(" (bound)")].address

    def upload(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Brings parameters, states and inputs to the device, where they are not there."""
        owner = self.owner
        if owner.mirror is not None:
            owner.mirror.upload(owner.tracker, [owner.storage[path] for path in self.stored.values()])
        else:
            for name, path in self.stored.items():
                owner.driver.upload(owner.memories[name].address, owner.storage[path])
        for name in self.inputs:
            owner.driver.upload(owner.memories[name].address, inputs[name])

    def call(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One step on inputs by tensor name; the outputs by name. RunFailed if a check fails."""
        program = self.owner.program
        self.upload(inputs)
        self.start()
        if program.checks:
            fail_unless(program.checks, [self.root(c.tensor) for c in program.checks])
        results = {o.name: self.root(o.tensor) for o in program.outputs}
        if self.commit:
            self.fetch()
        return results

    def root(self, root: str) -> np.ndarray:
        """What a root of the program is after a step."""
        name = self.planner.roots[root]
        shape = tuple(self.planner.extent(s) for s in self.owner.commits.schedule.tensors[name].shape)
        array = np.empty(shape, self.owner.dtype(name))
        place = self.planner.place(name)
        if array.size:
            self.owner.driver.download(self.address(place.memory) + place.offset, array)
        return array

    def fetch(self) -> None:
        """Notes what the program has committed; brings it back where nobody would ask for it."""
        owner = self.owner
        paths = [self.stored[commit.state] for commit in owner.program.commits]
        owner._note_commit()
        if owner.mirror is not None:
            owner.mirror.changed(owner.tracker, [owner.storage[path] for path in paths])
            return
        for commit, path in zip(owner.program.commits, paths):
            owner.driver.download(owner.memories[commit.state].address, owner.storage[path])


def _planner(owner: DeviceExecutable, sizes, commit: bool, around, own: frozenset[str]) -> DevicePlanner:
    """A planner for the sizes of a batch."""
    kept_aside = frozenset() if commit else owner.commits.in_place
    given = {i.tensor.name for i in (*owner.stored.values(), *owner.given.values())} - own - kept_aside
    given |= set(owner.tables) | {"(indices)"} | {f"{state} (bound)" for state in kept_aside}
    given |= set(getattr(around, "memories", {}))
    kinds = {kind: dtype.itemsize for kind, dtype in values.DTYPES[owner.real].items()}
    return DevicePlanner(owner.commits, sizes, kinds, owner.texts, frozenset(given), commit, kept_aside)


def make_ready(executables: Sequence[DeviceExecutable]) -> None:
    """Compiles the kernels of executables of one device, all at once, as they are when each is a launch."""
    if executables:
        executables[0].library.ready(Source.of(e.texts[k]) for e in executables for k in e.kernels)


def device_of(precision: str, capability: int) -> Device:
    """What kernels are made for, on a device of a compute capability."""
    newer = capability >= 80
    return Device(CORES[precision] if newer else None, newer, precision != "f64")


def _capability(driver: Driver | None) -> int:
    """The compute capability of a device, of the one in use, or of a usual one where there is none."""
    if driver is None:
        try:
            driver = _library(None).driver
        except DiffgraphError:
            return USUAL_CAPABILITY
    return driver.capability


_libraries: dict[str, DeviceLibrary] = {}


def use(driver: Driver | None) -> None:
    """Makes a device that of all executables from now on; None: the first CUDA device of this machine."""
    _libraries.pop("device", None)
    if driver is not None:
        _libraries["device"] = DeviceLibrary(driver, default_cache())


def require_device() -> None:
    """An error where no device is in use and this machine has none."""
    _library(None)


def _library(driver: Driver | None) -> DeviceLibrary:
    """The library of a device; without one, of that in use."""
    if driver is not None:
        return DeviceLibrary(driver, default_cache())
    if "device" not in _libraries:
        from diffgraph.targets.cuda.driver import CudaDriver

        use(CudaDriver())
    return _libraries["device"]
