"""The loop: epochs of steps, an evaluation after each, checkpoints, early stopping.

What happens is a function of the data, the plan and the seed alone. Where an epoch is cut into calls of compiled code,
how often a checkpoint is written, an interruption and a resumption change nothing in the numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from diffgraph.diagnostics import Diagnostic, RunFailed
from diffgraph.runtime.storage import copies
from diffgraph.training import checkpoint
from diffgraph.training.checkpoint import Position
from diffgraph.training.interruption import Interruption
from diffgraph.training.order import Orders, batches, batches_per_epoch
from diffgraph.training.progress import Progress, Record
from diffgraph.training.run_directory import BEST, LAST, RunDirectory
from diffgraph.training.steps import Steps

#: Seconds that one call of compiled code should take: what an interruption or a bar waits for.
CALL_SECONDS = 0.2

#: Seconds between two checkpoints, beside those at the end.
CHECKPOINT_SECONDS = 30.0

#: A run that is given in steps is evaluated about so many times.
EVALUATIONS = 20

Arrays = Mapping[str, np.ndarray]


@dataclass
class Run:
    """Everything that a run is made of.

    steps: what makes steps. samples, batch: of the training set; a net without a batch has one sample. total: steps to
    make. every: epochs between two evaluations. storage: all parameters and states, as they are in memory. weights:
    gives the parameters and states of the net as they are evaluated. evaluate: gives losses and metrics at those; the
    first one is the loss. patience: evaluations without a loss lower by `least` before the run stops. losses: of the
    steps of the epoch under way, where the run goes on from a checkpoint.
    """

    steps: Steps
    samples: int
    batch: int
    total: int
    seed: int
    storage: Arrays
    weights: Callable[[], Arrays]
    evaluate: Callable[[], dict[str, float]]
    on: str = "held out"
    every: int = 1
    patience: int | None = None
    least: float = 0.0
    directory: RunDirectory | None = None
    progress: Progress = field(default_factory=Progress)
    position: Position = field(default_factory=Position)
    losses: tuple[float, ...] = ()


@dataclass(frozen=True)
class History:
    """What a run came to: a record for each evaluation, the last one being that of the final weights, and why it ended
    (`done`, `no improvement`, `nothing more to gain`)."""

    records: tuple[Record, ...]
    ended: str

    @property
    def final(self) -> Mapping[str, float]:
        """Losses and metrics of the final weights."""
        return self.records[-1].evaluation if self.records else {}

    @property
    def losses(self) -> tuple[float, ...]:
        """The mean training loss of each recorded epoch."""
        return tuple(r.loss for r in self.records)

    def as_json(self) -> dict:
        """Plain values."""
        return {"ended": self.ended, "records": [r.as_json() for r in self.records]}

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self):
        return iter(self.records)

    def __getitem__(self, place):
        """A record by its number; by the name of a loss or metric, or by `epoch`, `step`, `seconds`, that of each one."""
        return [r[place] for r in self.records] if isinstance(place, str) else self.records[place]

    def __repr__(self) -> str:
        return "\n".join([*map(str, self.records), f"ended: {self.ended}"])


def train(run: Run) -> History:
    """Runs to the end. RunFailed for a loss that is not a number; KeyboardInterrupt when it is interrupted, its state
    saved before."""
    with Interruption() as interruption:
        return _Loop(run, interruption).go()


def resume(run: Run, arrays: Arrays, metadata: Mapping[str, str], what: str) -> None:
    """Puts a run where a checkpoint was made. Nothing has changed where it is refused."""
    values, memory, position = checkpoint.unpack(arrays, metadata, run.storage, what)
    checkpoint.check_same_run(position, _identity(run), what)
    for path, value in values.items():
        run.storage[path][...] = value
    run.steps.restore(memory)
    run.position = position
    run.losses = tuple(float(v) for v in memory.get("losses", ()))
    if run.directory is not None:
        run.directory.go_on(position.epoch)


def _identity(run: Run) -> Position:
    return replace(run.position, seed=run.seed, samples=run.samples, batch_size=run.batch)


class _Loop:
    """One run under way."""

    def __init__(self, run: Run, interruption: Interruption):
        self.run = run
        self.interruption = interruption
        self.position = _identity(run)
        self.losses: list[float] = list(run.losses)
        self.records: list[Record] = []
        self.began = time.monotonic()
        self.saved = time.monotonic()
        self.best: dict[str, np.ndarray] | None = None
        self.good = self._copy()
        self.calls = 1
        self.per_epoch = batches_per_epoch(run.samples, run.batch)
        self.orders = Orders(run.seed, run.samples)

    def go(self) -> History:
        """All epochs that are left."""
        run = self.run
        if not self.position.step:
            # A disk without room for a checkpoint is known before the work, not after it.
            self._save()
        run.progress.begin(run.total, self.position.step)
        ended = "done"
        try:
            while self.position.step < run.total:
                self._epoch()
                if self._stops_early():
                    ended = "no improvement"
                    break
                if run.steps.finished:
                    ended = "nothing more to gain"
                    break
            self._finish()
        except BaseException:
            run.progress.end()
            raise
        run.progress.end()
        return History(tuple(self.records), ended)

    # ------------------------------------------------------------ an epoch

    def _epoch(self) -> None:
        """The rest of the epoch under way, and its evaluation where one is due."""
        run = self.run
        left = run.total - self.position.step
        order = self.orders.of(self.position.epoch, is_last=left <= self.per_epoch - self.position.batch)
        for block in batches(order, run.batch, self.position.batch):
            block = block[:left]
            left -= len(block)
            while len(block):
                now, block = block[: self.calls], block[self.calls :]
                self._call(now)
            if run.steps.finished or not left:
                break
        self._epoch_done()

    def _call(self, block: np.ndarray) -> None:
        """One call of compiled code: some steps."""
        before = time.monotonic()
        found = self.run.steps.advance(block, self.position.step + 1)
        seconds = time.monotonic() - before
        self.position = replace(
            self.position, step=self.position.step + len(block), batch=self.position.batch + len(block)
        )
        self._check(found)
        self.losses += [float(v) for v in found]
        self.run.progress.step(self.position.step, self.losses[-1])
        grows = seconds < CALL_SECONDS / 2
        self.calls = max(1, self.calls * 2 if grows else self.calls // 2 if seconds > CALL_SECONDS else self.calls)
        if self.interruption.asked:
            self._interrupted()
        if time.monotonic() - self.saved > CHECKPOINT_SECONDS:
            self._save()

    def _check(self, losses: np.ndarray) -> None:
        """Stops at the first loss that is not a number."""
        bad = np.flatnonzero(~np.isfinite(losses))
        if not len(bad):
            return
        step = self.position.step - len(losses) + int(bad[0]) + 1
        kept = self._keep_good()
        raise RunFailed(
            Diagnostic(
                "DG720",
                f"the loss is {losses[bad[0]]} in step {step} (epoch {self.position.epoch + 1}); {kept}",
                help="a smaller learning rate, a warm-up or `clip_norm 1.0` often mends this",
            )
        )

    def _keep_good(self) -> str:
        """Puts the weights back to where the epoch began, and saves them."""
        values, position, memory = self.good
        for path, value in values.items():
            self.run.storage[path][...] = value
        if self.run.directory is None:
            return f"the weights are those after {position.epoch} epochs"
        self.position, self.losses = position, []
        self._write(memory)
        return f"{self.run.directory.path / LAST} holds the weights after {position.epoch} epochs"

    def _epoch_done(self) -> None:
        run = self.run
        loss = self._mean_loss()
        complete = self.position.batch == self.per_epoch
        epoch = self.position.epoch + 1
        self.position = replace(self.position, epoch=epoch, batch=0) if complete else self.position
        self.losses = [] if complete else self.losses
        last = self.position.step >= run.total or run.steps.finished
        if last or epoch % run.every == 0:
            self._evaluate(epoch, loss)
        self.good = self._copy()

    def _mean_loss(self) -> float:
        """The mean over the samples seen in this epoch: the ragged batch counts less."""
        sizes = np.full(len(self.losses), self.run.batch, np.float64)
        if len(sizes) == self.per_epoch:
            sizes[-1] = self.run.samples - self.run.batch * (self.per_epoch - 1)
        return float(np.sum(self.losses * sizes) / np.sum(sizes))

    def _evaluate(self, epoch: int, loss: float) -> None:
        run = self.run
        numbers = run.evaluate()
        record = Record(epoch, self.position.step, loss, numbers, run.on, time.monotonic() - self.began)
        self.records.append(record)
        run.progress.epoch(record)
        if run.directory is not None:
            run.directory.record(record.as_json())
        value = next(iter(numbers.values()), loss)
        if np.isfinite(value) and (self.position.best is None or value < self.position.best - run.least):
            self.position = replace(self.position, best=value, best_epoch=epoch)
            if run.directory is not None:
                self.best = {path: array.copy() for path, array in run.weights().items()}

    def _stops_early(self) -> bool:
        patience, position = self.run.patience, self.position
        return patience is not None and bool(position.epoch - position.best_epoch >= patience * self.run.every)

    # ------------------------------------------------------------ keeping

    def _copy(self):
        return copies(self.run.storage), self.position, self._memory()

    def _memory(self) -> dict[str, np.ndarray]:
        return {**self.run.steps.state(), "losses": np.array(self.losses, np.float64)}

    def _finish(self) -> None:
        """The last checkpoint. A run that was over before it was resumed is evaluated once."""
        if not self.records:
            numbers = self.run.evaluate()
            self.records.append(Record(self.position.epoch, self.position.step, float("nan"), numbers, self.run.on))
        self._save()

    def _save(self) -> None:
        self.saved = time.monotonic()
        if self.run.directory is not None:
            self._write(self._memory())

    def _write(self, memory: Arrays) -> None:
        run = self.run
        weights = run.weights()
        if self.best is not None:
            run.directory.save(BEST, self.best, {"format": "diffgraph", "epoch": str(self.position.best_epoch)})
            self.best = None
        run.directory.save(LAST, *checkpoint.pack(weights, run.storage, memory, self.position))

    def _interrupted(self) -> None:
        self._save()
        where = f"in epoch {self.position.epoch + 1}, after step {self.position.step}"
        kept = f"; --resume goes on from {self.run.directory.path}" if self.run.directory is not None else ""
        self.run.progress.end(f"interrupted {where}{kept}")
        raise KeyboardInterrupt
