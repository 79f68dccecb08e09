"""`python -m benchmarks --target cuda`, on a simulated device: everything but what its numbers mean."""

import json

import pytest

from benchmarks.cuda import checks, main
from benchmarks.cuda.desk import Desk
from benchmarks.cuda.worker import LIMITS, Worker
from diffgraph.compiler import Net
from diffgraph.language.module import load_text
from diffgraph.passes.pipeline import optimize
from diffgraph.runtime import device
from diffgraph.runtime.executable import build
from diffgraph.targets.cuda.machine import Machine
from diffgraph.targets.cuda.simulated import SimulatedDriver


def test_a_dry_run(tmp_path, capfd):
    path = tmp_path / "found.json"
    main(["--dry-run", "mlp-small", "--json", str(path)])
    shown = capfd.readouterr().out
    assert "kernels checked" in shown and "of the limit" in shown
    found = json.loads(path.read_text())
    assert not found["wrong"] and not found["failed"] and found["limits"] and found["workloads"][0]["name"] == "mlp-small"
    assert found["workloads"][0]["ours"] > 0 and found["workloads"][0]["error"] < 1e-4


def test_a_wrong_kernel_is_named(monkeypatch, capsys):
    monkeypatch.setattr(checks, "difference", lambda piece, executable, precision, batch: float("nan"))
    try:
        found = Desk("f32", 1, True).answer("chain-infer", 60)
    finally:
        device.use(None)
    assert found["wrong"][0].startswith("chain-infer: ") and found["row"]["name"] == "chain-infer"
    assert "WRONG: chain-infer" in capsys.readouterr().out


def test_what_cancels_is_not_wrong_and_what_is_wrong_is(monkeypatch):
    """The deviations from a mean sum up to what rounding leaves; a result that is off by a thousandth is still found."""
    text = "net n { input x[N, 300]; m[n] = mean[j](x[n, j]); y[n] = sum[j](x[n, j] - m[n]); z = x * 2; output y; output z }"
    program = Net(load_text(text)).forward(["y", "z"])
    piece = checks.Piece("cancels", program, 1)
    device.use(SimulatedDriver())
    try:
        executable = build(optimize(program, target="cuda"), "cuda", "f32")
        assert checks.difference(piece, executable, "f32", 3) < checks.TOLERANCE["f32"]
        run = executable.run
        monkeypatch.setattr(executable, "run", lambda given: {n: a * 1.001 + 1e-3 for n, a in run(given).items()})
        assert checks.difference(piece, executable, "f32", 3) > checks.TOLERANCE["f32"]
    finally:
        device.use(None)


def test_a_workload_that_fails_is_not_the_others_trouble(monkeypatch, tmp_path, capsys):
    """One raises, the process of another dies: both are said, and what follows is done by another process."""
    answers = {LIMITS: {"device": "one", "limits": []}, "softmax": {"row": {"name": "softmax"}, "wrong": []}}
    started = []

    class Fragile:
        def __init__(self, *settings):
            started.append(self)

        def ask(self, name, seconds):
            return answers.get(name, {"failed": "it broke"})

        def end(self):
            pass

    monkeypatch.setattr("benchmarks.cuda.Worker", Fragile)
    path = tmp_path / "found.json"
    with pytest.raises(SystemExit) as end:
        main(["--dry-run", "chain-infer", "layernorm", "softmax", "--json", str(path)])
    found = json.loads(path.read_text())
    assert end.value.code == 1 and len(started) == 3
    assert found["failed"] == {"chain-infer": "it broke", "layernorm": "it broke"}
    assert found["workloads"] == [{"name": "softmax"}] and found["device"] == "one"


def test_a_process_that_is_late_or_gone_is_given_up():
    worker = Worker("f32", 1, True)
    assert "took more than" in worker.ask("chain-infer", 0.05)["failed"]
    assert "ended" in worker.ask("chain-infer", 5)["failed"]
    worker.end()


def test_without_a_device(capsys, monkeypatch):
    from fake_driver import installed

    installed(monkeypatch, devices=0)
    with pytest.raises(SystemExit) as end:
        main(["mlp-small"])
    assert end.value.code == 2 and "DG822" in capsys.readouterr().err


def test_limits_of_a_device(monkeypatch):
    """Those of an A100, from what it says of itself."""
    said = {"GLOBAL_MEMORY_BUS_WIDTH": 5120, "MEMORY_CLOCK_RATE": 1215000, "CLOCK_RATE": 1410000, "MULTIPROCESSOR_COUNT": 108}
    driver = type("Driver", (), {"attribute": staticmethod(said.get), "name": "A100", "capability": 80})()
    machine = Machine.of(driver)
    assert machine.bandwidth == pytest.approx(1.555e12, rel=1e-3)
    assert machine.operations("f32") == pytest.approx(19.5e12, rel=1e-2)
    assert machine.operations("bf16") == pytest.approx(312e12, rel=1e-2)
