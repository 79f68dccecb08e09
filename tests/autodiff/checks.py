"""Derivatives of a program held against finite differences and against PyTorch."""

from __future__ import annotations

import string

import numpy as np
from formulas import let

from diffgraph.autodiff.differentiate import gradients
from diffgraph.ir.interpret import interpret
from diffgraph.ir.program import Builder, Program


class Case:
    """A program under test and its inputs; differentiated is the scalar sum(y * v) of its result with a random v."""

    def __init__(self, values, wrt, kinds=None, seed=0):
        self.builder = Builder()
        self.random = np.random.default_rng(seed)
        self.values = {name: np.asarray(v) for name, v in values.items()}
        self.wrt = list(wrt)
        for name, value in self.values.items():
            kind = (kinds or {}).get(name, "float" if value.dtype.kind == "f" else "int")
            bound = int(value.max()) + 1 if kind == "int" else None
            self.builder.input(name, value.shape, "input", kind=kind, bound=bound)

    def let(self, text: str, **extents) -> str:
        return let(self.builder, text, **extents)

    def close(self, result: str) -> str:
        """sum(result * v)"""
        tensor = self.builder.tensors[result]
        return self._weighed("v", {result: self.random.standard_normal(tensor.shape)})

    def gradients(self, of: str) -> dict[str, str | None]:
        return gradients(self.builder, [(of, None)], self.wrt)

    def weighed_gradients(self, found) -> str:
        """sum over wrt of sum(gradient * u): what is differentiated for second derivatives."""
        return self._weighed("u", {g: self.random.standard_normal(self.values[w].shape) for w, g in found.items() if g})

    def _weighed(self, hint, weights) -> str:
        parts = []
        for name, value in weights.items():
            weight = self.builder.input(f"{hint}_{name}", value.shape, "input").name
            self.values[weight] = value
            at = ", ".join(string.ascii_lowercase[: value.ndim])
            if value.ndim:
                parts.append(self.let(f"q_{name} = sum[{at}]({name}[{at}] * {weight}[{at}])"))
            else:
                parts.append(self.let(f"q_{name} = {name} * {weight}"))
        return self.let(f"total_{hint} = {' + '.join(parts) or '0.0'}")

    def run(self, *names, changed=None) -> list[np.ndarray]:
        program: Program = self.builder.program()
        results = interpret(program, self.values | (changed or {}), keep=names)
        return [results[n] for n in names]


def by_difference(case: Case, of: str, found, step=1e-5) -> float:
    """The largest relative error of directional derivatives by each input, against central differences."""
    worst = 0.0
    for name, gradient in found.items():
        for _ in range(2):
            direction = case.random.standard_normal(case.values[name].shape)
            above, below = (
                case.run(of, changed={name: case.values[name] + sign * step * direction})[0] for sign in (1, -1)
            )
            expected = (above - below) / (2 * step)
            actual = (case.run(gradient)[0] * direction).sum() if gradient else 0.0
            worst = max(worst, abs(actual - expected) / max(1.0, abs(expected)))
    return float(worst)


def by_torch(case: Case, result: str, formula, order=2) -> tuple[float, ...]:
    """The largest errors of the value, the first and the second derivatives against a PyTorch function."""
    import torch

    torch.set_num_threads(1)
    names = list(case.values)
    leaves = {n: torch.tensor(v, requires_grad=n in case.wrt) for n, v in case.values.items()}
    total = case.close(result)
    y = formula(**{n: leaves[n] for n in names})
    v = torch.tensor(case.values[f"v_{result}"])
    errors = [_largest(case.run(result)[0], y)]
    first = torch.autograd.grad((y * v).sum(), [leaves[w] for w in case.wrt], create_graph=True)
    found = case.gradients(total)
    actual = case.run(*(g for g in found.values() if g))
    errors.append(max(_largest(a, b) for a, b in zip(actual, first)))
    if order == 2:
        scalar = case.weighed_gradients(found)
        weights = [torch.tensor(case.values[f"u_{found[w]}"]) for w in case.wrt]
        both = sum(((g * u).sum() for g, u in zip(first, weights)), start=0 * leaves[case.wrt[0]].sum())
        second = torch.autograd.grad(both, [leaves[w] for w in case.wrt], allow_unused=True)
        again = case.gradients(scalar)
        for name, expected in zip(case.wrt, second):
            value = case.run(again[name])[0] if again[name] else np.zeros(case.values[name].shape)
            errors.append(_largest(value, torch.zeros(value.shape) if expected is None else expected))
    return tuple(errors)


def _largest(actual, expected) -> float:
    expected = expected.detach().numpy()
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return float(np.max(np.abs(actual - expected), initial=0.0))
