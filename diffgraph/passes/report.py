"""What the passes did, and what they declined to do and why: `diffgraph explain` prints it."""

from __future__ import annotations

from dataclasses import dataclass, field

from diffgraph.ir.program import Provenance


@dataclass(frozen=True)
class Entry:
    """One decision of a pass. `text` is a sentence about tensors; `done` says whether the pass acted."""

    step: str
    done: bool
    text: str
    provenance: Provenance = ()


@dataclass
class Report:
    """The decisions of one run of the pipeline, in order."""

    entries: list[Entry] = field(default_factory=list)
    step: str = ""

    def did(self, text: str, provenance: Provenance = ()) -> None:
        """Records what the current pass has changed."""
        self.entries.append(Entry(self.step, True, text, provenance))

    def declined(self, text: str, provenance: Provenance = ()) -> None:
        """Records what the current pass could have changed but did not; the text gives the reason."""
        self.entries.append(Entry(self.step, False, text, provenance))
