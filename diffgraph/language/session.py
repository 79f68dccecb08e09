"""What one elaboration keeps: the program being built, where it is, and what it has met."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

from diffgraph.diagnostics import DiffgraphError, Note, Span, error
from diffgraph.ir.dimension import Size, symbols
from diffgraph.ir.program import Builder, Check, Origin, Table, Tensor
from diffgraph.language import sizes
from diffgraph.language.budget import STEPS_FOR_ONE_REPEATED, Budget
from diffgraph.language.builders import BodyBuilder, NamedBuilder
from diffgraph.language.limits import limits
from diffgraph.language.network import Instance, Variable
from diffgraph.language.paths import matches, site_of
from diffgraph.language.requirements import Requirements
from diffgraph.language.values import TensorValue, Undecided
from diffgraph.language.weight import Scale


@dataclass
class FrameNaming:
    """The automatic names of the instances in one frame: by call (a node of the text, and which of its calls), and how
    many each type has."""

    by_call: dict[tuple[int, int], str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def copy(self) -> FrameNaming:
        return FrameNaming(dict(self.by_call), dict(self.counts))


@dataclass
class Naming:
    """The automatic names of instances, by path of the frame. Training mode gives them; inference mode finds them again
    by place of call."""

    frames: dict[str, FrameNaming] = field(default_factory=dict)


@dataclass
class Frame:
    """An instance that is open: its path, where it was applied, and what has been called inside it."""

    path: str
    type: str
    span: Span | None
    calls: dict[int, int] = field(default_factory=dict)
    names: dict[str, Span | None] = field(default_factory=dict)
    frozen: bool = False
    reuse: bool = False


@dataclass(frozen=True)
class Extent:
    """How much there is of everything that an elaboration adds to. `last` is the last statement; `outside` counts what
    reached beyond the frame it was in."""

    main: tuple[int, int, int, int]
    initial: tuple[int, int, int, int]
    instances: int
    updates: int
    draws: int
    checks: int
    steps: int
    outside: int
    last: Any

    def last_of(self, session: Session) -> Any:
        """The statement that now stands where `last` stood."""
        return session.main.statements[self.main[0] - 1] if self.main[0] else None


class Session(Budget):
    """One elaboration of a net in one mode."""

    def __init__(self, training: bool, sizes_given: dict[str, int], naming: Naming, folder=None):
        super().__init__()
        self.training = training
        self.mode_matters = False
        self.sizes_given = sizes_given
        self.naming = naming
        self.folder = folder
        self.builder: Builder = NamedBuilder()
        self.main = self.builder
        self.initial = NamedBuilder()
        self.frames = [Frame("", "net", None)]
        self.loop_variables: list[str] = []
        self.instances: list[Instance] = []
        self.variables: dict[str, Variable] = {}
        self.by_path: dict[str, Any] = {}
        self.updates: dict[str, str] = {}
        self._required = Requirements()
        self.scale = Scale()
        self.failed = False
        self.draws: dict[str, int] = {}
        self.calls: list[Any] = []
        self.constants: dict[tuple[Any, str], Any] = {}
        self.shared: dict[Any, Frame] = {}
        self.updates_log: list[str] = []
        self.draws_log: list[str] = []
        self.sites: dict[int, str | None] = {}
        self.outside = 0
        self.deepest = (0, 0)
        self.alike: dict[tuple, Any] = {}
        self._run_scalars: dict[tuple[int, str], TensorValue] = {}
        self.phase = "forward"
        self.notations: list[Any] = []
        self.freeze: tuple[str, ...] = ()
        self.augmented: tuple[dict, dict] = ({}, {})
        self.loops: list[list[tuple[TensorValue, str, Span | None]]] = []
        #: How many bodies of scans have been elaborated once more.
        self.repeated = 0
        #: Conditions of the guard that is being read, where one is: `(x[:, t - 1] else 0)`.
        self.guards: list[Any] | None = None
        self.iteration: list[tuple[Tensor, Size]] = []

    def snapshot(self) -> Callable[[], None]:
        """Gives a function that takes everything back that has been elaborated since."""
        builders, builder = [self.initial], self.builder
        while isinstance(builder, BodyBuilder):
            builders.append(builder)
            builder = builder.parent
        holders = [self, self.naming, self._required, *builders, builder, *self.frames, *self.shared.values()]
        # Containers keep their identity, since others hold them too.
        saved = [(h, k, v, copy(v) if isinstance(v, (list, dict)) else v) for h in holders for k, v in vars(h).items()]

        def restore() -> None:
            for holder, name, value, content in saved:
                if isinstance(value, list):
                    value[:] = content
                elif isinstance(value, dict):
                    value.clear()
                    value.update(content)
                setattr(holder, name, value)

        return restore

    # ------------------------------------------------------------ where we are

    def in_training(self) -> bool:
        """What `training` is here; that it was asked for is remembered."""
        self.mode_matters = True
        return self.training and not any(f.frozen for f in self.frames)

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    def at(self, span: Span | None) -> None:
        """Says what text the next definitions come from."""
        if not self.frame.path and len(self.frames) == 1 or self.builder.origin.path != self.frame.path:
            self.builder.origin = Origin(self.frame.path, span, self.phase)
        elif span is not None:
            self.builder.origin = replace(self.builder.origin, span=span)

    @contextmanager
    def inside(self, frame: Frame):
        """Opens an instance; errors inside it tell where it was applied."""
        before = self.builder.origin
        frame.frozen = frame.frozen or any(matches(pattern, frame.path) for pattern in self.freeze)
        self.frames.append(frame)
        self.deepest = max(self.deepest[0], len(self.calls)), max(self.deepest[1], len(self.frames))
        if len(self.frames) > limits().nesting * 4:
            raise error("DG590", f"layers are nested deeper than {limits().nesting * 4}", frame.span)
        self.builder.origin = Origin(frame.path, frame.span, self.phase)
        try:
            yield frame
        except DiffgraphError as problem:
            raise _within(problem, frame) from None
        finally:
            self.frames.pop()
            self.builder.origin = before

    @contextmanager
    def building(self, builder: Builder):
        """Defines into another program."""
        before = self.builder
        builder.origin = before.origin
        self.builder = builder
        try:
            yield builder
        finally:
            self.builder = before

    def hint(self, name: str) -> str:
        """A readable name for a tensor of the open instance."""
        return f"{self.frame.path}_{name}" if self.frame.path else name

    def check(self, holds: TensorValue, message: str, span: Span | None) -> None:
        """A bool of rank 0 must be true when the program has run, in each step of the loops around it."""
        if self.loops:
            self.loops[-1].append((holds, message, span))
        elif isinstance(self.builder, BodyBuilder):
            raise error("DG533", "a derivative cannot assert anything about values", span)
        else:
            self.root.checks.append(Check(holds.tensor.name, message, span))

    # ------------------------------------------------------------ how much there is

    @property
    def depth(self) -> tuple[int, int]:
        """How many calls and frames are open."""
        return len(self.calls), len(self.frames)

    def extent(self) -> Extent:
        """How much there is now."""
        main = self.main
        last = main.statements[-1] if main.statements else None
        return Extent(
            main.extent, self.initial.extent, len(self.instances), len(self.updates_log), len(self.draws_log),
            len(main.checks), self.work, self.outside, last,
        )  # fmt: skip

    def count_repeated(self, steps: int, height: tuple[int, int]) -> None:
        """Counts the work of an application that is repeated from its template, in a part of the time that evaluation
        takes."""
        self.steps += steps // STEPS_FOR_ONE_REPEATED + 2
        self.work += steps
        inside = tuple(a + b for a, b in zip(self.depth, height))
        self.deepest = max(self.deepest[0], inside[0]), max(self.deepest[1], inside[1])

    def updated(self, path: str, value: TensorValue) -> None:
        """A parameter or state has a new value, which is kept at the end of the step."""
        self.by_path[path] = value
        self.updates[path] = value.tensor.name
        self.updates_log.append(path)

    def drawn(self, path: str, times: int) -> None:
        """A name has been drawn so many times."""
        self.draws[path] = times
        self.draws_log.append(path)

    def site(self, path: str) -> int:
        """The number by which a draw is told from all others."""
        site = site_of(path)
        if self.sites.setdefault(site, path) != path:
            self.sites[site] = None
        return site

    # ------------------------------------------------------------ what the program reads

    @property
    def root(self) -> Builder:
        """The builder of the whole program, also while a body is built."""
        builder = self.builder
        while isinstance(builder, BodyBuilder):
            builder = builder.parent
        return builder

    def run_scalar(self, name: str, kind: str = "int") -> TensorValue:
        """A rank-0 input that the runner sets: `seed`, `step`, `total_steps`."""
        known = self._run_scalars.get((id(self.root), name))
        if known is None:
            hint = f"{name}_number" if name in ("step", "total_steps") else name
            known = TensorValue(self.root.input(hint, (), "run", kind=kind, path=name))
            self._run_scalars[id(self.root), name] = known
        return known

    def table(self, hint: str, array, kind: str, bound=None) -> Tensor:
        """A constant tensor, one for each content."""
        table = Table(array)
        for given in self.root.inputs:
            if given.table is not None and given.table == table and given.tensor.kind == kind:
                return given.tensor
        # No name of a program holds a space: what is called `table` there is never this.
        return self.root.input(hint, array.shape, "constant", kind=kind, bound=bound, table=table, path=f"constant {hint}")

    def operand(self, tensor: Tensor, span: Span | None = None) -> str:
        """The name under which the program being built reads a tensor; a body captures what is outside."""
        known = self.builder.tensors.get(tensor.name)
        if isinstance(self.builder, BodyBuilder):
            if known is None:
                self.builder.capture(tensor)
            return tensor.name
        if known is tensor:
            return tensor.name
        return self._initial_of(tensor, span)

    def _initial_of(self, tensor: Tensor, span: Span | None) -> str:
        """Inside the program of initial values a parameter or state stands for its initial value."""
        path = next((p for p, v in self.variables.items() if v.tensor is tensor), None)
        for made in self.initial.outputs:
            if made.name == path:
                return made.tensor
        raise error(
            "DG540", "an initial value cannot depend on tensors of the program", span,
            help="it may use settings, numbers, and parameters made before",
        )  # fmt: skip

    # ------------------------------------------------------------ sizes

    @property
    def batch(self) -> str | None:
        """The symbol that stays symbolic when compiled: the first axis of the first input, else of the first target."""
        for role in ("input", "target"):
            if (first := self.main.first.get(role)) is not None:
                return str(first.shape[0]) if first.shape and symbols(first.shape[0]) else None
        return None

    def depends_on_batch(self, *values: Size) -> bool:
        """Whether what is asked of sizes is asked of the batch, which may have any size."""
        return self.batch in frozenset().union(*(symbols(v) for v in values))

    def require_equal(self, a: Size, b: Size, problem, span: Span | None, where: str = "") -> None:
        """Two sizes must agree. Where symbols leave it open it becomes a requirement; `problem()` makes the error."""
        if a == b:
            return
        same = sizes.equal(a, b)
        if same is None and self._required.imply_equal(a, b):
            return
        if same is False or same is None and self.depends_on_batch(a, b):
            raise problem()
        if same is None:
            self.require(Undecided((("==", a, b),)), span, where)

    def require_at_least(self, a: Size, b: Size, problem, span: Span | None, where: str = "") -> None:
        """a >= b must hold; as `require_equal`."""
        enough = sizes.at_least(a, b)
        if enough is False or enough is None and self.depends_on_batch(a, b):
            raise problem()
        if enough is None:
            self.require(Undecided(((">=", a, b),)), span, where)

    def whole(self, value: sizes.Exact, problem, span: Span | None) -> Size:
        """An exact number as a size. Where symbols leave open that it is whole (`T / 2`) it becomes a requirement."""
        top, bottom = sizes.ratio(value)
        if bottom == 1:
            return top
        if isinstance(top, int):
            raise problem()
        size = sizes.floor_of(value, 1)
        self.require_equal(sizes.multiply(size, bottom), top, problem, span)
        return size

    def require(self, condition: Undecided, span: Span | None, where: str = "") -> None:
        """Each of some comparisons that symbols leave open must hold when the symbols get values."""
        where = where or (f"from {self.frame.type}" if self.frame.type else "")
        line = f"at line {span.line}" if span else ""
        place = " ".join(w for w in (where, line) if w)
        for one in condition.conditions:
            self._required.add(one, place)

    @property
    def requirements(self) -> tuple[str, ...]:
        """What symbols must fulfil and where that comes from, without what follows from the rest."""
        return self._required.texts()


def _within(problem: DiffgraphError, frame: Frame) -> DiffgraphError:
    """The error with a note of the layer that it happened in."""
    if not frame.type:
        return problem
    name = f" as {frame.path}" if frame.path else ""
    note = Note(f"in {frame.type}, applied at {frame.span}{name}") if frame.span else Note(f"in {frame.type}")
    seen = (d.seen_from(frame.span) for d in problem.diagnostics)
    return type(problem)(*(replace(d, notes=(*d.notes, note)) for d in seen))
