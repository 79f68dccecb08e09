"""The loop over steps that are simple enough to know: what it keeps, where it stops, how it goes on."""

import json
import os
import signal

import numpy as np
import pytest

from diffgraph.diagnostics import DiffgraphError, RunFailed
from diffgraph.interop import safetensors
from diffgraph.training import loop
from diffgraph.training.loop import Run, resume, train
from diffgraph.training.progress import Lines, Progress, Record
from diffgraph.training.run_directory import BEST, LAST, METRICS, MODEL, RunDirectory

SAMPLES, BATCH = 10, 4
DATA = np.random.default_rng(0).standard_normal(SAMPLES)


class Mean:
    """Moves one weight towards the mean of the data, with momentum: its loss is (w - mean of the batch)^2."""

    finished = False

    def __init__(self, storage, fails_at=None, before=None):
        self.storage = storage
        self.fails_at = fails_at
        self.before = before or (lambda step: None)
        self.calls = []
        self.momentum = np.zeros(())

    def advance(self, order, first):
        self.calls.append(len(order))
        losses = []
        for number, rows in enumerate(order, start=first):
            self.before(number)
            gap = self.storage["w"] - DATA[rows].mean()
            self.momentum = 0.5 * self.momentum + gap
            self.storage["w"] -= 0.3 * self.momentum
            self.storage["average"] += 0.1 * (self.storage["w"] - self.storage["average"])
            losses.append(np.nan if number == self.fails_at else gap**2)
        return np.array(losses)

    def state(self):
        return {"momentum": self.momentum}

    def restore(self, state):
        self.momentum = state["momentum"]


def make(directory=None, total=12, **changes):
    storage = {"w": np.array(5.0), "average": np.array(5.0)}
    steps = Mean(storage, changes.pop("fails_at", None), changes.pop("before", None))
    run = Run(
        steps, SAMPLES, BATCH, total, 3, storage, weights=lambda: {"w": storage["average"]},
        evaluate=lambda: {"loss": float((storage["average"] - DATA.mean()) ** 2)}, **changes,
    )  # fmt: skip
    if directory is not None:
        run.directory = RunDirectory(directory, safetensors.write)
        if not (directory / LAST).exists():
            run.directory.begin("net ...", {"net": "mean"})
    return run


def outcome(run):
    return {**{k: v.tobytes() for k, v in run.storage.items()}, "momentum": run.steps.momentum.tobytes()}


def test_every_epoch_is_recorded():
    history = train(make(total=12))
    assert [(r.epoch, r.step) for r in history] == [(1, 3), (2, 6), (3, 9), (4, 12)]
    assert history.ended == "done" and history.final["loss"] == history[-1].evaluation["loss"]


def test_the_training_loss_weighs_a_ragged_batch_by_its_samples():
    run = make(total=3)
    seen = []
    advance = run.steps.advance
    run.steps.advance = lambda order, first: seen.append((len(order[0]), advance(order[:], first))) or seen[-1][1]
    history = train(run)
    pairs = [(size, value) for size, values in seen for value in values]
    assert sorted(size for size, _ in pairs) == [2, 4, 4]
    assert history[0].loss == pytest.approx(sum(s * v for s, v in pairs) / 10)


def test_steps_may_end_within_an_epoch():
    history = train(make(total=8))
    assert [r.step for r in history] == [3, 6, 8]


def test_how_often_it_is_evaluated_changes_nothing_else():
    often, seldom = make(total=30), make(total=30, every=7)
    train(often)
    history = train(seldom)
    assert [r.epoch for r in history] == [7, 10]
    assert outcome(often) == outcome(seldom)


def test_the_size_of_calls_changes_nothing(monkeypatch):
    one = make(total=60)
    train(one)
    monkeypatch.setattr(loop, "CALL_SECONDS", 0.0)
    other = make(total=60)
    train(other)
    assert max(one.steps.calls) > 1 and max(other.steps.calls) == 1
    assert outcome(one) == outcome(other)


