"""L-BFGS: quasi-Newton steps from the last few changes of the gradient, with a line search.

Nocedal and Wright, Numerical Optimization (2006): the two-loop recursion (algorithm 7.4) and a line search for the
strong Wolfe conditions (algorithms 3.5 and 3.6). All vectors are float64, whatever the precision of the function:
differences of gradients near a minimum are small. A trial where the function is not finite is a failed step: it is
never accepted, and the search looks nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

#: Value and gradient at a point.
Function = Callable[[np.ndarray], tuple[float, np.ndarray]]

#: Sufficient decrease and curvature of the strong Wolfe conditions, as the book advises for quasi-Newton methods.
DECREASE, CURVATURE = 1e-4, 0.9

#: Trials of one line search.
MOST_TRIALS = 25

#: Pairs remembered where nothing else is said: ten stall on a fit of ill-conditioned polynomials that a hundred solve
#: in 80 iterations. At most so many bytes are spent on them, down to the ten of the book.
MOST_PAIRS, LEAST_PAIRS, PAIR_BYTES = 100, 10, 1 << 29


@dataclass(frozen=True, eq=False)
class State:
    """Where the minimization is: the point, value and gradient there, and the last pairs (change of point, of
    gradient)."""

    point: np.ndarray
    value: float
    gradient: np.ndarray
    moves: tuple[np.ndarray, ...] = ()
    turns: tuple[np.ndarray, ...] = ()
    finished: bool = False


def usual_memory(size: int) -> int:
    """How many pairs are remembered for a point of that size."""
    return max(LEAST_PAIRS, min(MOST_PAIRS, PAIR_BYTES // (16 * max(1, size))))


def begin(function: Function, point: np.ndarray) -> State:
    """The state at a first point."""
    value, gradient = function(point)
    return State(point, value, gradient)


def step(state: State, function: Function, memory: int | None = None, tolerance: float = 1e-12) -> State:
    """One iteration: a direction, a line search along it, and the pair it gives.

    `finished` where the gradient is smaller than `tolerance` (largest element) or nothing below the value can be found.
    """
    if state.finished or np.max(np.abs(state.gradient), initial=0.0) <= tolerance:
        return replace(state, finished=True)
    for pairs in (True, False) if state.moves else (False,):
        start = state if pairs else replace(state, moves=(), turns=())
        direction = _direction(start)
        found = search(function, start, direction, _first_length(start, direction))
        if found is not None:
            return _moved(start, direction, *found, memory or usual_memory(state.point.size))
    return replace(state, finished=True)


def _direction(state: State) -> np.ndarray:
    """- H * gradient by the two-loop recursion. Without pairs: the steepest descent."""
    q = state.gradient.copy()
    weights = []
    for move, turn in zip(reversed(state.moves), reversed(state.turns)):
        alpha = (move @ q) / (turn @ move)
        q -= alpha * turn
        weights.append(alpha)
    if state.moves:
        move, turn = state.moves[-1], state.turns[-1]
        q *= (move @ turn) / (turn @ turn)
    for (move, turn), alpha in zip(zip(state.moves, state.turns), reversed(weights)):
        q += (alpha - (turn @ q) / (turn @ move)) * move
    return -q


def _first_length(state: State, direction: np.ndarray) -> float:
    """1, but a first steepest-descent step is no longer than 1 in the largest element of the change."""
    if state.moves:
        return 1.0
    return min(1.0, 1.0 / np.sum(np.abs(direction)))


def _moved(state: State, direction, length: float, value: float, gradient: np.ndarray, memory: int) -> State:
    """The state after a step. A pair without positive curvature would spoil the recursion and is left out."""
    move, turn = length * direction, gradient - state.gradient
    keep = move @ turn > 1e-10 * np.sqrt((move @ move) * (turn @ turn))
    moves = (*state.moves, move)[-memory:] if keep else state.moves
    turns = (*state.turns, turn)[-memory:] if keep else state.turns
    return State(state.point + move, value, gradient, moves, turns)


# ------------------------------------------------------------------ line search


@dataclass(frozen=True, eq=False)
class _Trial:
    """The function at a length along the direction: its value, slope along the direction, gradient."""

    length: float
    value: float
    slope: float
    gradient: np.ndarray


def search(function: Function, state: State, direction: np.ndarray, first: float):
    """(length, value, gradient) of a point along the direction that meets the strong Wolfe conditions (algorithm 3.5).

    Where no such point is found in `MOST_TRIALS` trials: the best one with sufficient decrease; None if there is none.
    """
    slope = float(state.gradient @ direction)
    if not slope < 0:
        return None
    return _Search(function, state, direction, slope).run(first)


class _Search:
    """One line search: phi(length) = function(point + length * direction)."""

    def __init__(self, function: Function, state: State, direction: np.ndarray, slope: float):
        self.function = function
        self.point = state.point
        self.direction = direction
        self.start = _Trial(0.0, state.value, slope, state.gradient)
        self.best: _Trial | None = None
        self.trials = 0

    def run(self, first: float):
        """Algorithm 3.5: lengths that grow until they bracket a good one."""
        before, length = self.start, first
        while self.trials < MOST_TRIALS:
            trial = self.at(length)
            if not np.isfinite(trial.value):
                # A failed step: the function has a wall here. What lies before it is searched by halves.
                length = (before.length + length) / 2
                if length - before.length <= 1e-16 * max(1.0, before.length):
                    break
                continue
            if not self.decreases(trial) or (before is not self.start and trial.value >= before.value):
                return self.answer(self.zoom(before, trial))
            if abs(trial.slope) <= -CURVATURE * self.start.slope:
                return self.answer(trial)
            if trial.slope >= 0:
                return self.answer(self.zoom(trial, before))
            before, length = trial, 2 * trial.length
        return self.answer(None)

    def zoom(self, low: _Trial, high: _Trial) -> _Trial | None:
        """Algorithm 3.6: `low` has the lower value of the two and a slope towards `high`."""
        while self.trials < MOST_TRIALS:
            trial = self.at(_between(low, high))
            if not np.isfinite(trial.value) or not self.decreases(trial) or trial.value >= low.value:
                high = trial
            else:
                if abs(trial.slope) <= -CURVATURE * self.start.slope:
                    return trial
                if trial.slope * (high.length - low.length) >= 0:
                    high = low
                low = trial
            if abs(high.length - low.length) <= 1e-14 * max(abs(high.length), abs(low.length)):
                return None
        return None

    def at(self, length: float) -> _Trial:
        """Evaluates the function, and remembers the best trial with sufficient decrease."""
        self.trials += 1
        value, gradient = self.function(self.point + length * self.direction)
        if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
            return _Trial(length, np.inf, np.nan, gradient)
        slope = float(gradient @ self.direction)
        trial = _Trial(length, value, slope, gradient)
        if self.decreases(trial) and (self.best is None or value < self.best.value):
            self.best = trial
        return trial

    def decreases(self, trial: _Trial) -> bool:
        """The sufficient decrease condition; strictly below the start, so that rounding cannot make a step of
        nothing."""
        bound = self.start.value + DECREASE * trial.length * self.start.slope
        return trial.value <= bound and trial.value < self.start.value

    def answer(self, trial: _Trial | None):
        chosen = trial or self.best
        return None if chosen is None else (chosen.length, chosen.value, chosen.gradient)


def _between(low: _Trial, high: _Trial) -> float:
    """The minimum of the cubic through both ends (equation 3.59), kept away from the ends; their middle where there is
    none."""
    width = high.length - low.length
    middle = low.length + width / 2
    if not (np.isfinite(high.value) and np.isfinite(high.slope)):
        return middle
    d1 = low.slope + high.slope - 3 * (low.value - high.value) / (low.length - high.length)
    square = d1 * d1 - low.slope * high.slope
    if not square >= 0:
        return middle
    d2 = np.copysign(np.sqrt(square), width)
    bottom = high.slope - low.slope + 2 * d2
    if bottom == 0:
        return middle
    length = high.length - width * (high.slope + d2 - d1) / bottom
    near, far = sorted((low.length + 0.1 * width, low.length + 0.9 * width))
    return float(length) if near <= length <= far else middle
