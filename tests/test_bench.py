"""`diffgraph bench`, and the table of benchmarks: what is counted, what is compared, what is printed. No timings."""

import ast
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from diffgraph.cli import run
from diffgraph.compiler import loads
from diffgraph.inspect import bench, turns
from diffgraph.inspect.profile import kernel_times, layer_times
from diffgraph.runtime.limits import Limits
from diffgraph.runtime.profile import profile

ROOT = Path(__file__).resolve().parents[1]

LIMITS = Limits(1e11, 1e10, 1)

NET = """
net tiny(width = 4) {
    input  x[N, 3]
    target y[N, 2]
    h = x -> linear(width) -> tanh
    p = h -> linear(2)
    output p
    loss   mean((p - y)^2)
}

train tiny { batch 8; optimizer adam }
"""

PEERS = """
import numpy as np

def right(case):
    a, b, c, d = case.parameters.values()
    if case.mode == "inference":
        return lambda: np.tanh(case.inputs["x"] @ a.T + b) @ c.T + d
    return lambda: None

def failing(case):
    step, calls = right(case), []
    def fail():
        calls.append(1)
        return step() if len(calls) < 3 else 1 / 0
    return fail

def wrong(case):
    step = right(case)
    return lambda: None if step() is None else 2 * step()
"""


def timed(net, batch, mode):
    """(work, what its kernels are) of a mode."""
    (work,) = bench.works(net, batch, {}, (mode,))
    found = profile(work.executable, work.inputs, work.commits, 2)
    return work, kernel_times(found, LIMITS, "f32")


def test_every_kernel_has_layers_and_its_arithmetic():
    work, times = timed(loads(NET, threads=1), 16, "training")
    assert work.commits
    # Forward, by the weights, and by the hidden layer; besides, sums of some derivatives over the batch.
    assert 768 <= sum(t.macs for t in times) < 1.1 * 768
    assert all(abs(sum(t.shares.values()) - 1) < 1e-9 and t.seconds >= 0 for t in times)
    layers = layer_times(times)
    assert {"linear1", "tanh1", "linear2"} <= set(layers)
    assert {"forward", "backward", "update"} <= {phase for row in layers.values() for phase in row}
    assert sum(sum(row.values()) for row in layers.values()) == pytest.approx(sum(t.seconds for t in times))


def test_loops_count_every_turn():
    text = """
    net loop { input x[N, 4]
        h = scan t in 0..5 from h = x { next h = h -> linear(4) -> tanh }
        output h }"""
    _, times = timed(loads(text, threads=1), 8, "inference")
    assert sum(t.macs for t in times) == 5 * 8 * 4 * 4


def test_the_timed_plan_computes_the_same():
    net, other = loads(NET, threads=2), loads(NET, threads=2)
    (work,) = bench.works(net, 8, {}, ("training",))
    (plain,) = bench.works(other, 8, {}, ("training",))
    profile(work.executable, work.inputs, True, 3)
    for _ in range(4):
        plain.executable.run(plain.inputs, commit=True)
    for path, array in plain.arrays.items():
        np.testing.assert_array_equal(work.arrays[path], array)


def test_traffic_is_what_goes_in_and_comes_out():
    net = loads(NET)
    (work,) = bench.works(net, 8, {}, ("inference",))
    found = bench.traffic(work.program, {"N": 8})
    assert found == 4 * (8 * 3 + 8 * 2 + 3 * 4 + 4 + 4 * 2 + 2)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are started in the way of this platform")
def test_peers_take_turns_and_must_agree(tmp_path, capsys):
    (tmp_path / "tiny.net").write_text(NET)
    (tmp_path / "tiny_numpy.py").write_text(PEERS.replace("def right", "def tiny").replace("right(case)", "tiny(case)"))
    peers = [arg for peer in ("failing", "wrong") for arg in ("--against", f"{tmp_path / 'tiny_numpy.py'}:{peer}")]
    command = ["bench", str(tmp_path / "tiny.net"), "--mode", "inference", "--steps", "1", "--rounds", "1", "--json"]
    assert run([*command, "--against", "numpy", *peers]) == 1
    (mode,) = json.loads(capsys.readouterr().out)["modes"]
    assert [(p["name"], p["agrees"], p["error"]) for p in mode["against"]] == [
        ("diffgraph", None, ""),
        ("tiny_numpy.py:tiny", True, ""),
        ("tiny_numpy.py:failing", True, "ZeroDivisionError: division by zero"),
        ("tiny_numpy.py:wrong", False, ""),
    ]
    assert mode["macs"] == 8 * (3 * 4 + 4 * 2)
    assert {k["layers"] for k in mode["profile"]["kernels"]} != {""}


def test_agreement():
    assert turns.agree(np.array([1.0, 100.0]), np.array([1.2, 100.2]))
    assert not turns.agree(np.array([1.0, 100.0]), np.array([2.0, 100.0]))
    assert not turns.agree(np.array([1.0]), np.array([1.0, 1.0]))
    assert not turns.agree(np.array([1.0]), np.array([np.nan]))


def test_the_table_is_whole(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.workloads import WORKLOADS, named

    twins = {}
    for library in ("torch", "jax"):
        tree = ast.parse((ROOT / "benchmarks" / f"{library}_models.py").read_text())
        assigned = [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]
        twins[library] = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))} | set(assigned)
    assert len({w.name for w in WORKLOADS}) == len(WORKLOADS)
    for work in WORKLOADS:
        assert f"net {work.net}" in (ROOT / work.file).read_text()
        assert {t.model for t in work.torch} <= twins["torch"] and work.loss in twins["torch"]
        assert not work.jax or {work.jax, work.loss} <= twins["jax"]
        assert work.kind in ("train", "infer", "gradient", "start")
        assert all(g.must <= g.aim for g in work.goals) or work.kind == "start"
    assert [w.name for w in named(("lenet",))] == ["lenet-train", "lenet-infer"]
    with pytest.raises(KeyError):
        named(("nothing",))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are started in the way of this platform")
def test_a_workload_without_peers(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    from benchmarks.__main__ import main

    quick = ["--peers", "none", "--rounds", "1", "--seconds", "0.01", "--retries", "0", "--no-memory", "--threads", "1"]
    main(["mlp-small", *quick, "--json", str(tmp_path / "found.json")])
    (row,) = json.loads((tmp_path / "found.json").read_text())["workloads"]
    assert 7680 <= row["macs"] < 1.01 * 7680
    assert [s["name"] for s in row["sides"]] == ["diffgraph"] and row["sides"][0]["seconds"] > 0
    assert "diffgraph" in capsys.readouterr().out