@pytest.mark.parametrize("stop", [1, 3, 4, 5, 8, 11])
def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path, stop):
    """In the middle of an epoch, at its end, in the ragged batch."""
    whole = make(total=12)
    expected = train(whole)

    def interrupt(step):
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    first = make(tmp_path / "run", total=12, before=interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(first)
    again = make(tmp_path / "run", total=12)
    resume(again, *safetensors.read(tmp_path / "run" / LAST), "last")
    assert again.position.step >= stop
    history = train(again)
    assert outcome(again) == outcome(whole)
    numbers = [json.loads(line) for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    assert [n["epoch"] for n in numbers] == [1, 2, 3, 4]
    assert [n["loss"] for n in numbers] == [r.loss for r in expected]
    assert history.final == expected.final


def test_a_second_interruption_acts_at_once():
    def twice(step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    run = make(before=twice)
    around = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(run)
    assert len(run.steps.calls) <= 2
    assert signal.getsignal(signal.SIGINT) is around


def test_a_run_that_is_over_stays_as_it_is(tmp_path):
    run = make(tmp_path)
    expected = train(run)
    again = make(tmp_path)
    resume(again, *safetensors.read(tmp_path / LAST), "last")
    assert train(again).final == expected.final
    assert outcome(again) == outcome(run)


def test_more_epochs_go_on_from_the_end(tmp_path):
    short = make(tmp_path, total=6)
    train(short)
    longer = make(tmp_path, total=12)
    resume(longer, *safetensors.read(tmp_path / LAST), "last")
    train(longer)
    whole = make(total=12)
    train(whole)
    assert outcome(longer) == outcome(whole)


@pytest.mark.parametrize("change, label", [({"seed": 4}, "seed"), ({"batch": 5}, "batch"), ({"samples": 9}, "samples")])
def test_another_run_is_refused(tmp_path, change, label):
    train(make(tmp_path))
    other = make(tmp_path)
    for name, value in change.items():
        setattr(other, name, value)
    before = outcome(other)
    with pytest.raises(DiffgraphError, match=f"DG746.*{label}"):
        resume(other, *safetensors.read(tmp_path / LAST), "last")
    assert outcome(other) == before


def test_weights_alone_do_not_resume(tmp_path):
    safetensors.write(tmp_path / "w.safetensors", {"w": np.zeros(())})
    with pytest.raises(DiffgraphError, match="holds weights only"):
        resume(make(), *safetensors.read(tmp_path / "w.safetensors"), "w")


def test_a_checkpoint_holds_the_averaged_weights(tmp_path):
    run = make(tmp_path)
    train(run)
    arrays, _ = safetensors.read(tmp_path / LAST)
    assert arrays["w"] == run.storage["average"] and arrays["resume:w"] == run.storage["w"]
    assert (tmp_path / MODEL).read_text() == "net ..."


def test_the_best_weights_are_kept(tmp_path):
    values = iter([3.0, 1.0, 2.0, 5.0])
    run = make(tmp_path)
    seen = []
    run.evaluate = lambda: seen.append(run.storage["average"].copy()) or {"loss": next(values)}
    train(run)
    assert safetensors.read(tmp_path / BEST)[0]["w"] == seen[1]


def test_it_stops_when_nothing_gets_better():
    values = iter([3.0, 1.0, 2.0, 1.5, 1.0, 0.5])
    run = make(total=300, patience=3)
    run.evaluate = lambda: {"loss": next(values)}
    history = train(run)
    assert history.ended == "no improvement" and len(history) == 5


def test_a_loss_that_is_no_number_stops_it_and_the_last_good_weights_are_kept(tmp_path):
    good = make(total=6)
    train(good)
    run = make(tmp_path, total=30, fails_at=8)
    with pytest.raises(RunFailed, match=r"nan in step 8 \(epoch 3\).*after 2 epochs"):
        train(run)
    assert run.storage["w"] == good.storage["w"]
    arrays, _ = safetensors.read(tmp_path / LAST)
    assert arrays["resume:w"] == good.storage["w"]


def test_a_full_disk_is_one_message_and_the_older_checkpoint_stays(tmp_path, monkeypatch):
    train(make(tmp_path, total=6))
    before = (tmp_path / LAST).read_bytes()
    run = make(tmp_path, total=12)
    resume(run, *safetensors.read(tmp_path / LAST), "last")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailed, match="disk is full"):
        train(run)
    assert (tmp_path / LAST).read_bytes() == before


def test_a_disk_without_room_for_a_checkpoint_stops_it_before_the_first_step(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    run = make(tmp_path)
    with pytest.raises(RunFailed, match="disk is full"):
        train(run)
    assert run.steps.calls == []


def test_a_directory_that_holds_a_run_is_not_overwritten(tmp_path):
    train(make(tmp_path))
    with pytest.raises(DiffgraphError, match="DG747"):
        RunDirectory(tmp_path, safetensors.write).begin("net", {})


def test_metrics_that_a_crash_left_behind_are_dropped(tmp_path):
    train(make(tmp_path, total=6))
    with (tmp_path / METRICS).open("a") as stream:
        stream.write('{"epoch": 3, "loss": 1}\n{"epoch": 4, "lo')
    RunDirectory(tmp_path, safetensors.write).go_on(2)
    assert [json.loads(line)["epoch"] for line in (tmp_path / METRICS).read_text().splitlines()] == [1, 2]


def test_progress_hears_of_every_step_and_epoch(capsys):
    class Heard(Progress):
        def __init__(self):
            self.steps, self.epochs = [], 0

        def step(self, done, loss):
            self.steps.append(done)

        def epoch(self, record):
            self.epochs += 1

    heard = Heard()
    train(make(progress=heard))
    assert heard.steps[-1] == 12 and heard.epochs == 4


def test_a_line_per_epoch(capsys):
    import sys

    train(make(progress=Lines(sys.stdout)))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0].startswith("epoch 1   loss ") and "held out: loss" in lines[0]


def test_a_number_that_json_lacks_is_null():
    record = Record(1, 2, float("nan"), {"psnr": float("inf")})
    assert json.loads(json.dumps(record.as_json(), allow_nan=False))["evaluation"] == {"psnr": None}


def test_a_bar_draws_itself(monkeypatch):
    import io

    from rich.console import Console

    from diffgraph.training.progress import Bar

    monkeypatch.setattr(Bar, "PERIOD", 0.0)
    bar, seen = Bar(), io.StringIO()
    bar.bar.live.console = Console(file=seen, force_terminal=True, width=100)
    train(make(progress=bar))
    assert "12/12" in seen.getvalue() and "loss" in seen.getvalue()
