"""Normalization, against PyTorch: values, derivatives, and the running statistics that a step leaves."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

IMAGE, ROWS, TEXT = {"x": (3, 4, 5, 2)}, {"x": (5, 4)}, {"x": (2, 3, 6)}


def batchnorm(training, momentum=0.1, eps=1e-5):
    def function(x, p):
        mean, var = p["running_mean"].clone(), p["running_var"].clone()
        return F.batch_norm(x, mean, var, p.get("weight"), p.get("bias"), training, momentum, eps)

    return function


BATCHNORM = [
    ("batchnorm", IMAGE, True, {}),
    ("batchnorm", ROWS, True, {}),
    ("batchnorm", {"x": (2, 3, 2, 3, 2)}, True, {}),
    ("batchnorm(0.3, 0.01)", IMAGE, True, {"momentum": 0.3, "eps": 0.01}),
    ("batchnorm(affine = false)", IMAGE, True, {}),
    ("batchnorm", IMAGE, False, {}),
    ("batchnorm(eps = 0.1, affine = false)", IMAGE, False, {"eps": 0.1}),
]


@pytest.mark.parametrize("text, inputs, training, options", BATCHNORM)
def test_batchnorm(agrees, text, inputs, training, options):
    agrees(f"x -> {text} as f", inputs, batchnorm(training, **options), training=training, single=True)


@pytest.mark.parametrize("text, make", [
    ("batchnorm(0.2)", lambda: torch.nn.BatchNorm2d(4, momentum=0.2, dtype=torch.float64)),
    ("instancenorm(momentum = 0.2, track_running_stats = true)",
     lambda: torch.nn.InstanceNorm2d(4, momentum=0.2, track_running_stats=True, dtype=torch.float64)),
])  # fmt: skip
def test_running_statistics(agrees, text, make):
    before, module = {}, make()

    def function(x, p):
        before.update({k: p[k].detach().clone() for k in ("running_mean", "running_var")})
        module.load_state_dict({**module.state_dict(), **before})
        if "weight" in p:
            return F.batch_norm(x, None, None, p["weight"], p["bias"], True)
        return F.instance_norm(x)

    ours = agrees(f"x -> {text} as f", IMAGE, function, training=True)
    x = np.random.default_rng(0).standard_normal(IMAGE["x"])
    module(torch.as_tensor(np.where(np.abs(x - np.round(x)) < 0.02, x + 0.05, x)))
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(ours.states[f"f.{name}"], module.state_dict()[name].numpy(), rtol=1e-9)


CASES = [
    ("layernorm", TEXT, lambda x, p: F.layer_norm(x, (6,), p["weight"], p["bias"])),
    ("layernorm(2, 0.01)", TEXT, lambda x, p: F.layer_norm(x, (3, 6), p["weight"], p["bias"], 0.01)),
    ("layernorm(affine = false)", TEXT, lambda x, p: F.layer_norm(x, (6,))),
    ("layernorm(bias = false)", ROWS, lambda x, p: F.layer_norm(x, (4,), p["weight"])),
    ("groupnorm(2)", IMAGE, lambda x, p: F.group_norm(x, 2, p["weight"], p["bias"])),
    ("groupnorm(4, 0.1)", IMAGE, lambda x, p: F.group_norm(x, 4, p["weight"], p["bias"], 0.1)),
    ("groupnorm(1, affine = false)", TEXT, lambda x, p: F.group_norm(x, 1)),
    ("instancenorm", IMAGE, lambda x, p: F.instance_norm(x)),
    ("instancenorm(0.1, affine = true)", TEXT,
     lambda x, p: F.instance_norm(x, weight=p["weight"], bias=p["bias"], eps=0.1)),
    ("instancenorm(track_running_stats = true)", IMAGE,
     lambda x, p: F.instance_norm(x, p["running_mean"], p["running_var"], use_input_stats=False)),
    ("rmsnorm", TEXT, lambda x, p: F.rms_norm(x, (6,), p["weight"], torch.finfo(torch.float32).eps)),
    ("rmsnorm(2, 0.01, false)", TEXT, lambda x, p: F.rms_norm(x, (3, 6), None, 0.01)),
]  # fmt: skip


@pytest.mark.parametrize("text, inputs, function", CASES, ids=[t for t, _, _ in CASES])
def test_norm(agrees, text, inputs, function):
    agrees(f"x -> {text} as f", inputs, function, single=True)
