"""The report of the passes by source line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffgraph.inspect.stages import gradient_program
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_module
from diffgraph.passes.pipeline import optimize
from diffgraph.passes.prepare import split_prepared
from diffgraph.passes.report import Report


@dataclass(frozen=True)
class Explanation:
    """One decision of a pass, with the layers and the line of the file it is about."""

    step: str
    done: bool
    text: str
    layers: tuple[str, ...]
    line: int | None

    def as_json(self) -> dict:
        return {"pass": self.step, "done": self.done, "text": self.text, "layers": list(self.layers), "line": self.line}


def explanations(path: Path, net: str | None, settings: dict, inference: bool = False) -> list[Explanation]:
    """Every decision of the passes, in the order of the file."""
    module = load_module(path)
    network = elaborate(module, net, settings, training=not inference)
    program = network.program if inference or not network.losses else gradient_program(network)
    report = Report()
    optimized = optimize(program, report)
    report.step = "prepare"
    split_prepared(optimized, report)
    found = []
    for entry in report.entries:
        own = [o for o in entry.provenance if o.span is not None and o.span.source.name == str(path)]
        line = own[0].span.line if own else None
        layers = tuple(dict.fromkeys(o.path for o in entry.provenance if o.path))
        found.append(Explanation(entry.step, entry.done, entry.text, layers, line))
    return sorted(found, key=lambda e: (e.line is None, e.line or 0))


def text(found: list[Explanation]) -> str:
    """The decisions as a person reads them."""
    lines = []
    for e in found:
        place = f"line {e.line}" if e.line is not None else "the whole"
        about = f" ({', '.join(e.layers[:4])}{', ...' if len(e.layers) > 4 else ''})" if e.layers else ""
        lines.append(f"{place:>10}  {e.step:13} {'' if e.done else 'not: '}{e.text}{about}")
    return "\n".join(lines)
