"""Tuning: ways are measured, what is clearly better is kept, and later compilations go by it. Nothing here is timed: clocks
are made up."""

import json
import os
from dataclasses import dataclass, replace

import numpy as np
import pytest

import diffgraph as dg
from diffgraph.cli import run
from diffgraph.kernels.tiles import choose, tile_point, worth_measuring
from diffgraph.passes.choices import ESTIMATED, Choices, Point
from diffgraph.passes.pipeline import optimize
from diffgraph.runtime.measured import FOLDER, SUFFIX, Measurement, Measurements
from diffgraph.runtime.native import NativeExecutable
from diffgraph.runtime.parts import kernel_parts
from diffgraph.runtime.trial import Trial
from diffgraph.runtime.tune import Tuning, judged
from diffgraph.targets.cpu.machine import machine

TEXT = """
net model {
    input  x[N, 32, 12]
    output h = x -> conv(32, 3, pad = 1) -> relu -> flatten -> linear(40) -> tanh
}"""

POINT = Point("tile", "abc")


@dataclass
class Clock:
    """Trials are their own seconds; `share` is what others use."""

    share: float = 0.0

    def times(self, trials, rounds):
        return [[t] * rounds for t in trials]

    def judge(self, *trials):
        return judged(trials, self.times, lambda: self, lambda _: None)


class FakeTrial(Trial):
    """Compiled like a real one, but its time is made up: the later it is made at its point, the faster."""

    made = 0

    def __init__(self, *arguments):
        super().__init__(*arguments)
        FakeTrial.made += 1

    def seconds(self):
        return 1e-3


def the_last(trials):
    """A judge for whom the last way is the best."""
    return (len(trials) - 1, 2.0) if len(trials) > 1 else (0, 1.0)


def kept(directory, host="here"):
    return Measurements(directory, lambda: host)


@pytest.mark.parametrize(
    ("seconds", "best"), [((1, 0.9), 1), ((1, 0.97), 0), ((1, 2, 0.5), 2), ((1, 1.2), 0), ((1,), 0)]
)
def test_only_what_is_clearly_better_is_taken(seconds, best):
    found, gain = Clock().judge(*seconds)
    assert found == best
    assert gain == (pytest.approx(seconds[0] / seconds[best]) if best else 1)


def test_a_gain_that_does_not_come_again_is_none():
    taken = iter([[[1.0], [0.5]], [[1.0], [1.0]]])
    assert judged([0, 1], lambda trials, rounds: next(taken), Clock, lambda _: None) == (0, 1.0)
    uneven = iter([[[1.0], [0.5]], [[1, 1, 1, 9, 9], [2, 2, 2, 1, 0.9]]])
    assert judged([0, 1], lambda trials, rounds: next(uneven), Clock, lambda _: None) == (0, 1.0)


def test_what_others_disturb_is_not_known():
    assert Clock(share=0.5).judge(1, 0.5) is None


def test_measurements_are_kept(tmp_path):
    found = Measurement(POINT, "b", "a", 1.25, (("N", 8),), "conv1")
    kept(tmp_path).keep(found)
    kept(tmp_path).keep(Measurement(Point("loops", "d"), "a", "a", 1.0, (), "conv2"))
    again = kept(tmp_path)
    assert again.of(POINT) == found
    assert again.choices() == Choices(((POINT, "b"),)), "what the cost model takes anyway is no choice"
    assert not kept(tmp_path, "elsewhere").all and not kept(tmp_path / "none").all


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_damaged_measurements_are_ignored(tmp_path, content):
    kept(tmp_path).keep(Measurement(POINT, "b", "a", 1.25, (), "conv1"))
    (file,) = (tmp_path / FOLDER).rglob(f"*{SUFFIX}")
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"b"', b'"c"') if content is None else content)
    assert kept(tmp_path).choices() == ESTIMATED
    kept(tmp_path).keep(Measurement(POINT, "b", "a", 1.25, (), "conv1"))
    assert kept(tmp_path).of(POINT).way == "b"


