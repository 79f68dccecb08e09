"""The order of the passes, argued once.

    dce            first, so that nothing works on what nobody reads
    canonicalize   before all algebra, so that equal definitions look equal, and equalities are places
    cse            early, so that nothing later is done twice
    hoist          while sums are as they were differentiated: what leaves them makes more of them equal
    contract       after hoist: only what really is summed is put in order
    gather         writes through windows become contractions like any other, and more terms become maps
    fold           terms that can be one are one, now that some have become maps, so that they count as one producer
    cse            finds the sums that hoist has made equal
    compose        once sums are plain contractions, and before fuse hides what is linear in functions that are not
    hoist, contract   again: sums that became one are put in order (a mean of a 1x1 convolution is that of a mean)
    merge          once filters are what they will be, and before fuse puts functions into other sums
    distribute     before lift: what leaves a chunk of steps may be the same in every chunk
    lift           before fuse, which would put what is the same in every step of a scan back into its steps
    fuse           last of the large steps, because substitution hides what those before it look at
    sink           after fuse, which has made one map of several
    unflatten      after fuse, since a map with `//` fuses and a view does not
    extract        after fuse, on the loops that there will be
    canonicalize, cse        again: the last steps make new forms, some of them equal
    fuse, dce      again: some sums have become maps (of what is 0 but in one place)
    anticipate     on the maps that there will be, whose products with a derivative are still their own
    turn           after fuse, which would put what it makes back
    interleave     on the tensors that there will be, before layout: what samples fill, channels need not
    layout         on the tensors that there will be: it changes where their elements are, not what is computed
    winograd       after layout, which has put channels in order, and before halo, which serves its reads as well
    halo           after layout, since a guard only costs where it is tested for each element of a row
    split          after layout, which says what is outermost in memory
    order          nothing is made or removed any more
    join           last: it makes several tensors one memory, which all others would take for several

Derivatives are taken before all of this: the adjoint of an unfused program is a program that fuses as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from diffgraph.diagnostics import CompilerBug, DiffgraphError
from diffgraph.ir.program import Program
from diffgraph.passes.anticipate import anticipate
from diffgraph.passes.canonicalize import canonicalize
from diffgraph.passes.choices import ESTIMATED, Choices
from diffgraph.passes.compose import compose
from diffgraph.passes.contract import contract
from diffgraph.passes.cse import cse
from diffgraph.passes.dce import dce
from diffgraph.passes.distribute import distribute
from diffgraph.passes.extract import extract
from diffgraph.passes.fold import fold
from diffgraph.passes.fuse import fuse
from diffgraph.passes.gather import gather
from diffgraph.passes.halo import halo
from diffgraph.passes.hoist import hoist
from diffgraph.passes.interleave import interleave
from diffgraph.passes.join import join
from diffgraph.passes.layout import layout
from diffgraph.passes.lift import lift
from diffgraph.passes.merge import merge
from diffgraph.passes.order import order
from diffgraph.passes.report import Report
from diffgraph.passes.sink import sink
from diffgraph.passes.split import split
from diffgraph.passes.turn import turn
from diffgraph.passes.unflatten import unflatten
from diffgraph.passes.winograd import winograd, winograd_fast

Pass = Callable[[Program, Report], Program]
Passes = tuple[tuple[str, Pass], ...]

PIPELINE: Passes = (
    ("dce", dce),
    ("canonicalize", canonicalize),
    ("cse", cse),
    ("hoist", hoist),
    ("contract", contract),
    ("gather", gather),
    ("fold", fold),
    ("cse", cse),
    ("compose", compose),
    ("hoist", hoist),
    ("contract", contract),
    ("merge", merge),
    ("distribute", distribute),
    ("lift", lift),
    ("fuse", fuse),
    ("sink", sink),
    ("unflatten", unflatten),
    ("extract", extract),
    ("canonicalize", canonicalize),
    ("cse", cse),
    ("fuse", fuse),
    ("dce", dce),
    ("anticipate", anticipate),
    ("turn", turn),
    ("interleave", interleave),
    ("layout", layout),
    ("winograd", winograd),
    ("halo", halo),
    ("split", split),
    ("order", order),
    ("join", join),
)


#: Passes that put elements where vectors and caches of a processor want them. Blocks of threads of a device bring operands
#: to shared memory one by one, from wherever they are, and test guards on the way: copies in other orders and margins would
#: only be more memory to go through. Transforms around products are only fast in memory of a thread's own.
OF_PROCESSORS = frozenset(("turn", "interleave", "layout", "winograd", "halo", "join"))

#: Passes that change results by more than rounding, in the place of those of the same name.
FASTER: Mapping[str, Pass] = {"winograd": winograd_fast}

#: Passes that go by what was measured, where something was.
MEASURED = frozenset(("winograd",))


@dataclass(frozen=True)
class Stage:
    """A program after a pass."""

    name: str
    program: Program


def position(name: str) -> int:
    """How many passes come before the first one of a name."""
    return [n for n, _ in PIPELINE].index(name)


def optimize(
    program: Program, report: Report | None = None, until: int | None = None, target: str = "cpu",
    interleaved: bool = True, fast: bool = False, choices: Choices = ESTIMATED,
) -> Program:  # fmt: skip
    """The program after the passes for a target (after the first `until` of them); see `stages`."""
    return stages(program, report, until, target, interleaved, fast, choices)[-1].program


def variants(
    program: Program, target: str = "cpu", fast: bool = False, choices: Choices = ESTIMATED
) -> tuple[Program, Program]:
    """The program after the passes for a target, for a few samples and for many: the same where interleaving them does not
    pay, or is not for the target."""
    at = position("interleave")
    before = optimize(program, until=at, target=target)
    after = _passes(PIPELINE[at + 1 :], target, False, fast, choices)
    many = interleave(before, Report()) if target == "cpu" else before
    few = _passed(before, after, Report())[-1].program
    return few, few if many is before else _passed(many, after, Report())[-1].program


def resumed(program: Program, first: str, fast: bool = False, choices: Choices = ESTIMATED) -> Program:
    """The program after the passes from one on, for a processor; it is as the passes before that leave it."""
    return _passed(program, _passes(PIPELINE[position(first) :], "cpu", True, fast, choices), Report())[-1].program


def stages(
    program: Program, report: Report | None = None, until: int | None = None, target: str = "cpu",
    interleaved: bool = True, fast: bool = False, choices: Choices = ESTIMATED,
) -> list[Stage]:  # fmt: skip
    """The program before any pass, and after each that is for the target. A failure inside a pass is a `CompilerBug` that
    names it. interleaved: for many samples, on a target whose vectors they may fill. fast: faster, where results may have
    a relative error of 1e-5 in float32. choices: what was measured to be faster."""
    report = report if report is not None else Report()
    passes = _passes(PIPELINE[:until], target, interleaved, fast, choices)
    return [Stage("elaborated", program), *_passed(program, passes, report)]


def _passes(passes: Passes, target: str, interleaved: bool, fast: bool, choices: Choices) -> Passes:
    """Those of some passes that are for a target, or their faster ones."""
    left_out = OF_PROCESSORS if target == "cuda" else frozenset() if interleaved else frozenset(("interleave",))
    kept = [(n, FASTER.get(n, p) if fast else p) for n, p in passes if n not in left_out]
    return tuple((n, partial(p, choices=choices) if n in MEASURED else p) for n, p in kept)


def _passed(program: Program, passes: Passes, report: Report) -> list[Stage]:
    """The program after each of some passes."""
    done = []
    for name, step in passes:
        report.step = name
        try:
            program = step(program, report)
        except (CompilerBug, DiffgraphError):
            raise
        except Exception as problem:
            raise CompilerBug(f"pass {name}", f"{type(problem).__name__}: {problem}") from problem
        done.append(Stage(name, program))
    return done
