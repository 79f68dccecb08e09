"""What a schedule is made of.

    Schedule(tensors, memory, steps, ...)
    Step = Launch(kernel)                                  run a kernel
         | Sort(tensor, operand, descending)               the order of the last axis
         | Copy(to, from)                                  the elements of a tensor
         | Repeat(length, index, ..., steps)               a scan
         | Apart(samples, ..., steps)                      steps for the samples of a batch, share by share
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from diffgraph.ir.dimension import Size
from diffgraph.ir.program import Provenance, Table, Tensor
from diffgraph.kernels.loops import Kernel


@dataclass(frozen=True)
class Launch:
    """Run a kernel. Its buffers are tensors by name. `results`: the tensors that it leaves in memory; `members`: all whose
    definitions it computes, wholly or in part."""

    kernel: Kernel
    results: tuple[str, ...]
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sort:
    """tensor = the stable order of the operand's last axis."""

    tensor: str
    operand: str
    descending: bool
    provenance: Provenance = ()


@dataclass(frozen=True)
class Copy:
    """target = source, element by element; both have one shape."""

    target: str
    source: str


@dataclass(frozen=True)
class Row:
    """A tensor `inner` of a body that is, in step t, the row t + `start` of `outer`."""

    inner: str
    outer: str
    start: int = 0


@dataclass(frozen=True)
class Part:
    """Memory that is part of another one: what begins at a row of `base`."""

    base: str
    row: Size


@dataclass(frozen=True)
class State:
    """A carry of a scan: `inner` is read in a step and `next` is written; then they change places."""

    inner: str
    next: str


@dataclass(frozen=True)
class Repeat:
    """for t in range(length), downwards if reverse: the steps, with `index` holding t, each row being the row t of its
    tensor; after each step the two memories of each state change places."""

    length: Size
    index: str
    rows: tuple[Row, ...]
    states: tuple[State, ...]
    steps: tuple[Step, ...]
    reverse: bool
    results: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """Of a tensor `outer` that has a place for each sample: `inner` begins at the first sample of a share. stride: elements
    from one sample to the next."""

    inner: str
    outer: str
    stride: Size


@dataclass(frozen=True)
class Apart:
    """The steps for some samples after the others: for each share of the samples, on whatever thread.

    samples: how many there are in all. share, shares: the symbols of how many are in a share, and of how many shares there
    are. views: what lies outside and has a place for each sample. sums: what has a row for each share, (inner, outer).
    own: the memories that a thread has for itself.
    """

    samples: Size
    share: str
    shares: str
    steps: tuple[Step, ...]
    views: tuple[View, ...]
    sums: tuple[tuple[str, str], ...]
    own: frozenset[str]
    results: tuple[str, ...]


Step = Launch | Sort | Copy | Repeat | Apart


#: With fewer samples than these threads share out each kernel; a share has at most so many.
FEWEST_SAMPLES, MOST_SAMPLES = 8, 32


def shares_of_samples(samples: int) -> tuple[int, int]:
    """(samples of a share, the last of which may have fewer; how many shares). It depends on nothing else, so that sums over
    the shares are the same however many threads there are; an even number, so that two have the same to do."""
    if samples < FEWEST_SAMPLES:
        return max(1, samples), 1
    count = 2 * -(-samples // (2 * MOST_SAMPLES))
    size = -(-samples // count)
    size = -(-size // 4) * 4
    return size, -(-samples // size)


@dataclass(frozen=True)
class Schedule:
    """Everything that a step of a program does.

    tensors: by name. memory: the tensor in whose memory each tensor is: itself, or that which it is a view of.
    tables: the constants. parts: memories that lie in others.
    """

    tensors: Mapping[str, Tensor]
    memory: Mapping[str, str]
    steps: tuple[Step, ...]
    tables: Mapping[str, Table] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Every kernel, in order of first use."""
        return tuple(dict.fromkeys(k for s in self.steps for k in _kernels(s)))


def _kernels(step: Step):
    if isinstance(step, Launch):
        yield step.kernel
    elif isinstance(step, (Repeat, Apart)):
        for inner in step.steps:
            yield from _kernels(inner)
