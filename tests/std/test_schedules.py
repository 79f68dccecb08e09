"""Schedules over a whole run, against PyTorch's where it has the same, stepped once a batch."""

import numpy as np
import pytest

from diffgraph.ir.interpret import interpret
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text

TOTAL = 20


def schedule(text: str, total: int = TOTAL) -> np.ndarray:
    """The value of a schedule in each step of a run."""
    network = elaborate(load_text(f"net s {{\n    input x[N]\n    output y = 0 * x[0] + {text}\n}}"))
    program = network.program
    inputs = {i.path: i.tensor.name for i in program.inputs}
    y = program.output("y")
    values = {"x": np.ones(1), "total_steps": total, "seed": 0}

    def at(step: int) -> float:
        given = {tensor: (step if path == "step" else values[path]) for path, tensor in inputs.items()}
        return float(interpret(program, given, keep=[y])[y])

    return np.array([at(step) for step in range(1, total + 1)])


def by_torch(make, total: int = TOTAL) -> np.ndarray:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


@pytest.mark.parametrize("text, make", [
    ("cosine(0.1)", lambda s, o: s.CosineAnnealingLR(o, TOTAL)),
    ("cosine(0.1, floor = 0.01)", lambda s, o: s.CosineAnnealingLR(o, TOTAL, 0.01)),
    ("one_cycle(0.1)", lambda s, o: s.OneCycleLR(o, 0.1, TOTAL)),
    ("one_cycle(0.1, 0.4, div = 10, final_div = 100)",
     lambda s, o: s.OneCycleLR(o, 0.1, TOTAL, pct_start=0.4, div_factor=10, final_div_factor=100)),
    ("step_decay(0.1, 6)", lambda s, o: s.StepLR(o, 6)),
    ("step_decay(0.1, every = 4, gamma = 0.5)", lambda s, o: s.StepLR(o, 4, 0.5)),
    ("multistep_decay(0.1, [3, 11])", lambda s, o: s.MultiStepLR(o, [3, 11])),
    ("exponential_decay(0.1, 0.9)", lambda s, o: s.ExponentialLR(o, 0.9)),
    ("polynomial_decay(0.1)", lambda s, o: s.PolynomialLR(o, TOTAL)),
    ("polynomial_decay(0.1, power = 2)", lambda s, o: s.PolynomialLR(o, TOTAL, 2)),
])  # fmt: skip
def test_schedule(text, make):
    np.testing.assert_allclose(schedule(text), by_torch(make), rtol=1e-9, atol=1e-16)


def test_constant():
    np.testing.assert_array_equal(schedule("constant(0.1)"), 0.1)


def test_cosine_warms_up_in_a_straight_line():
    rates = schedule("cosine(0.1, warmup = 5)")
    np.testing.assert_allclose(rates[:6], [0.02, 0.04, 0.06, 0.08, 0.1, 0.1], rtol=1e-12)
    assert np.all(np.diff(rates[5:]) < 0) and 0 < rates[-1] < 0.002


def test_warmup_scales_what_it_is_given():
    expected = schedule("step_decay(0.1, 6)") * np.minimum(np.arange(1, TOTAL + 1) / 4, 1)
    np.testing.assert_allclose(schedule("warmup(step_decay(0.1, 6), steps = 4)"), expected, rtol=1e-12)


def test_inverse_sqrt_meets_its_peak():
    rates = schedule("inverse_sqrt(0.1, warmup = 4)")
    np.testing.assert_allclose(rates[[0, 3, 15]], [0.025, 0.1, 0.05], rtol=1e-12)


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("text", ["cosine(0.1, warmup = 5)", "one_cycle(0.1)", "polynomial_decay(0.1)"])
def test_short_runs_are_finite(text, total):
    assert np.all(np.isfinite(schedule(text, total)))
