"""Loads, stores, moves and atomic updates."""

from __future__ import annotations

import re

import numpy as np

from diffgraph.targets.cuda.ptx.arithmetic import type_of
from diffgraph.targets.cuda.ptx.memory import RAW
from diffgraph.targets.cuda.ptx.parse import Instruction, UnknownPtx

_SPACES = ("param", "global", "shared", "local", "const")


def parts(operand: str) -> list[str]:
    """The registers of a vector operand, or the one of a plain one."""
    return [p.strip() for p in operand.strip("{}").split(",")]


def space_of(instruction: Instruction) -> str:
    """The space that an instruction works on; `generic` where it does not say."""
    return next((s for w in instruction.name for s in _SPACES if w.split(":")[0] == s), "generic")


def _load(launch, instruction: Instruction):
    own, space = type_of(instruction), space_of(instruction)
    if space == "param":
        return _load_parameter(launch, instruction, own)
    width = np.dtype(own).itemsize
    targets = [launch.writer(r, own) for r in parts(instruction.operands[0])]
    address = launch.address(instruction.operands[1], space)
    memory, values = launch.memory, launch.memory.as_width[width]
    acquires = "acquire" in instruction.name

    def step(lanes):
        places = address(lanes)
        memory.check(places, width * len(targets), f"a load ({instruction.text})")
        if acquires:
            launch.clock.acquire(places, launch.chosen(lanes))
        elif space != "local":
            memory.note_read(places, width * len(targets), launch.chosen(lanes), launch.clock)
        for number, write in enumerate(targets):
            write(lanes, values[places // width + number].view(own))

    return step


def _load_parameter(launch, instruction, own):
    name = re.match(r"\[\s*([\w$]+)", instruction.operands[1]).group(1)
    value = launch.parameters[name]
    raw = value.view(RAW[value.dtype.itemsize])
    if np.dtype(own).itemsize <= raw.dtype.itemsize:
        value = raw.astype(RAW[np.dtype(own).itemsize]).view(own)
    write = launch.writer(instruction.operands[0], own)
    return lambda lanes: write(lanes, value)


def _store(launch, instruction: Instruction):
    own, space = type_of(instruction), space_of(instruction)
    width = np.dtype(own).itemsize
    address = launch.address(instruction.operands[0], space)
    sources = [launch.reader(r, own) for r in parts(instruction.operands[1])]
    memory, values = launch.memory, launch.memory.as_width[width]

    def step(lanes):
        places = address(lanes)
        memory.check(places, width * len(sources), f"a store ({instruction.text})")
        if space != "local":
            memory.note_write(places, width * len(sources), launch.chosen(lanes), launch.clock)
        for number, read in enumerate(sources):
            values[places // width + number] = np.broadcast_to(read(lanes), places.shape).view(RAW[width])

    return step


def _move(launch, instruction: Instruction):
    own = type_of(instruction)
    target, source = instruction.operands
    if source.startswith("{"):
        return _pack(launch, target, parts(source), own)
    if target.startswith("{"):
        return _unpack(launch, parts(target), source, own)
    read, write = launch.reader(source, own), launch.writer(target, own)
    return lambda lanes: write(lanes, read(lanes))


def _pack(launch, target: str, sources: list[str], own):
    width = np.dtype(own).itemsize // len(sources)
    readers = [launch.reader(s, RAW[width]) for s in sources]
    write = launch.writer(target, own)

    def step(lanes):
        total = np.zeros(len(launch.chosen(lanes)), np.uint64)
        for number, read in enumerate(readers):
            total |= read(lanes).astype(np.uint64) << np.uint64(8 * width * number)
        write(lanes, total.astype(RAW[np.dtype(own).itemsize]).view(own))

    return step


def _unpack(launch, targets: list[str], source: str, own):
    width = np.dtype(own).itemsize // len(targets)
    read = launch.reader(source, RAW[np.dtype(own).itemsize])
    writers = [launch.writer(t, RAW[width]) for t in targets]

    def step(lanes):
        value = read(lanes).astype(np.uint64)
        for number, write in enumerate(writers):
            write(lanes, (value >> np.uint64(8 * width * number)).astype(RAW[width]))

    return step


def _convert_address(launch, instruction: Instruction):
    """cvta: between a place in a space and a generic address. Only those of shared memory differ."""
    target, source = instruction.operands
    read, write = launch.reader_of_address(source), launch.writer(target, np.uint64)
    sign = 0 if space_of(instruction) != "shared" else -1 if "to" in instruction.name else 1
    return lambda lanes: write(
        lanes, (read(lanes) + sign * launch.shared_base[launch.chosen(lanes)]).astype(np.uint64)
    )


_UPDATES = {"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or}


def _atomic(launch, instruction: Instruction):
    """atom and red: one thread after the other, in order of their numbers."""
    own, reduces = type_of(instruction), instruction.name[0] == "red"
    action = next((w for w in instruction.name if w in (*_UPDATES, "exch", "cas")), None)
    if action is None:
        raise UnknownPtx(f"the instruction {instruction.text}")
    operands = instruction.operands if reduces else instruction.operands[1:]
    address = launch.address(operands[0], space_of(instruction))
    given = [launch.reader(o, own) for o in operands[1:]]
    write = launch.writer("_" if reduces else instruction.operands[0], own)
    width = np.dtype(own).itemsize
    memory, values = launch.memory, launch.memory.as_width[width].view(own)

    def step(lanes):
        places = address(lanes)
        memory.check(places, width, f"an atomic update ({instruction.text})")
        launch.wakes()
        if "release" in instruction.name:
            launch.clock.release(places, launch.chosen(lanes))
        arguments = [np.broadcast_to(g(lanes), places.shape) for g in given]
        before = np.empty(len(places), own)
        for number, place in enumerate(places // width):
            before[number] = values[place]
            if action == "exch":
                values[place] = arguments[0][number]
            elif action == "cas":
                if before[number] == arguments[0][number]:
                    values[place] = arguments[1][number]
            else:
                values[place] = _UPDATES[action](before[number], arguments[0][number])
        write(lanes, before)

    return step


def _nothing(launch, instruction):
    return lambda lanes: None


#: By the first word of the name.
OPERATIONS = {
    "ld": _load,
    "ldu": _load,
    "st": _store,
    "mov": _move,
    "cvta": _convert_address,
    "atom": _atomic,
    "red": _atomic,
    "membar": _nothing,
    "fence": _nothing,
    "prefetch": _nothing,
}
