"""Kernels as modules of Python text: one alone, or many as one launch.

A `Part` is a kernel as a function of the number of its block. Alone, that is the block of the grid. Together, the blocks of
a launch share out the blocks of each part; between parts that depend on each other, all of them meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_PRELUDE = "from diffgraph.targets.cuda.prelude import *"


@dataclass(frozen=True)
class Part:
    """title: lines for a reader. declarations: of the names that the body uses. arguments: of the function, after
    `block`: buffers, then sizes. meets: whether the threads of a block meet."""

    title: tuple[str, ...]
    declarations: tuple[str, ...]
    arguments: tuple[str, ...]
    body: tuple[str, ...]
    meets: bool = False


@dataclass(frozen=True)
class Call:
    """A part on some arguments: names of those of the launch, or numbers. blocks: how many; threads: of a block that
    take part."""

    part: int
    arguments: tuple[str, ...]
    blocks: str
    threads: int


@dataclass(frozen=True)
class Loop:
    """for counter in range(length): the stages."""

    counter: str
    length: str
    stages: Sequence[Sequence[Call | Loop]]


def module(part: Part) -> str:
    """The text of a part alone."""
    lines = [*_docstring(part.title), "", _PRELUDE, "", *part.declarations, "", ""]
    lines += [f"def kernel({', '.join(part.arguments)}):", "    block = block_of_grid()"]
    return "\n".join([*lines, *_indented(part.body)]) + "\n"


def together(parts: Sequence[Part], stages: Sequence[Sequence[Call | Loop]], arguments: Sequence[str], threads: int) -> str:
    """The text of many parts as one launch: stage by stage, as often as the argument `steps` says. Its arguments are
    `meeting`, where blocks meet, `steps`, then those named."""
    head = f"{_calls(stages)} kernels in {_stages(stages)} stages, as one launch of {threads} threads a block"
    lines = [*_docstring((head,)), "", _PRELUDE, "", ""]
    for number, part in enumerate(parts):
        lines += [*_function(f"part_{number}", part), "", ""]
    lines += [f"def kernel({', '.join(('meeting', *arguments, 'steps'))}):"]
    body = ["thread = thread_of_block()", "for step in range(steps):", *_indented(_in_order(parts, stages, threads))]
    return "\n".join([*lines, *_indented(body)]) + "\n"


def _calls(stages) -> int:
    return sum(1 if isinstance(one, Call) else _calls(one.stages) for stage in stages for one in stage)


def _stages(stages) -> int:
    return len(stages) + sum(_stages(one.stages) for stage in stages for one in stage if isinstance(one, Loop))


def _in_order(parts: Sequence[Part], stages: Sequence[Sequence[Call | Loop]], threads: int) -> list[str]:
    """Stage by stage: all blocks meet at the end of each."""
    lines = []
    for stage in stages:
        calls = [one for one in stage if isinstance(one, Call)]
        met = False
        for number, call in enumerate(calls):
            meets = parts[call.part].meets
            if met and meets:
                lines.append("barrier_of_block()")
            met = met or meets
            lines += _call(call, parts[call.part], number, len(calls), threads)
        if calls:
            lines.append("meet_all(meeting)")
        for loop in (one for one in stage if isinstance(one, Loop)):
            lines.append(f"for {loop.counter} in range({loop.length}):")
            lines += _indented(_in_order(parts, loop.stages, threads))
    return lines


def many(part: Part, parameters: Sequence[str]) -> str:
    """The text of one kernel on many tensors. `table` holds rows of its arguments, and from place `begin` on a word for each
    block: the place of its row, and 32 bits further down which of the blocks on these tensors it is."""
    buffers = [f"{kind}_at(table, int32(row + {n}))" for n, kind in enumerate(parameters)]
    sizes = [f"int32(table[int32(row + {n})])" for n in range(len(parameters), len(part.arguments))]
    body = ["word = table[int32(begin + block_of_grid())]", "row = int32(word >> 32)"]
    body.append(f"part_0({', '.join(('int32(word & 0x7FFFFFFF)', *buffers, *sizes))})")
    lines = [*_docstring(("one kernel on many tensors",)), "", _PRELUDE, "", "", *_function("part_0", part), "", ""]
    return "\n".join([*lines, "def kernel(table, begin):", *_indented(body)]) + "\n"


def _function(name: str, part: Part) -> list[str]:
    """A part as a function, its names its own."""
    lines = [f"def {name}():", *_indented((*_docstring(part.title), *part.declarations, ""))]
    lines += _indented((f"def run({', '.join(('block', *part.arguments))}):", *_indented(part.body), ""))
    return [*lines, *_indented(("return inlined(run)",)), "", "", f"{name} = {name}()"]


def _call(call: Call, part: Part, number: int, count: int, threads: int) -> list[str]:
    """The blocks of a call, shared out among those of the launch; each of the calls of a stage begins at another."""
    inside = [f"part_{call.part}({', '.join(('block', *call.arguments))})"]
    if part.meets:
        inside.append(f"barrier({call.threads})")
    inside.append("block = int32(block + blocks_of_grid())")
    begin = "block_of_grid()" if number == 0 else f"first_block({number}, {count})"
    loop = [f"block = {begin}", f"while block < {call.blocks}:", *_indented(inside)]
    if call.threads < threads:
        loop = [f"if thread < {call.threads}:", *_indented(loop)]
    return [f"# {part.title[0]}", *loop]


def _docstring(title: Sequence[str]) -> list[str]:
    return [f'"""{title[0]}', *(f"    {line}" for line in title[1:]), '"""']


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]
