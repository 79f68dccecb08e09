"""The memory of a simulated device: allocations, and who touched what since the last barrier."""

from __future__ import annotations

import numpy as np

#: The unsigned type of each width in bytes.
RAW = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}

#: Accesses are remembered for pieces of this many bytes. Single bytes are not watched for races.
PIECE = 2


class MemoryFault(Exception):
    """An access that a correct kernel does not make."""


class Race(MemoryFault):
    """Two threads touch one place, at least one writes it, and nothing orders them."""


class Memory:
    """One address space for global, shared and local memory. Address 0 is never valid."""

    def __init__(self, capacity: int = 1 << 26):
        self.bytes = np.zeros(capacity, np.uint8)
        self.as_width = {w: self.bytes.view(t) for w, t in RAW.items()}
        self._owner = np.zeros(capacity // 16, np.int32)
        self._top = 4096
        self._allocations = 0
        self._ends: dict[int, tuple[int, int]] = {}
        self._written_by = np.zeros(capacity // PIECE, np.int32)
        self._written_at = np.zeros(capacity // PIECE, np.int64)
        self._read_by = np.zeros(capacity // PIECE, np.int32)
        self._read_at = np.zeros(capacity // PIECE, np.int64)

    # ------------------------------------------------------------------------------------------- allocation

    def allocate(self, size: int) -> int:
        """The address of fresh memory. Its bytes are 0xFF: what is read before it is written is NaN."""
        address = -(-(self._top + 256) // 256) * 256
        self._top = address + size
        if self._top > self.bytes.size:
            raise MemoryError("the simulated device is full")
        self.bytes[address : address + size] = 0xFF
        self._allocations += 1
        self._owner[address // 16 : -(-(address + size) // 16)] = self._allocations
        self._ends[self._allocations] = (address, address + size)
        return address

    def room(self) -> int:
        """How many bytes are left, about."""
        return self.bytes.size - self._top - 512

    def mark(self) -> int:
        """The state of the allocations, for `release`."""
        return self._top

    def release(self, mark: int) -> None:
        """Frees everything that was allocated since a mark."""
        self._owner[-(-mark // 16) : -(-self._top // 16)] = 0
        self._top = mark

    def write(self, address: int, array: np.ndarray) -> None:
        """Puts the bytes of an array at an address, from the host."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self.check(np.array([address]), 1, "upload")
        self.bytes[address : address + data.size] = data

    def read(self, address: int, dtype, shape: tuple[int, ...]) -> np.ndarray:
        """An array of what is at an address, for the host."""
        dtype = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return self.bytes[address : address + count].copy().view(dtype).reshape(shape)

    # ------------------------------------------------------------------------------------------- checks

    def check(self, addresses: np.ndarray, width: int, what: str) -> None:
        """MemoryFault unless each access of `width` bytes lies inside one allocation and is aligned."""
        if not addresses.size:
            return
        if addresses.min() < 0 or addresses.max() + width > self.bytes.size:
            raise MemoryFault(f"{what} outside of the memory of the device")
        first, last = self._owner[addresses >> 4], self._owner[(addresses + width - 1) >> 4]
        if (first == 0).any() or (first != last).any():
            raise MemoryFault(f"{what} of {width} bytes out of bounds")
        for owner in np.unique(first):
            start, end = self._ends[int(owner)]
            mine = addresses[first == owner]
            if mine.min() < start or mine.max() + width > end:
                raise MemoryFault(f"{what} of {width} bytes out of bounds, at {int(mine.max() - start)} of {end - start}")
        if (addresses % width).any():
            raise MemoryFault(f"{what} of {width} bytes is not aligned")

    def note_write(self, addresses: np.ndarray, width: int, lanes: np.ndarray, clock: Clock) -> None:
        """Race if a thread that nothing orders before these has touched one of the places."""
        if width < PIECE:
            return
        places, by = self._pieces(addresses, width, lanes)
        self._conflict(self._written_by[places], self._written_at[places], by, clock, "two threads write")
        self._conflict(self._read_by[places], self._read_at[places], by, clock, "a thread writes what another reads:")
        self._written_by[places] = by + 1
        self._written_at[places] = clock.now(by)
        if (self._written_by[places] != by + 1).any():
            raise Race("two threads write one place at once")

    def note_read(self, addresses: np.ndarray, width: int, lanes: np.ndarray, clock: Clock) -> None:
        """Race if a thread that nothing orders before these has written one of the places."""
        if width < PIECE:
            return
        places, by = self._pieces(addresses, width, lanes)
        self._conflict(self._written_by[places], self._written_at[places], by, clock, "a thread reads what another writes:")
        self._read_by[places] = by + 1
        self._read_at[places] = clock.now(by)

    def _pieces(self, addresses, width: int, lanes) -> tuple[np.ndarray, np.ndarray]:
        count = width // PIECE
        places = (addresses[:, None] // PIECE + np.arange(count)).reshape(-1)
        return places, np.repeat(lanes, count)

    def _conflict(self, others, at, lanes, clock: Clock, what: str) -> None:
        suspect = (others > 0) & (others != lanes + 1)
        if not suspect.any():
            return
        others, at, lanes = others[suspect] - 1, at[suspect], lanes[suspect]
        unordered = clock.unordered(others, at, lanes)
        if unordered.any():
            one, other = lanes[unordered][0], others[unordered][0]
            raise Race(f"{what} one place, and no barrier is between them (threads {int(one)} and {int(other)})")


class Clock:
    """Which accesses of a launch are ordered: those of one thread, those of threads that have met in between at a barrier, or
    as lanes of a warp, and those of blocks one of which has seen what the other released.

    A time is the number of the launch, of the last barrier of the block, and of the last point where the warp met.
    """

    launches = 0

    def __init__(self, lanes: int, block: int):
        Clock.launches += 1
        self.number = Clock.launches
        self.block_of = np.arange(lanes) // block
        self.warp_in_block = np.arange(lanes) % block // 32
        self.warps = -(-block // 32)
        self.warp_of = self.block_of * self.warps + self.warp_in_block
        blocks = self.block_of[-1] + 1 if lanes else 1
        self.barriers = np.zeros(blocks, np.int64)
        self.latest = np.zeros((blocks, self.warps), np.int64)
        self.meetings = np.zeros(blocks * self.warps, np.int64)
        #: By word that was released: for each block, the number of the barrier before which what it did is known.
        self.released: dict[int, np.ndarray] = {}
        self.known: np.ndarray | None = None
        self._acquired: np.ndarray | None = None

    def now(self, lanes: np.ndarray) -> np.ndarray:
        """The time of each lane."""
        return self._time(self.barriers[self.block_of[lanes]], self.meetings[self.warp_of[lanes]])

    def _time(self, barriers, meetings):
        return (self.number << 44) | (barriers << 24) | meetings

    def unordered(self, others: np.ndarray, at: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        """Whether nothing orders accesses of `others` at times before those of lanes now."""
        this_launch = (at >> 44) == self.number
        others = others.clip(max=len(self.block_of) - 1)
        barrier = (at >> 24) & 0xFFFFF
        block, other_block = self.block_of[lanes], self.block_of[others]
        foreign = block != other_block
        unknown = foreign if self.known is None else foreign & (barrier >= self.known[block, other_block])
        both = np.maximum(self.warp_in_block[lanes], self.warp_in_block[others])
        no_barrier = ~foreign & (barrier >= self.latest[block, both])
        other_warp = self.warp_of[others] != self.warp_of[lanes]
        not_met = (at & 0xFFFFFF) == self.meetings[self.warp_of[lanes]]
        return this_launch & (unknown | (no_barrier & (other_warp | not_met)))

    def barrier(self, blocks: np.ndarray, threads: np.ndarray) -> None:
        """The first so many threads (0: all) of each of these blocks have met."""
        self.barriers[blocks] += 1
        met = np.arange(self.warps) < np.where(threads == 0, 32 * self.warps, threads)[:, None] // 32
        self.latest[blocks] = np.where(met, self.barriers[blocks][:, None], self.latest[blocks])
        if self._acquired is not None:
            self.known[blocks] = np.maximum(self.known[blocks], self._acquired[blocks])

    def meet(self, lanes: np.ndarray) -> None:
        """All lanes of these warps have met."""
        self.meetings[np.unique(self.warp_of[lanes])] += 1

    def release(self, places: np.ndarray, lanes: np.ndarray) -> None:
        """Lanes let others know, by words at these places, what their blocks did before their last barriers."""
        self._share()
        for place, lane in zip(places, lanes):
            block = self.block_of[lane]
            told = self.known[block].copy()
            told[block] = self.latest[block].min()
            before = self.released.get(int(place))
            self.released[int(place)] = told if before is None else np.maximum(before, told)

    def acquire(self, places: np.ndarray, lanes: np.ndarray) -> None:
        """Lanes see what was released by words at these places; their blocks know it after their next barriers."""
        self._share()
        for place, lane in zip(places, lanes):
            told = self.released.get(int(place))
            if told is not None:
                mine = self._acquired[self.block_of[lane]]
                np.maximum(mine, told, out=mine)

    def _share(self) -> None:
        if self.known is None:
            blocks = len(self.barriers)
            self.known, self._acquired = (np.zeros((blocks, blocks), np.int64) for _ in range(2))
