"""L-BFGS against problems whose minimum is known."""

import numpy as np
import pytest

from diffgraph.training import lbfgs


def minimize(function, start, steps=500, memory=None):
    state = lbfgs.begin(function, np.asarray(start, np.float64))
    values = [state.value]
    for _ in range(steps):
        state = lbfgs.step(state, function, memory)
        values.append(state.value)
        if state.finished:
            break
    return state, values


def rosenbrock(x):
    """The valley of Rosenbrock (1960) in any dimension; its minimum is 0 at (1, ..., 1)."""
    steep, flat = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    slope = np.zeros_like(x)
    slope[:-1] = -400 * x[:-1] * steep - 2 * flat
    slope[1:] += 200 * steep
    return float(np.sum(100 * steep**2 + flat**2)), slope


def test_the_valley_of_rosenbrock():
    state, values = minimize(rosenbrock, np.full(20, -1.2))
    assert state.value < 1e-20
    assert np.allclose(state.point, 1)
    assert all(b <= a for a, b in zip(values, values[1:])), "a step may never go up"


@pytest.mark.parametrize("seed", range(5))
def test_a_quadratic_ends_at_the_solution_of_its_equations(seed):
    generator = np.random.default_rng(seed)
    a = generator.standard_normal((12, 12))
    a = a @ a.T + 0.1 * np.eye(12)
    b = generator.standard_normal(12)
    state, _ = minimize(lambda x: (float(x @ a @ x / 2 - b @ x), a @ x - b), np.zeros(12))
    assert np.allclose(state.point, np.linalg.solve(a, b), rtol=1e-6, atol=1e-8)


def test_an_ill_conditioned_fit_reaches_the_least_squares_residual():
    x = np.random.default_rng(0).uniform(-3, 3, 256)
    table, y = x[:, None] ** np.arange(10), np.sin(2 * x)
    best = np.mean((table @ np.linalg.lstsq(table, y, rcond=None)[0] - y) ** 2)

    def function(w):
        rest = table @ w - y
        return float(np.mean(rest**2)), 2 * table.T @ rest / len(y)

    state, _ = minimize(function, np.random.default_rng(1).normal(size=10) * 0.4, 400)
    assert state.value < best * 1.0001


@pytest.mark.parametrize("wall", [np.nan, np.inf, -np.inf])
def test_a_trial_that_is_not_finite_is_a_failed_step(wall):
    """x - log(x) has no value left of 0; its minimum is at 1. The first trials from 30 land behind the wall."""
    seen = []

    def function(x):
        seen.append(x[0])
        return (float(x[0] - np.log(x[0])), 1 - 1 / x) if x[0] > 0 else (wall, np.full(1, np.nan))

    state, _ = minimize(lambda x: function(x * 30), np.ones(1))
    assert abs(state.point[0] * 30 - 1) < 1e-6
    assert np.isfinite(state.value)


def test_steps_meet_the_strong_wolfe_conditions():
    state = lbfgs.begin(rosenbrock, np.array([-1.2, 1.0]))
    for _ in range(20):
        new = lbfgs.step(state, rosenbrock)
        move = new.point - state.point
        before, after = state.gradient @ move, new.gradient @ move
        assert new.value <= state.value + lbfgs.DECREASE * before + 1e-15
        assert abs(after) <= -lbfgs.CURVATURE * before + 1e-15
        state = new


def test_at_the_minimum_it_is_finished():
    state, values = minimize(lambda x: (float(x @ x), 2 * x), np.zeros(3))
    assert state.finished and len(values) == 2


def test_memory_is_bounded():
    state, _ = minimize(rosenbrock, np.full(6, -1.2), steps=30, memory=4)
    assert len(state.moves) == len(state.turns) == 4
    assert lbfgs.usual_memory(10) == 100
    assert lbfgs.usual_memory(10**8) == 10