@pytest.mark.parametrize("fields", [[], {"point": "tile"}, {"point": ["tile", "x"], "way": 1}, 3])
def test_files_that_hold_something_else_are_ignored(tmp_path, fields):
    store = kept(tmp_path)
    store.keep(Measurement(POINT, "b", "a", 1.25, (), "conv1"))
    store._cache.store_bytes("ab", SUFFIX, json.dumps(fields).encode())
    assert [m.point for m in kept(tmp_path).all] == [POINT]


@pytest.fixture(scope="module")
def program():
    return dg.loads(TEXT).forward(["h"])


@pytest.fixture(scope="module")
def tuning(program, tmp_path_factory):
    """Everything tuned, three ways of each point at most, the last of which is the best."""
    tuning = Tuning(kept(tmp_path_factory.mktemp("tuned")), machine("f32"), "f32", 2, the_last, FakeTrial)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffgraph.kernels.tiles.MOST_MEASURED", 3)
        tuning.program(program, {}, False, False, "N")
    return tuning


def results(program, tuning, threads):
    """The outputs of a program compiled by what was measured."""
    choices = tuning.measurements.choices() if tuning else ESTIMATED
    draw = np.random.default_rng(0)
    executable = NativeExecutable(
        optimize(program, choices=choices), "f32", threads, tuning._machine_now() if tuning else None
    )
    executable.bind(dg.loads(TEXT).storage)
    return executable, executable.run({"x": draw.standard_normal((16, 32, 12)).astype(np.float32)})


def test_every_kind_of_point_is_measured(tuning):
    kinds = {m.point.kind for m in tuning.found}
    assert {"tile", "loops", "threads", "filtering"} <= kinds
    assert any(m.is_news for m in tuning.found) and all(m.about for m in tuning.found)


def test_what_was_measured_is_compiled_and_right(program, tuning):
    plain, expected = results(program, None, 2)
    tuned, found = results(program, tuning, 2)
    assert {k.digest for k in tuned.kernels} != {k.digest for k in plain.kernels}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-4, atol=2e-5)
    _, alone = results(program, tuning, 1)
    assert all(np.array_equal(found[name], alone[name]) for name in found), "the same bits for 1 and 2 threads"


def test_nothing_is_measured_twice(program, tuning):
    again = Tuning(tuning.measurements, machine("f32"), "f32", 2, the_last, FakeTrial)
    again.program(program, {}, False, False, "N")
    assert not again.found
    again.program(program, {"N": 32}, False, False, "N")
    assert again.found, "other sizes are measured anew"


def test_ways_have_names_that_lead_back(program):
    plain = machine("f32")
    kernels = [p.kernel for p in kernel_parts(optimize(program), plain) if p.kernel.ways is not None]
    assert kernels
    for kernel in kernels:
        forms, written = kernel.ways.forms, kernel.ways.written
        names = worth_measuring(forms, written, plain)
        assert len(set(names)) == len(names) and choose(forms, written, plain).name == names[0]
        for name in names:
            told = machine_with(plain, tile_point(forms, written), name)
            assert choose(forms, written, told).name == name
        assert choose(forms, written, machine_with(plain, tile_point(forms, written), "unheard of")).name == names[0]


def machine_with(plain, point, name):
    return replace(plain, choices=Choices(((point, name),)))


def test_trials_run_on_numbers_of_their_own(program):
    for part in kernel_parts(optimize(program), machine("f32"))[:3]:
        for spread in (False, True):
            trial = Trial(part.program, {"N": 4}, "f32", 2, machine("f32"), spread, {})
            assert trial.seconds() > 0


def test_commands_tune_and_explain(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIFFGRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("diffgraph.runtime.tune.judged", the_last)
    file = tmp_path / "model.net"
    file.write_text(TEXT.replace("32, 12", "2, 12").replace("conv(32,", "conv(16,").replace("linear(40)", "sum"))
    assert run(["compile", str(file), "-o", str(tmp_path / "made"), "--tune"]) == 0
    assert "choices measured" in capsys.readouterr().err
    assert run(["explain", str(file), "--inference"]) == 0
    assert "2.00 times as fast as" in capsys.readouterr().out
    assert os.listdir(tmp_path / "cache" / FOLDER)
