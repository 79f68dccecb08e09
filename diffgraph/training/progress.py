"""What a run tells while it goes: a bar on a terminal, a line per epoch elsewhere, or nothing."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Record:
    """What is known after an epoch.

    epoch: how many are done. step: how many steps. loss: the mean training loss of the epoch. evaluation: losses and
    metrics on the set `on` (`held out`, or `training` where nothing is). seconds: since the run began.
    """

    epoch: int
    step: int
    loss: float
    evaluation: Mapping[str, float] = field(default_factory=dict)
    on: str = "held out"
    seconds: float = 0.0

    def __getitem__(self, name: str):
        """What was evaluated, by name; else a field."""
        if name not in self.evaluation and name not in ("loss", "epoch", "step", "seconds"):
            raise KeyError(name)
        return self.evaluation[name] if name in self.evaluation else getattr(self, name)

    def as_json(self) -> dict:
        """Plain values; a number that JSON does not have (NaN, infinity) is null."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "loss": _finite(self.loss),
            "evaluation": {name: _finite(value) for name, value in self.evaluation.items()},
            "on": self.on,
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        numbers = [f"{name} {number(value)}" for name, value in self.evaluation.items()]
        shown = f"   {self.on}: {', '.join(numbers)}" if numbers else ""
        return f"epoch {self.epoch}   loss {number(self.loss)}{shown}   {self.seconds:.1f} s"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def number(value: float) -> str:
    """A number with four significant digits."""
    return f"{value:.4g}"


class Progress:
    """Hears of the progress of a run. This one is silent."""

    def begin(self, steps: int, done: int) -> None:
        """The run makes `steps` steps in all, of which `done` are made."""

    def step(self, done: int, loss: float) -> None:
        """So many steps are made; the loss of the last one."""

    def epoch(self, record: Record) -> None:
        """An epoch is done."""

    def end(self, message: str = "") -> None:
        """The run is over; why, where that is not plain."""


class Told(Progress):
    """Calls a function with the record of each epoch."""

    def __init__(self, tell: Callable[[Record], object]):
        self.epoch = tell


class Lines(Progress):
    """A line for each epoch: where the output is a file."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stderr

    def epoch(self, record: Record) -> None:
        print(record, file=self.stream, flush=True)

    def end(self, message: str = "") -> None:
        if message:
            print(message, file=self.stream, flush=True)


class Bar(Progress):
    """A bar with the last epoch's numbers beside it: on a terminal."""

    #: Seconds between two drawings.
    PERIOD = 0.05

    def __init__(self):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self.task = None
        self.drawn = 0.0
        self.numbers = ""

    def begin(self, steps: int, done: int) -> None:
        self.task = self.bar.add_task("", total=steps, completed=done)
        self.bar.start()

    def step(self, done: int, loss: float) -> None:
        now = time.monotonic()
        if now - self.drawn >= self.PERIOD:
            self.drawn = now
            self.bar.update(self.task, completed=done, description=f"loss {number(loss)}   {self.numbers}")

    def epoch(self, record: Record) -> None:
        self.numbers = ", ".join(f"{name} {number(value)}" for name, value in record.evaluation.items())
        text = f"loss {number(record.loss)}   epoch {record.epoch}: {self.numbers}"
        self.bar.update(self.task, completed=record.step, description=text)

    def end(self, message: str = "") -> None:
        self.bar.stop()
        if message:
            self.bar.console.print(message)


def progress_of(given: Progress | Callable[[Record], object] | bool | None) -> Progress:
    """What a person gives from Python: a `Progress`, a function of the record of each epoch, True for what suits the
    standard error stream, None or False for silence."""
    if not given:
        return Progress()
    if given is True:
        return progress_for(sys.stderr)
    return given if isinstance(given, Progress) else Told(given)


def progress_for(stream, quiet: bool = False) -> Progress:
    """What suits an output: a bar on a terminal, else lines."""
    if quiet:
        return Progress()
    return Bar() if stream.isatty() else Lines(stream)
