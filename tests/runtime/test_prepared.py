"""What is prepared is computed once, and again whenever what it was made from may have changed."""

import gc

import numpy as np
import pytest

import diffgraph as dg
from agreement import program_of
from diffgraph.ir.program import Commit
from diffgraph.passes.prepare import split_prepared
from diffgraph.passes.report import Report
from diffgraph.runtime.executable import build
from diffgraph.runtime.prepared import PreparedExecutable
from diffgraph.runtime.storage import Storage

NET = """
net example {
    input  x[N, 3]
    target t[N, 4]
    h = x -> linear(4) -> batchnorm
    output h
    loss mse(h, t)
}
train example {
    optimizer sgd(lr = 0.1)
    epochs 2
    batch 4
}
"""
SCALE, VARIANCE = "batchnorm1.weight", "batchnorm1.running_var"


class Counted:
    """A net whose preparations are counted, and an independent one that says what is right."""

    def __init__(self):
        self.net = dg.loads(NET, precision="f64")
        self.reference = dg.loads(NET, target="reference", precision="f64")
        self.x = np.random.default_rng(1).standard_normal((8, 3))
        executable = self.net.inference_executable()
        assert isinstance(executable, PreparedExecutable)
        self.runs = 0
        inner = executable.preparation.stepper

        def stepper(*arguments, **keywords):
            step = inner(*arguments, **keywords)
            return lambda: (setattr(self, "runs", self.runs + 1), step())

        executable.preparation.stepper = stepper

    def check(self, prepared: int | None = None) -> None:
        """The net gives what its parameters say, having prepared so many times for it."""
        before = self.runs
        found = self.net(x=self.x)["h"]
        for path in self.reference.storage:
            self.reference.storage[path][...] = self.net.storage.own(path)
        np.testing.assert_allclose(found, self.reference(x=self.x)["h"], rtol=1e-12)
        if prepared is not None:
            assert self.runs - before == prepared


@pytest.fixture
def counted():
    made = Counted()
    made.check(1)
    made.check(0)
    return made


def test_writes_of_every_kind_are_seen(counted):
    net = counted.net
    net.parameters[SCALE] = [1.0, 2.0, 3.0, 4.0]
    counted.check(1)
    net.parameters[SCALE][1:] = 7
    counted.check(1)
    net.parameters[SCALE] -= 2
    counted.check(1)
    net.state[VARIANCE].fill(3.0)
    counted.check(1)
    counted.check(0)


def test_an_array_that_is_kept_is_watched(counted):
    held = counted.net.state[VARIANCE]
    view = held[2:]
    counted.check(1)
    counted.check(0)
    view[0] = 5
    counted.check(1)
    del held
    counted.check()
    np.ravel(view)[1] = 9
    counted.check(1)
    counted.check(0)
    view += 1
    del view
    counted.check(1)
    counted.check(0)


def test_an_array_that_was_written_to_before_it_was_dropped(counted):
    held = counted.net.state[VARIANCE]
    counted.check()
    held *= 3
    del held
    counted.check(1)


def test_many_arrays_that_are_kept(counted, monkeypatch):
    monkeypatch.setattr("diffgraph.runtime.freshness.SMALL", 0)
    counted.net.inference_executable().bind(counted.net.storage)
    held = dict(counted.net.state)
    for _ in range(3):
        for array in held.values():
            array *= 1.5
        counted.check(1)
    values = np.array(held[VARIANCE], copy=False).reshape(-1)
    del held
    values[3] = 0
    counted.check(1)
    assert len(counted.net.storage.lent) == 1


def test_reading_costs_one_preparation_at_most(counted):
    sum(float(a.sum()) for a in counted.net.parameters.values())
    counted.check(1)
    counted.check(0)


def test_files_training_and_evaluation(counted, tmp_path):
    net, x = counted.net, counted.x
    net.save(tmp_path / "w.safetensors")
    counted.check()
    net.parameters[SCALE] = np.full(4, 0.5)
    counted.check(1)
    net.load(tmp_path / "w.safetensors")
    counted.check(1)
    t = np.ones((8, 4))
    before = net.loss(x=x, t=t)
    history = net.train((x, t))
    del history
    gc.collect()
    counted.check(1)
    counted.check(0)
    after = net.loss(x=x, t=t)
    assert after != before and after == pytest.approx(counted.reference.loss(x=x, t=t), rel=1e-12)
    assert net.evaluate({"x": x, "t": t})["loss"] == pytest.approx(after, rel=1e-12)


