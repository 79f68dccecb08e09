"""A launch of a kernel: the registers of all its threads, and the order in which groups of them run."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence

import numpy as np

from diffgraph.targets.cuda.ptx import arithmetic, collective, movement
from diffgraph.targets.cuda.ptx.memory import RAW, Clock, Memory, MemoryFault
from diffgraph.targets.cuda.ptx.parse import DTYPES, Instruction, Kernel, UnknownPtx

#: Lanes of a warp.
WARP = 32

#: So often all threads may find that what they wait for has not happened.
MOST_NAPS = 100

Lanes = np.ndarray | None  # which threads, in order; None: all of them


class Divergence(MemoryFault):
    """A collective that not all of the threads reach that it is for."""


class Launch:
    """Runs a kernel when it is made. arguments: in the order of the parameters, addresses as ints."""

    def __init__(
        self, kernel: Kernel, memory: Memory, grid: Sequence[int], block: Sequence[int], arguments: Sequence, dynamic: int = 0
    ):
        self.kernel, self.memory = kernel, memory
        grid, block = ((*extents, 1, 1)[:3] for extents in (grid, block))
        self.threads = int(np.prod(block))
        self.blocks = int(np.prod(grid))
        self.count = self.threads * self.blocks
        self.all = np.arange(self.count)
        self.clock = Clock(self.count, self.threads)
        self.block_of = self.all // self.threads
        self.lane_in_warp = self.all % self.threads % WARP
        self.executed = 0
        mark = memory.mark()
        try:
            self._specials(grid, block)
            self._place(dynamic)
            self.parameters = self._parameters(arguments)
            self.registers = {
                n: np.zeros(self.count, np.bool_ if t == "pred" else RAW[np.dtype(DTYPES[t]).itemsize])
                for n, t in kernel.registers.items()
            }
            self.copies = collective.Copies(self)
            self.program = [self._step(i) for i in kernel.code]
            with np.errstate(all="ignore"):
                self._run()
            self.copies.at_the_end()
        finally:
            memory.release(mark)

    def _specials(self, grid, block) -> None:
        thread, number = self.all % self.threads, self.block_of
        named = {
            "%tid.x": thread % block[0], "%tid.y": thread // block[0] % block[1], "%tid.z": thread // (block[0] * block[1]),
            "%ctaid.x": number % grid[0], "%ctaid.y": number // grid[0] % grid[1], "%ctaid.z": number // (grid[0] * grid[1]),
            "%laneid": thread % WARP, "%warpid": thread // WARP,
        }  # fmt: skip
        for axis, letter in enumerate("xyz"):
            named[f"%ntid.{letter}"] = np.full(self.count, block[axis])
            named[f"%nctaid.{letter}"] = np.full(self.count, grid[axis])
        self.specials = {name: values.astype(np.uint32) for name, values in named.items()}

    def _place(self, dynamic: int) -> None:
        kernel, memory = self.kernel, self.memory
        static = -(-kernel.shared_bytes // 16) * 16
        self.shared_base = np.array(
            [memory.allocate(static + dynamic) if static + dynamic else 0 for _ in range(self.blocks)], np.int64
        )[self.block_of]
        local = memory.allocate(kernel.local_bytes * self.count) if kernel.local_bytes else 0
        local_base = local + self.all * kernel.local_bytes
        self.symbols = {n: np.full(self.count, o, np.uint64) for n, o in kernel.shared.items()}
        self.symbols |= {n: np.full(self.count, static, np.uint64) for n in kernel.dynamic}
        self.symbols |= {n: (local_base + o).astype(np.uint64) for n, o in kernel.local.items()}
        for name, data in kernel.constants.items():
            at = memory.allocate(len(data))
            memory.write(at, np.frombuffer(data, np.uint8))
            self.symbols[name] = np.full(self.count, at, np.uint64)

    def _parameters(self, arguments: Sequence) -> dict[str, np.ndarray]:
        if len(arguments) != len(self.kernel.parameters):
            raise TypeError(f"the kernel takes {len(self.kernel.parameters)} arguments, not {len(arguments)}")
        return {n: np.array([v]).astype(DTYPES[t]) for (t, n), v in zip(self.kernel.parameters, arguments)}

    # ------------------------------------------------------------------------------------------- operands

    def reader(self, operand: str, dtype) -> Callable[[Lanes], np.ndarray]:
        """A function that gives the operand's value in some lanes, as a type (one element if all have the same)."""
        dtype = np.dtype(dtype)
        if operand in self.registers:
            found = self.registers[operand]
            if dtype != np.bool_ and found.dtype.itemsize != dtype.itemsize:
                narrow = RAW[dtype.itemsize]
                return lambda lanes: (found if lanes is None else found[lanes]).astype(narrow).view(dtype)
            values = found if dtype == np.bool_ else found.view(dtype)
            return lambda lanes: values if lanes is None else values[lanes]
        for names in (self.specials, self.symbols):
            if operand in names:
                known = names[operand].astype(RAW[dtype.itemsize]).view(dtype)
                return lambda lanes: known if lanes is None else known[lanes]
        constant = _constant(operand, dtype)
        return lambda lanes: constant

    def writer(self, operand: str, dtype) -> Callable[[Lanes, np.ndarray], None]:
        """A function that sets a register in some lanes. A narrower signed value is extended by its sign."""
        if operand == "_":
            return lambda lanes, value: None
        register = self.registers[operand]
        dtype = np.dtype(dtype)
        width = register.dtype.itemsize

        def write(lanes: Lanes, value) -> None:
            value = np.asarray(value)
            if dtype != np.bool_:
                value = np.ascontiguousarray(value.astype(dtype, copy=False))
                if dtype.kind == "i" and dtype.itemsize < width:
                    value = value.astype(np.int64).view(np.uint64).astype(register.dtype)
                else:
                    value = value.view(RAW[dtype.itemsize]).astype(register.dtype)
            if lanes is None:
                register[:] = value
            else:
                register[lanes] = value

        return write

    def address(self, operand: str, space: str) -> Callable[[Lanes], np.ndarray]:
        """A function that gives the address in memory for each lane. Places in shared memory count from its start."""
        found = re.fullmatch(r"\[\s*([%\w$@]+)\s*(?:\+\s*(-?\w+))?\s*\]", operand)
        if found is None:
            raise UnknownPtx(f"the address {operand}")
        base, offset = self.reader_of_address(found.group(1)), int(found.group(2) or "0", 0)

        def address(lanes: Lanes) -> np.ndarray:
            places = base(lanes) + offset
            places = np.broadcast_to(places, (len(self.chosen(lanes)),))
            return places + self.shared_base[self.chosen(lanes)] if space == "shared" else places

        return address

    def reader_of_address(self, name: str) -> Callable[[Lanes], np.ndarray]:
        """A register or symbol as an int64 address."""
        width = self.registers[name].dtype.itemsize if name in self.registers else 8
        read = self.reader(name, RAW[width])
        return lambda lanes: read(lanes).astype(np.int64)

    def chosen(self, lanes: Lanes) -> np.ndarray:
        """The lanes as numbers."""
        return self.all if lanes is None else lanes

    def warps(self, lanes: Lanes, what: str) -> np.ndarray:
        """The lanes as whole warps, a row each; Divergence if one is not whole."""
        chosen = self.chosen(lanes)
        rows = chosen.reshape(-1, WARP) if len(chosen) % WARP == 0 else chosen[None]
        if len(chosen) % WARP or (rows - rows[:, :1] != np.arange(WARP)).any() or self.lane_in_warp[rows[:, 0]].any():
            raise Divergence(f"{what} is not reached by all lanes of a warp")
        self.clock.meet(chosen)
        return rows

    def copies_later(self, action: Callable) -> Callable[[Lanes], None]:
        """An instruction on the asynchronous copies of this launch."""
        return lambda lanes: action(self.copies, lanes)

    # ------------------------------------------------------------------------------------------- running

    def _step(self, instruction: Instruction) -> Callable[[Lanes], None] | None:
        """The instruction as a function; None for those that steer."""
        head = instruction.name[0]
        if head in ("bra", "ret", "exit", "bar", "barrier", "nanosleep"):
            return None
        for operations in (arithmetic.OPERATIONS, movement.OPERATIONS, collective.OPERATIONS):
            if head in operations:
                return self._guarded(instruction, operations[head](self, instruction))
        raise UnknownPtx(f"the instruction {instruction.text}")

    def _guarded(self, instruction: Instruction, step: Callable[[Lanes], None]) -> Callable[[Lanes], None]:
        if instruction.guard is None:
            return step
        negated, name = instruction.guard
        register = self.registers[name]

        def guarded(lanes: Lanes) -> None:
            chosen = self.chosen(lanes)
            holds = register[chosen] != negated
            if holds.any():
                step(lanes if holds.all() else chosen[holds])

        return guarded

    def _run(self) -> None:
        """Always goes on with the group of lanes that is furthest behind."""
        self.groups: dict[int, np.ndarray] = {0: self.all} if self.count else {}
        self.waiting = np.full(self.count, -1, np.int64)
        self.barrier_of = np.zeros((self.count, 2), np.int64)
        self.ended = np.zeros(self.count, np.bool_)
        self.asleep: dict[int, np.ndarray] = {}
        self.naps = 0
        while self.groups or self.asleep:
            if not self.groups:
                self._wake()
            at = min(self.groups)
            self._go_on(at, self.groups.pop(at))
        if (self.waiting >= 0).any():
            raise Divergence("a barrier is not reached by all threads of a block")

    def _wake(self) -> None:
        """Those that sleep look again, once nobody else can go on."""
        self.naps += 1
        if self.naps > MOST_NAPS:
            raise Divergence("threads wait for others that never come")
        for at, lanes in self.asleep.items():
            self._join(at, lanes)
        self.asleep = {}

    def wakes(self) -> None:
        """Something has happened that somebody may wait for."""
        self.naps = 0

    def _go_on(self, at: int, lanes: np.ndarray) -> None:
        others = min(self.groups, default=1 << 60)
        chosen = None if len(lanes) == self.count else lanes
        while at < len(self.program):
            if at == others:
                self._join(at, lanes)
                return
            if self.kernel.code[at].name[0] == "nanosleep":
                there = self.asleep.get(at + 1, lanes[:0])
                self.asleep[at + 1] = np.sort(np.concatenate([there, lanes]))
                return
            self.executed += 1
            step = self.program[at]
            if step is not None:
                step(chosen)
                at += 1
            elif not self._steer(at, lanes):
                return
            else:
                at += 1
        self._end(lanes)

    def _steer(self, at: int, lanes: np.ndarray) -> bool:
        """A branch, an end or a barrier: whether the group simply goes on."""
        instruction = self.kernel.code[at]
        head, guard = instruction.name[0], instruction.guard
        taken, rest = lanes, lanes[:0]
        if guard is not None:
            holds = self.registers[guard[1]][lanes] != guard[0]
            taken, rest = lanes[holds], lanes[~holds]
        if not len(taken):
            return True
        if head == "bra":
            self._join(self.kernel.labels[instruction.operands[0]], taken)
            self._join(at + 1, rest)
        elif head in ("ret", "exit"):
            self._join(at + 1, rest)
            self._end(taken)
        elif "warp" in instruction.name:
            if len(rest):
                raise Divergence("a barrier of a warp is not reached by all lanes")
            self.warps(taken, "a barrier of a warp")
            return True
        else:
            self._join(at + 1, rest)
            self.waiting[taken] = at + 1
            self.barrier_of[taken] = self._barrier(instruction)
            self._release()
        return False

    def _join(self, at: int, lanes: np.ndarray) -> None:
        if len(lanes):
            there = self.groups.get(at)
            self.groups[at] = lanes if there is None else np.sort(np.concatenate([there, lanes]))

    def _end(self, lanes: np.ndarray) -> None:
        self.ended[lanes] = True
        self._release()

    def _barrier(self, instruction: Instruction) -> tuple[int, int]:
        """(number, how many threads) of a barrier; 0 threads: all of the block."""
        number, *count = (int(o, 0) for o in instruction.operands)
        return number, count[0] if count else 0

    def _release(self) -> None:
        """The threads of a block that wait at one barrier go on when there are as many as it is for (those that have
        ended count where it is for all); they must wait at one place."""
        waiting = self.waiting >= 0
        if not waiting.any():
            return
        for number in np.unique(self.barrier_of[waiting, 0]):
            here = (waiting & (self.barrier_of[:, 0] == number)).reshape(self.blocks, self.threads)
            counts = self.barrier_of[:, 1].reshape(here.shape)
            least, most = (np.where(here, counts, other).T for other in (1 << 20, -1))
            some = here.any(1)
            needed = most.max(0)
            if (some & (least.min(0) != needed)).any():
                raise Divergence("threads wait at one barrier for different numbers of threads")
            ended = np.where(needed == 0, self.ended.reshape(here.shape).sum(1), 0)
            ready = some & (here.sum(1) + ended >= np.where(needed == 0, self.threads, needed))
            if ready.any():
                self._go_on_from(here & ready[:, None], needed)

    def _go_on_from(self, here: np.ndarray, needed: np.ndarray) -> None:
        """Threads go on from the barrier at which they have met, those of one block at one place."""
        places = self.waiting.reshape(here.shape)
        blocks = np.nonzero(here.any(1))[0]
        lowest, highest = np.where(here, places, 1 << 60).min(1), np.where(here, places, -1).max(1)
        if (lowest[blocks] != highest[blocks]).any():
            raise Divergence("threads of one block wait at different barriers")
        lanes = np.nonzero(here.reshape(-1))[0]
        for place in np.unique(self.waiting[lanes]):
            self._join(int(place), lanes[self.waiting[lanes] == place])
        self.waiting[lanes] = -1
        self.clock.barrier(blocks, needed[blocks])


def _constant(text: str, dtype: np.dtype) -> np.ndarray:
    if text == "WARP_SZ":
        return np.array([WARP], dtype)
    if re.fullmatch(r"0[fF][0-9a-fA-F]{8}", text):
        value = np.frombuffer(struct.pack("<I", int(text[2:], 16)), np.float32)
        return value.view(dtype) if dtype.kind in "iu" and dtype.itemsize == 4 else value.astype(dtype)
    if re.fullmatch(r"0[dD][0-9a-fA-F]{16}", text):
        return np.frombuffer(struct.pack("<Q", int(text[2:], 16)), np.float64).astype(dtype)
    try:
        value = int(text.rstrip("U"), 0)
    except ValueError:
        raise UnknownPtx(f"the operand {text}") from None
    if dtype.kind in "iu":
        return np.array([value & ((1 << 8 * dtype.itemsize) - 1)], RAW[dtype.itemsize]).view(dtype)
    return np.array([value], dtype)
