"""What the lanes of a warp do together: shuffles, votes, matrix products; and copies that run on their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffgraph.targets.cuda.ptx.arithmetic import bf16_to_float
from diffgraph.targets.cuda.ptx.movement import parts
from diffgraph.targets.cuda.ptx.parse import Instruction, UnknownPtx

_LANE = np.arange(32)

#: The row and the column of a lane in a fragment of a matrix.
_GROUP, _PLACE = _LANE // 4, _LANE % 4


def _shuffle(launch, instruction: Instruction):
    mode = instruction.name[2]
    first, _, second = instruction.operands[0].partition("|")
    source = launch.reader(instruction.operands[1], np.uint32)
    distance, clamp = (launch.reader(o, np.uint32) for o in instruction.operands[2:4])
    write = launch.writer(first, np.uint32)
    valid = launch.writer(second, np.bool_) if second else None

    def step(lanes):
        shape = launch.warps(lanes, "a shuffle").shape
        values, by, limits = (np.broadcast_to(r(lanes), (shape[0] * 32,)).reshape(shape) for r in (source, distance, clamp))
        by, limits = by.astype(np.int64), limits.astype(np.int64)
        segment, bound = (limits >> 8) & 31, limits & 31
        most, least = (_LANE & segment) | (bound & ~segment), _LANE & segment
        lane = {"down": _LANE + by, "up": _LANE - by, "bfly": _LANE ^ by, "idx": least | (by & ~segment)}[mode]
        inside = lane >= most if mode == "up" else lane <= most
        lane = np.where(inside, lane, _LANE)
        write(lanes, np.take_along_axis(values, lane, 1).reshape(-1))
        if valid:
            valid(lanes, inside.reshape(-1))

    return step


def _vote(launch, instruction: Instruction):
    mode, operand = instruction.name[2], instruction.operands[1]
    read = launch.reader(operand.lstrip("!"), np.bool_)
    write = launch.writer(instruction.operands[0], np.uint32 if mode == "ballot" else np.bool_)

    def step(lanes):
        shape = launch.warps(lanes, "a vote").shape
        holds = np.broadcast_to(read(lanes), (shape[0] * 32,)).reshape(shape) != operand.startswith("!")
        if mode == "ballot":
            result = (holds.astype(np.uint64) << _LANE.astype(np.uint64)).sum(1).astype(np.uint32)
        else:
            result = holds.any(1) if mode == "any" else holds.all(1)
        write(lanes, np.repeat(result, 32))

    return step


def _active(launch, instruction: Instruction):
    write = launch.writer(instruction.operands[0], np.uint32)

    def step(lanes):
        chosen = launch.chosen(lanes)
        masks = np.zeros(launch.count // 32 + 1, np.uint64)
        np.bitwise_or.at(masks, launch.clock.warp_of[chosen], np.uint64(1) << launch.lane_in_warp[chosen].astype(np.uint64))
        write(lanes, masks[launch.clock.warp_of[chosen]].astype(np.uint32))

    return step


def _load_matrices(launch, instruction: Instruction):
    """ldmatrix: 8 x 8 matrices of 16-bit elements; lane 8 i + r gives the address of row r of matrix i."""
    targets = [launch.writer(r, np.uint32) for r in parts(instruction.operands[0])]
    address = launch.address(instruction.operands[1], "shared")
    count, transposed = len(targets), "trans" in instruction.name
    memory = launch.memory

    def step(lanes):
        rows = launch.warps(lanes, "ldmatrix")
        places = address(lanes).reshape(rows.shape)[:, : 8 * count]
        readers = rows[:, : 8 * count]
        memory.check(places.reshape(-1), 16, "ldmatrix")
        memory.note_read(places.reshape(-1), 16, readers.reshape(-1), launch.clock)
        loaded = memory.as_width[2][places[:, :, None] // 2 + np.arange(8)]
        loaded = loaded.reshape(len(rows), count, 8, 8).astype(np.uint32)
        for number, write in enumerate(targets):
            matrix = loaded[:, number].transpose(0, 2, 1) if transposed else loaded[:, number]
            low, high = matrix[:, _GROUP, 2 * _PLACE], matrix[:, _GROUP, 2 * _PLACE + 1]
            write(lanes, (low | (high << 16)).reshape(-1))

    return step


def _multiply_matrices(launch, instruction: Instruction):
    """mma: D[16, 8] = A[16, k] @ B[k, 8] + C, fragments as the PTX manual lays them out over the lanes."""
    shape = next(w for w in instruction.name if w.startswith("m16n8k"))
    depth = int(shape.removeprefix("m16n8k"))
    kind = next((k for k in ("tf32", "bf16", "f16") if k in instruction.name), None)
    if kind is None or instruction.name[-1] != "f32":
        raise UnknownPtx(f"the instruction {instruction.text}")
    a, b = ([launch.reader(r, np.uint32) for r in parts(o)] for o in instruction.operands[1:3])
    c = [launch.reader(r, np.float32) for r in parts(instruction.operands[3])]
    d = [launch.writer(r, np.float32) for r in parts(instruction.operands[0])]

    def step(lanes):
        rows = launch.warps(lanes, "mma").shape

        def values(read):
            return np.broadcast_to(read(lanes), (rows[0] * 32,)).reshape(rows)

        left, right = np.zeros((rows[0], 16, depth)), np.zeros((rows[0], depth, 8))
        for number, read in enumerate(a):
            for element, offset, value in _elements(values(read), kind):
                column = element + (4 if kind == "tf32" else 8) * (number >> 1)
                left[:, _GROUP + 8 * (number & 1), column + offset] = value
        for number, read in enumerate(b):
            for element, offset, value in _elements(values(read), kind):
                right[:, element + offset + (4 if kind == "tf32" else 8) * number, _GROUP] = value
        product = left @ right
        for number, (read, write) in enumerate(zip(c, d)):
            part = product[:, _GROUP + 8 * (number >> 1), 2 * _PLACE + (number & 1)]
            write(lanes, (values(read) + part).astype(np.float32).reshape(-1))

    return step


def _elements(words: np.ndarray, kind: str):
    """(place along the depth, offset, values) of what a word of a fragment holds: one tf32, or two of 16 bits."""
    if kind == "tf32":
        yield _PLACE, 0, (words & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)
        return
    for half in (0, 1):
        bits = np.ascontiguousarray((words >> np.uint32(16 * half)).astype(np.uint16))
        value = bf16_to_float(bits) if kind == "bf16" else bits.view(np.float16)
        yield 2 * _PLACE, half, value.astype(np.float64)


@dataclass
class _Copy:
    """A copy under way: whose, from where to where, how many bytes of it are copied and how many are there, its group."""

    lanes: np.ndarray
    target: np.ndarray
    source: np.ndarray
    size: int
    given: np.ndarray
    group: np.ndarray


class Copies:
    """The asynchronous copies of a launch. What they write is 0xFF until their thread has waited for them."""

    def __init__(self, launch):
        self.launch = launch
        self.groups = np.zeros(launch.count, np.int64)
        self.pending: list[_Copy] = []

    def begin(self, lanes, target, source, size: int, given) -> None:
        """A copy of `size` bytes, those from `given` on being zero."""
        memory, chosen = self.launch.memory, self.launch.chosen(lanes)
        memory.check(target, size, "an asynchronous copy to shared memory")
        reading = given > 0
        memory.check(source[reading], size, "an asynchronous copy from global memory")
        memory.note_write(target, size, chosen, self.launch.clock)
        for byte in range(size):
            memory.bytes[target + byte] = 0xFF
        self.pending.append(_Copy(chosen, target, source, size, given, self.groups[chosen].copy()))

    def commit(self, lanes) -> None:
        """What was begun since the last commit is a group."""
        self.groups[self.launch.chosen(lanes)] += 1

    def wait(self, lanes, left: int) -> None:
        """Ends all but the last `left` groups of these lanes."""
        waits = np.zeros(self.launch.count, np.bool_)
        waits[self.launch.chosen(lanes)] = True
        remaining = []
        for copy in self.pending:
            ends = waits[copy.lanes] & (copy.group < self.groups[copy.lanes] - left)
            self._finish(copy, ends)
            if not ends.all():
                keep = ~ends
                remaining.append(
                    _Copy(copy.lanes[keep], copy.target[keep], copy.source[keep], copy.size, copy.given[keep], copy.group[keep])
                )
        self.pending = remaining

    def _finish(self, copy: _Copy, ends: np.ndarray) -> None:
        if not ends.any():
            return
        memory = self.launch.memory
        target, source, given = copy.target[ends], copy.source[ends], copy.given[ends]
        memory.note_write(target, copy.size, copy.lanes[ends], self.launch.clock)
        for byte in range(copy.size):
            there = byte < given
            memory.bytes[target + byte] = np.where(there, memory.bytes[np.where(there, source + byte, 0)], 0)

    def at_the_end(self) -> None:
        """Copies that nobody waited for do no harm once the kernel has ended."""
        self.pending.clear()


def _copy(launch, instruction: Instruction):
    """cp.async and its groups."""
    words = instruction.name
    if "commit_group" in words:
        return launch.copies_later(lambda copies, lanes: copies.commit(lanes))
    if "wait_group" in words or "wait_all" in words:
        left = int(instruction.operands[0]) if instruction.operands else 0

        def wait(copies, lanes):
            if "wait_all" in words:
                copies.commit(lanes)
            copies.wait(lanes, left)

        return launch.copies_later(wait)
    if words[:2] != ("cp", "async") or "bulk" in words:
        raise UnknownPtx(f"the instruction {instruction.text}")
    target = launch.address(instruction.operands[0], "shared")
    source = launch.address(instruction.operands[1], "global")
    size = int(instruction.operands[2])
    given = launch.reader(instruction.operands[3], np.uint32) if len(instruction.operands) > 3 else None

    def begin(copies, lanes):
        places = target(lanes)
        count = np.full(len(places), size) if given is None else np.broadcast_to(given(lanes), places.shape).astype(np.int64)
        copies.begin(lanes, places, source(lanes), size, count)

    return launch.copies_later(begin)


#: By the first word of the name.
OPERATIONS = {
    "shfl": _shuffle,
    "vote": _vote,
    "activemask": _active,
    "ldmatrix": _load_matrices,
    "mma": _multiply_matrices,
    "cp": _copy,
}
