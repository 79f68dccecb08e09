"""Kernels of small programs, executed: every kind of form, scans, ragged sizes, both generations of devices."""

import pytest
from agreement import program_of
from simulation import check
from test_forms import CASES
from test_scans import CASES as SCANS

from diffgraph.compiler import Net
from diffgraph.language.module import load_text
from diffgraph.language.step import training_network
from diffgraph.passes.pipeline import optimize
from diffgraph.runtime import device, device_launch
from diffgraph.targets.cuda.simulated import SimulatedDriver

LONG = """net n { input x[N, T, 4]; target y[N]: int < 3
            h = x -> gru(8)
            p = h[:, -1] -> linear(3)
            output p; loss cross_entropy(p, y) }
           train n { optimizer adam(lr = 1e-2); batch 4 }"""


@pytest.mark.parametrize("name", CASES)
def test_forms(name, rng):
    check(program_of(CASES[name]), 5, rng)


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("loops", [True, False])
def test_scans(name, loops, rng, monkeypatch):
    """As one launch with loops in it, and written out."""
    monkeypatch.setattr(device_launch, "MOST_STARTS", 64 if loops else 0)
    text = SCANS[name].replace("yield next_h = tanh(s)", "yield tanh(s)")
    check(program_of(text), 3, rng)


def test_a_long_scan_is_one_launch():
    """A thousand turns are planned as fast as ten, in both directions; their work is that of all."""
    plans = {}
    for turns in (10, 1000):
        net = Net(load_text(LONG.replace("T,", f"{turns},")), target="cuda")
        program = optimize(training_network(net.plan(batch=4, steps=1), sizes={}).program, target="cuda")
        executable = device.DeviceExecutable(program, "f32", SimulatedDriver())
        plans[turns] = device._planner(executable, {net.network().batch: 4}, True, None, frozenset()).plan()
    short, long = (plans[turns].items[0] for turns in (10, 1000))
    assert max(len(short.starts), len(long.starts)) < 64
    assert long.work > 60 * short.work


@pytest.mark.parametrize("batch", [1, 65])
def test_any_batch_size(batch, rng):
    check(program_of(CASES["matrix product"]), batch, rng)


@pytest.mark.parametrize("name", ["matrix product", "softmax and norms"])
def test_older_devices_do_without_asynchronous_copies(name, rng):
    device = check(program_of(CASES[name]), 5, rng, capability=75)
    assert not any("copy(" in text for text in device.source().split("def kernel"))


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_matrix_units(precision, rng):
    device = check(program_of(CASES["convolutions"]), 5, rng, precision)
    assert f"kind='{precision}'" in device.source()


def test_float64(rng):
    check(program_of(CASES["softmax and norms"]), 5, rng, "f64")
