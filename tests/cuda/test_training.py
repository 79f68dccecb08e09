"""Whole training steps on a simulated device: what the kernels leave in the parameters and states."""

import numpy as np
import pytest
from simulation import close

from diffgraph.compiler import Net
from diffgraph.language.module import load_text
from diffgraph.runtime import device, device_launch
from diffgraph.targets.cuda.simulated import SimulatedDriver

NETS = {
    "mlp": (
        """net n { input x[N, 20]; target y[N]: int < 10
            p = x -> linear(32) -> layernorm -> relu -> dropout(0.3) -> linear(10)
            output p; loss cross_entropy(p, y); metric accuracy(p, y) }
           train n { optimizer adam(lr = 1e-2); batch 8 }""",
        (20,), 10,
    ),
    "convolutions": (
        """net n { input x[N, 1, 10, 10]; target y[N]: int < 4
            p = x -> conv(6, 3, pad = 1) -> batchnorm -> tanh -> avgpool(2) -> conv(8, 3) -> relu -> maxpool(2)
                  -> flatten -> linear(4)
            output p; loss cross_entropy(p, y) }
           train n { optimizer sgd(lr = 0.05, momentum = 0.9); batch 8 }""",
        (1, 10, 10), 4,
    ),
    "recurrent": (
        """net n { input x[N, 5, 4]; target y[N]: int < 3
            h = x -> lstm(6)
            p = h[:, -1] -> linear(3)
            output p; loss cross_entropy(p, y) }
           train n { optimizer adamw(lr = 1e-2); batch 6 }""",
        (5, 4), 3,
    ),
}  # fmt: skip


@pytest.fixture
def simulated():
    driver = SimulatedDriver()
    device.use(driver)
    yield driver
    device.use(None)


@pytest.mark.parametrize("name", NETS)
def test_an_epoch_of_training(name, simulated, rng):
    text, shape, classes = NETS[name]
    x = rng.standard_normal((16, *shape)).astype(np.float32)
    y = rng.integers(0, classes, 16)
    trained = {}
    for target, precision in (("cuda", "f32"), ("reference", "f64")):
        net = Net(load_text(text), target=target, precision=precision, seed=3)
        history = net.train(data=(x, y), epochs=1)
        trained[target] = {**net.parameters, **net.state}, history
    assert simulated.executed > 0
    found, expected = (trained[target][0] for target in ("cuda", "reference"))
    for path, value in expected.items():
        if "bias" in path and "conv" in path:
            continue  # before a batchnorm its gradient is rounding noise, which the optimizer makes large
        close(found[path], np.asarray(value, np.float64), 2e-4, path)


@pytest.mark.parametrize("name, blocks", [("mlp", 1), ("mlp", 3), ("convolutions", 3), ("recurrent", 3)])
def test_a_whole_epoch_is_one_launch(name, blocks, simulated, rng, monkeypatch):
    """Small programs: one block whose threads meet, or several that meet each other; the bits of separate kernels."""
    text, shape, classes = NETS[name]
    x = rng.standard_normal((16, *shape)).astype(np.float32)
    y = rng.integers(0, classes, 16)
    trained, launches = [], []
    monkeypatch.setattr(device_launch, "WORK_OF_ONE_BLOCK", 0 if blocks > 1 else 1 << 40)
    for one in (True, False):
        monkeypatch.setattr(device_launch, "MOST_STARTS", 64 if one else 0)
        before = simulated.launches
        net = Net(load_text(text), target="cuda", seed=3)
        net.train(data=(x, y), epochs=1)
        trained.append({**net.parameters, **net.state})
        launches.append(simulated.launches - before)
    assert launches[0] < 8 < 40 < launches[1]
    for path, value in trained[0].items():
        np.testing.assert_array_equal(value, trained[1][path], path)
