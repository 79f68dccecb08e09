"""What the passes did, and what they did not do and why, by the lines of the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from diffgraph.diagnostics import Source
from diffgraph.inspect.measured import entries
from diffgraph.inspect.stages import gradient_program
from diffgraph.ir.program import Program, Provenance, walk
from diffgraph.language.network import Network
from diffgraph.passes.choices import ESTIMATED
from diffgraph.passes.pipeline import position, stages
from diffgraph.passes.report import Entry, Report
from diffgraph.runtime.measured import measurements

#: As many layers are named where one decision was made for many.
_MOST_LAYERS = 4

_WORD = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True)
class Explanation:
    """One decision of a pass, with the layers and the line of the file it is about. `count`: how often it was made,
    where decisions that differ in layers only are taken together."""

    step: str
    done: bool
    text: str
    layers: tuple[str, ...]
    phases: tuple[str, ...]
    line: int | None
    count: int = 1

    def as_json(self) -> dict:
        return {
            "pass": self.step,
            "done": self.done,
            "text": self.text,
            "layers": list(self.layers),
            "phases": list(self.phases),
            "line": self.line,
        }


@dataclass(frozen=True)
class Account:
    """Every decision that was made about a file, in the order of its lines."""

    source: Source
    explanations: tuple[Explanation, ...]


def explanations(net, inference: bool = False) -> Account:
    """Every decision of the passes about a net (a `compiler.Net`), and what tuning has found, in the order of the file; those
    about no line of it come last."""
    module, network = net.module, net.network(not inference)
    program = network.program if inference or not network.losses else gradient_program(network)
    report = Report()
    known = measurements(net.precision) if net.target == "cpu" else None
    done = stages(program, report, target=net.target, fast=net.fast, choices=known.choices() if known else ESTIMATED)
    places = _Places(network, module.source, [stage.program for stage in done])
    tuned = entries(done[position("winograd")].program, done[-1].program, known, net.precision, net.fast) if known else []
    found = [places.explanation(entry) for entry in (*report.entries, *tuned)]
    return Account(module.source, tuple(sorted(found, key=lambda e: (e.line is None, e.line or 0))))


class _Places:
    """Where in a file a decision belongs."""

    def __init__(self, network: Network, source: Source, programs: Iterable[Program]):
        self.source = source
        self.instances = {i.path: i for i in network.instances}
        self.made: dict[str, Provenance] = {}
        for program in programs:
            for statement in walk(program):
                for tensor in statement.results:
                    self.made.setdefault(tensor.name, statement.provenance)

    def explanation(self, entry: Entry) -> Explanation:
        provenance = entry.provenance or self._subject(entry.text)
        layers = tuple(dict.fromkeys(o.path for o in provenance if o.path))
        phases = tuple(dict.fromkeys(o.phase for o in provenance))
        return Explanation(entry.step, entry.done, entry.text, layers, phases, self._line(provenance))

    def _subject(self, text: str) -> Provenance:
        """Where the first tensor that a sentence names comes from."""
        return next((self.made[word] for word in _WORD.findall(text) if word in self.made), ())

    def _line(self, provenance: Provenance) -> int | None:
        """The first line of this file that something comes from: its own text, else where its layer is applied."""
        for origin in provenance:
            if origin.span is not None and origin.span.source is self.source:
                return origin.span.line
        for origin in provenance:
            path = origin.path
            while path:
                instance = self.instances.get(path)
                if instance is not None and instance.span is not None and instance.span.source is self.source:
                    return instance.span.line
                path = path.rpartition(".")[0]
        return None


# ---------------------------------------------------------------- text


def text(account: Account) -> str:
    """The decisions as a person reads them: below each line of the file what became of it."""
    if not account.explanations:
        return "no pass had anything to do"
    lines: list[str] = []
    width = len(str(max((e.line or 0 for e in account.explanations), default=0)))
    known: int | None = -1
    for e in _together(account.explanations):
        if e.line != known:
            known = e.line
            title = f"{known:>{width}} | {account.source.line(known).strip()}" if known else "in the program as a whole"
            lines += [""] * bool(lines) + [title]
        sign = "+" if e.done else "-"
        lines.append(f"{' ' * width}   {sign} {e.step:12} {e.text}{_about(e)}")
    return "\n".join([*lines, "", *_summary(account.explanations)])


def _about(e: Explanation) -> str:
    named = ", ".join(e.layers[:_MOST_LAYERS]) + ", ..." * (len(e.layers) > _MOST_LAYERS)
    parts = [named] if named else []
    parts += ["backward"] if "backward" in e.phases else []
    parts += [f"{e.count} times"] if e.count > 1 else []
    return f"   ({'; '.join(parts)})" if parts else ""


def _together(found: Iterable[Explanation]) -> Iterator[Explanation]:
    """Decisions about one line that differ in the names of tensors and layers only, as one."""
    groups: dict[tuple, list[Explanation]] = {}
    for e in found:
        groups.setdefault((e.line, e.step, e.done, _shape_of(e)), []).append(e)
    for group in groups.values():
        layers = tuple(dict.fromkeys(layer for e in group for layer in e.layers))
        phases = tuple(dict.fromkeys(phase for e in group for phase in e.phases))
        yield replace(group[0], layers=layers, phases=phases, count=len(group))


def _shape_of(e: Explanation) -> str:
    """A sentence without what tells one layer's tensors from another's."""
    result = e.text
    for layer in sorted(e.layers, key=len, reverse=True):
        result = result.replace(layer.replace(".", "_"), "_").replace(layer, "_")
    return re.sub(r"\d+", "0", result)


def _summary(found: Iterable[Explanation]) -> list[str]:
    """How often each pass acted, and how often it declined."""
    counts: dict[str, list[int]] = {}
    for e in found:
        counts.setdefault(e.step, [0, 0])[not e.done] += 1
    width = max((len(step) for step in counts), default=0)
    return [f"{step:{width}}  {done:5} done  {declined:5} declined" for step, (done, declined) in counts.items()]
