"""`python -m benchmarks --target cuda`, on a simulated device: everything but what its numbers mean."""

import json

import pytest

from benchmarks.cuda import checks, main
from benchmarks.cuda.limits import Machine


def test_a_dry_run(tmp_path, capsys):
    path = tmp_path / "found.json"
    main(["--dry-run", "mlp-small", "--json", str(path)])
    shown = capsys.readouterr().out
    assert "kernels checked" in shown and "of the limit" in shown
    found = json.loads(path.read_text())
    assert not found["wrong"] and found["workloads"][0]["name"] == "mlp-small"
    assert found["workloads"][0]["ours"] > 0 and found["workloads"][0]["error"] < 1e-4


def test_a_wrong_kernel_is_named(monkeypatch, capsys):
    monkeypatch.setattr(checks, "difference", lambda piece, precision, batch: float("nan"))
    with pytest.raises(SystemExit) as end:
        main(["--dry-run", "chain-infer"])
    assert end.value.code == 1 and "WRONG: chain-infer" in capsys.readouterr().out


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