def test_evaluations_in_training_see_the_weights_of_their_epoch():
    x, t = np.random.default_rng(2).standard_normal((8, 3)), np.ones((8, 4))
    ours, theirs = (dg.loads(NET, target=target, precision="f64") for target in ("cpu", "reference"))
    found, expected = (net.train((x, t), epochs=3) for net in (ours, theirs))
    for a, b in zip(found, expected, strict=True):
        assert a.evaluation["loss"] == pytest.approx(b.evaluation["loss"], rel=1e-9)


# ------------------------------------------------------------------------------------------------ executables

TEXT = """
    input x[N, 3]
    param v[3] = 0
    param w[3] = 0
    s[i]    = tanh(v[i])
    y[n, i] = x[n, i] * s[i] * w[i]
    later   = w + s
    output y
    output later"""


def test_a_program_does_not_prepare_what_it_changes():
    program = program_of(TEXT)
    program = program.with_(commits=(Commit("w", program.output("later")),))
    split = split_prepared(program, Report())
    assert [i.tensor.name for i in split.rest.inputs if i.role == "prepared"] == ["s"]
    storage = Storage({"v": np.arange(3.0), "w": np.ones(3)})
    executable = build(program, "cpu", "f64")
    executable.bind(storage)
    x = np.ones((4, 3))
    executable.run({"x": x})
    prepared = executable.rest.storage["(s)"]
    for step in range(3):
        found = executable.run({"x": x}, commit=True)
        np.testing.assert_allclose(found["y"][0], np.tanh(np.arange(3)) * (1 + step * np.tanh(np.arange(3))))
        prepared[...] = np.tanh(np.arange(3))
    prepared[...] = 0
    assert not executable.run({"x": x})["y"].any(), "its own commits are no reason to prepare again"
    storage["v"][...] = 1
    np.testing.assert_allclose(executable.run({"x": x})["y"][0], np.tanh(1) * storage["w"])


def test_plain_arrays_may_change_at_any_time():
    executable = build(program_of(TEXT), "cpu", "f64")
    v, w = np.arange(3.0), np.ones(3)
    executable.bind({"v": v, "w": w})
    step = executable.stepper({"x": np.ones((1, 3))})
    for value in (1.0, 2.0):
        v[...] = value
        np.testing.assert_allclose(step()["y"][0], np.tanh(value))
    columns, order = {"x": np.ones((4, 3))}, np.arange(4).reshape(2, 2)
    v[...] = 3.0
    np.testing.assert_allclose(executable.epoch(columns, order)["y"], np.tanh(3.0))


def test_values_that_are_no_numbers_are_no_change():
    storage = Storage({"v": np.full(3, np.nan), "w": np.ones(3)})
    executable = build(program_of(TEXT), "cpu", "f64")
    executable.bind(storage)
    held = storage["w"]
    assert np.isnan(executable.run({"x": np.ones((1, 3))})["y"]).all()
    executable.rest.storage["(s)"][...] = 4
    assert (executable.run({"x": np.ones((1, 3))})["y"] == 4).all()
    assert held.base is not None


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("y[n, i] = x[n, i] * v[i]", []),
        ("b[n < N, i] = v[i]\ny = x + b", []),
        ("o[i, j] = v[i] * v[j]\ny[n, i] = sum[j](o[i, j] * x[n, j])", []),
        ("o[i, j] = exp(v[i] * v[j])\ny[n, i] = sum[j](o[i, j] * x[n, j])", ["o"]),
        ("k[i < 300] = sin(i * i)\ny[n, i] = x[n, 0] * k[i]", ["k"]),
        ("m[i] = v[i] / N\ny[n, i] = x[n, i] * m[i]", []),
        ("m = max(v)\ny = x - m", ["max"]),
    ],
)
def test_what_is_worth_it(text, prepared):
    split = split_prepared(program_of(f"input x[N, 300]\nparam v[300] = 0\n{text}\noutput y"), Report())
    found = [] if split is None else [i.tensor.name.split("_")[0] for i in split.rest.inputs if i.role == "prepared"]
    assert found == prepared
