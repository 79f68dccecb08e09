"""A run is a directory: the model's text, the settings, metrics as JSON lines, the best and the last checkpoint."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from diffgraph.diagnostics import Diagnostic, DiffgraphError, RunFailed, error

MODEL, SETTINGS, METRICS = "model.net", "settings.json", "metrics.jsonl"
BEST, LAST = "best.safetensors", "last.safetensors"

#: (path, arrays, metadata): writes a file whole or not at all.
Write = Callable[[Path, Mapping[str, np.ndarray], Mapping[str, str]], None]


class RunDirectory:
    """The files of one run. `write` makes a file of arrays; `about` is what each says of the net that it is for."""

    def __init__(self, path: Path, write: Write, about: Mapping[str, str] = {}):
        self.path = Path(path)
        self.write = write
        self.about = about

    def begin(self, model: str, settings: Mapping) -> None:
        """Makes the directory and writes what the run is. Errors: a finished or interrupted run is there already."""
        if (self.path / LAST).exists():
            raise error(
                "DG747", f"there is a run in {self.path} already", help="go on with --resume, or give another -o DIR"
            )
        self._guarded(lambda: self._begin(model, settings))

    def _begin(self, model: str, settings: Mapping) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / MODEL).write_text(model, encoding="utf-8")
        (self.path / SETTINGS).write_text(json.dumps(settings, indent=2, default=str) + "\n", encoding="utf-8")
        (self.path / METRICS).write_text("", encoding="utf-8")

    def go_on(self, epoch: int) -> None:
        """Continues after `epoch` finished epochs: metrics of later ones, which a crash lost, are dropped."""
        path = self.path / METRICS
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if _epoch_of(line) <= epoch]
        self._guarded(lambda: path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8"))

    def record(self, numbers: Mapping) -> None:
        """Adds a line of metrics."""
        line = json.dumps(numbers) + "\n"
        self._guarded(lambda: self._append(line))

    def _append(self, line: str) -> None:
        with (self.path / METRICS).open("a", encoding="utf-8") as stream:
            stream.write(line)

    def save(self, name: str, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
        """Writes a checkpoint; what was there stays until the new one is whole."""
        self.write(self.path / name, arrays, {**self.about, **metadata})

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as problem:
            full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "the disk is full" if full else problem.strerror or str(problem)
            kept = f"; {LAST} is still there" if (self.path / LAST).exists() else ""
            failure = RunFailed if full else DiffgraphError
            raise failure(Diagnostic("DG742", f"{self.path} cannot be written: {reason}{kept}")) from problem


def _epoch_of(line: str) -> float:
    """The epoch of a line of metrics; a line that was cut off in the middle counts as of no epoch."""
    try:
        return json.loads(line)["epoch"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
