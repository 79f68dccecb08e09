"""Repairs found by trying: a number of the text is changed, and the program is elaborated again.

Where two shapes do not fit, some setting of a layer before is usually the culprit: a padding that was left out, a width,
a stride. Nothing here knows what a setting does: each that is a number is tried with the values that could be meant, and
a repair is told only when the program with it has the problem no longer and no other one instead.

    residual.net:5: the shapes [N, 16, 28, 28] and [N, 16, 26, 26] do not broadcast
      = help: `conv(16, 3, pad = 1)` gives [N, 16, 28, 28], which fits
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Span
from diffgraph.language import library, syntax
from diffgraph.language.arithmetic import show_shape
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import Module, load_text
from diffgraph.language.traversal import walk

#: The problems that another number may mend: shapes that do not fit together, and assertions about them.
ABOUT_SHAPES = frozenset("DG301 DG343 DG358 DG500 DG504 DG523".split())

#: How many programs are elaborated to repair one file, and how large such a file may be.
MOST_TRIALS = 40
LARGEST_TEXT = 20_000


def joining() -> str:
    """What joins axes, tried in front of a stage: the most forgotten one of all."""
    return library.mending("too many axes") or ""


def with_repairs(
    problems: Iterable[Diagnostic], module: Module, net: str, settings: dict[str, Any]
) -> Iterator[Diagnostic]:
    """The problems of a net, those about shapes with a repair where one was found that works."""
    problems = list(problems)
    trials = _Trials(module, net, settings, len(problems))
    for problem in problems:
        if problem.code not in ABOUT_SHAPES or problem.help is not None or not _is_in(problem.span, module):
            yield problem
            continue
        edit = next((edit for edit in _edits(problem, module) if trials.mends(problem, edit)), None)
        yield problem if edit is None else replace(problem, help=trials.told(edit))


def _is_in(span: Span | None, module: Module) -> bool:
    return span is not None and span.source is module.source and len(span.source.text) <= LARGEST_TEXT


@dataclass(frozen=True)
class _Edit:
    """Another text for a stretch of the source. `shown` is the call as it would be, which stands at `call`."""

    start: int
    end: int
    text: str
    shown: str
    call: Span


class _Trials:
    """Elaborates changed programs."""

    def __init__(self, module: Module, net: str, settings: dict[str, Any], count: int):
        self.module = module
        self.net = net
        self.settings = settings
        self.count = count
        self.left = MOST_TRIALS
        self.network = None

    def mends(self, problem: Diagnostic, edit: _Edit) -> bool:
        """Whether the program with an edit lacks the problem, and has no new one."""
        if self.left == 0:
            return False
        self.left -= 1
        text = self.module.source.text
        changed = text[: edit.start] + edit.text + text[edit.end :]
        try:
            tried = load_text(changed, Path(self.module.source.name).name, self.module.folder)
            self.network = elaborate(tried, self.net, self.settings, training=False)
            return True
        except DiffgraphError as failure:
            self.network = None
            line = problem.span.line
            return len(failure.diagnostics) < self.count and all(
                d.span is None or (d.code, d.span.line) != (problem.code, line) for d in failure.diagnostics
            )

    def told(self, edit: _Edit) -> str:
        """The repair in words; where the whole program is right with it, with the shape that it makes."""
        instances = self.network.instances if self.network is not None else ()
        start = edit.call.start + (len(edit.text) if edit.start == edit.end else 0)
        made = [i for i in instances if i.span is not None and i.span.start == start and i.outputs]
        shapes = {show_shape(self.network.program.tensors[i.outputs[0]].shape) for i in made}
        if len(shapes) == 1:
            return f"`{edit.shown}` gives {shapes.pop()}, which fits"
        return f"`{edit.shown}` makes it fit"


# ---------------------------------------------------------------- what could be meant


def _edits(problem: Diagnostic, module: Module) -> Iterator[_Edit]:
    """Changes that may mend a problem, the likeliest first: near to where the tensors were made, small ones first."""
    calls = _calls_near(problem, module)
    sizes = [int(n) for n in dict.fromkeys(re.findall(r"\b\d{1,6}\b", problem.message))]
    for call in calls[:4]:
        yield from _left_out(call, module)
    stages = [c for c in calls if c.is_stage]
    if module.find(joining()) is not None:
        yield from (_joined(stage) for stage in stages[:2])
    targets = sorted(_targets(problem, module), key=lambda edit: len(edit.text))
    yield from (edit for edit in targets if len(edit.text) < edit.end - edit.start)
    for call in calls[:6]:
        yield from _given(call, sizes)
    yield from (edit for edit in targets if len(edit.text) >= edit.end - edit.start)


@dataclass(frozen=True)
class _Candidate:
    """A call, or a layer without parentheses, of the text; `is_stage` if an arrow leads to it."""

    node: syntax.Expr
    is_stage: bool

    @property
    def function(self) -> syntax.Expr:
        return self.node.function if isinstance(self.node, syntax.CallOf) else self.node

    @property
    def arguments(self) -> tuple[syntax.Argument, ...]:
        return self.node.arguments if isinstance(self.node, syntax.CallOf) else ()


def _calls_near(problem: Diagnostic, module: Module) -> list[_Candidate]:
    """The calls of the file, those first at which the tensors of the problem were made, then the ones before them."""
    places = [n.span for n in problem.notes if n.span is not None and n.span.source is module.source]
    found: dict[int, _Candidate] = {}
    for declaration in module.declarations.values():
        for node in walk(declaration):
            if isinstance(node, syntax.Pipe):
                for stage in node.stages[1:]:
                    found[id(stage.value)] = _Candidate(stage.value, True)
            elif isinstance(node, syntax.CallOf):
                found.setdefault(id(node), _Candidate(node, False))
    return sorted(found.values(), key=lambda c: _distance(c.node.span, places, problem))


def _distance(span: Span, places: Sequence[Span], problem: Diagnostic) -> tuple[int, int]:
    """(how near a call is: where a tensor was made, on such a line or one that led there, elsewhere; how many
    characters before that)"""
    anchors = [*places, problem.span]
    led = {int(n) for note in problem.notes for n in re.findall(r", applied at .*:(\d+)", note.message)}
    if any((p.start, p.end) == (span.start, span.end) for p in places):
        return 0, -span.start
    behind = [a.start - span.start for a in anchors if a.start >= span.start]
    if span.line in led or any(a.line == span.line for a in anchors):
        return 1, min(behind, default=10**6)
    return 2, min(behind, default=10**6)


def _left_out(call: _Candidate, module: Module) -> Iterator[_Edit]:
    """Settings that were left out and are numbers: a little more than their defaults."""
    declaration = _declared(call, module)
    given = {a.name for a in call.arguments if a.name is not None}
    positional = sum(a.name is None for a in call.arguments)
    for setting in declaration[positional:]:
        default = setting.default
        if setting.name in given or not isinstance(default, syntax.Number) or not isinstance(default.value, int):
            continue
        for value in range(default.value + 1, default.value + 4):
            yield _with_argument(call, f"{setting.name} = {value}")


def _declared(call: _Candidate, module: Module) -> tuple[syntax.Setting, ...]:
    """The settings of what is called; of a function that an arrow leads to, what follows its first argument."""
    name = call.function.name if isinstance(call.function, syntax.Name) else None
    holder = module.find(name) if name is not None else None
    declaration = holder.declarations.get(name) if isinstance(holder, Module) else None
    if isinstance(declaration, (syntax.Layer, syntax.Net)):
        return declaration.settings
    if isinstance(declaration, syntax.Function) and call.is_stage:
        return declaration.parameters[1:]
    return ()


def _with_argument(call: _Candidate, argument: str) -> _Edit:
    text = call.node.span.text
    if not isinstance(call.node, syntax.CallOf):
        shown = f"{text}({argument})"
    else:
        shown = f"{text[:-1]}{', ' if call.arguments else ''}{argument})"
    return _Edit(call.node.span.start, call.node.span.end, shown, shown, call.node.span)


def _joined(stage: _Candidate) -> _Edit:
    span = stage.node.span
    shown = f"{joining()} -> {span.text}"
    return _Edit(span.start, span.start, f"{joining()} -> ", shown, span)


def _targets(problem: Diagnostic, module: Module) -> Iterator[_Edit]:
    """A target that is declared without its last axis of 1, or with the shape of what it is compared with."""
    noted = [n for n in problem.notes if n.span is not None and n.span.source is module.source]
    shapes = {n.message.removeprefix("this is ") for n in noted if n.message.startswith("this is [")}
    for note in noted:
        match = re.match(r"target\s+(\w+)(\[[^\]]*\])", note.span.text)
        if match is None:
            continue
        own = match[2]
        others = [f"{own[:-1].rpartition(',')[0]}]"] if own.endswith(", 1]") else []
        others += sorted(s for s in shapes - {own} if abs(s.count(",") - own.count(",")) <= 1)
        for shape in others:
            begin = note.span.start + match.start(2)
            yield _Edit(begin, note.span.start + match.end(2), shape, f"target {match[1]}{shape}", note.span)


def _given(call: _Candidate, sizes: list[int]) -> Iterator[_Edit]:
    """Numbers that are written: the sizes that the problem is about, then one more and one less."""
    text, start = call.node.span.text, call.node.span.start
    for argument in call.arguments:
        number = argument.value
        if not isinstance(number, syntax.Number) or not isinstance(number.value, int):
            continue
        likely = {*sizes, number.value + 1, number.value - 1, 2 * number.value} - {number.value}
        for value in sorted(likely, key=lambda v: abs(v - number.value)):
            if value < 0:
                continue
            begin, end = number.span.start, number.span.end
            shown = text[: begin - start] + str(value) + text[end - start :]
            yield _Edit(begin, end, str(value), shown, call.node.span)
