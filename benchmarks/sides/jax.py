"""JAX: a step as one jitted function, and many steps as a scan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import jax_models
from benchmarks.samples import COMPARED, read_arrays, samples
from benchmarks.workloads import Workload
from diffgraph.inspect.turns import Configuration, Prepared


def configurations(work: Workload, threads: int, arrays: Path) -> Iterator[Configuration]:
    """`jit` for all that have a twin; for training also `scan`, if a call makes several steps."""
    if not work.jax:
        return
    if work.kind == "train":
        yield Configuration("jax jit", lambda: _training(work, arrays, scan=False))
        if work.steps > 1:
            yield Configuration("jax scan", lambda: _training(work, arrays, scan=True))
    elif work.kind == "infer":
        yield Configuration("jax jit", lambda: _inference(work, arrays))
    else:
        yield Configuration("jax jit", lambda: _gradient(work, arrays))


def _training(work: Workload, arrays: Path, scan: bool) -> Prepared:
    model = getattr(jax_models, work.jax)
    parameters = jax_models.laid_out(work.jax, read_arrays(arrays)[0])
    loss = getattr(jax_models, work.loss)
    kind, settings = work.optimizer

    def step(state, batch):
        weights, first, second, count = state
        value, slopes = jax.value_and_grad(lambda w: loss(model(w, *batch[:-1]), batch[-1]))(weights)
        return jax_models.adam(weights, slopes, first, second, count + 1, **settings), value

    zeros = [jnp.zeros_like(p) for p in parameters]
    state = (parameters, zeros, [jnp.zeros_like(p) for p in parameters], jnp.zeros((), jnp.int32))
    columns = [c.reshape(-1, work.batch, *c.shape[1:]) for c in samples(work).values()]
    if scan:
        many = jax.jit(lambda s, batches: jax.lax.scan(step, s, batches), donate_argnums=0)
        state, evidence = many(state, tuple(jnp.asarray(c[:COMPARED]) for c in columns))
        batches = tuple(jnp.asarray(c[: work.steps]) for c in columns)
    else:
        one = jax.jit(step, donate_argnums=0)
        evidence = []
        batches = [tuple(jnp.asarray(c[k]) for c in columns) for k in range(len(columns[0]))]
        for batch in batches[:COMPARED]:
            state, value = one(state, batch)
            evidence.append(value)
        batches = batches[: work.steps]
    kept = [state]

    def run() -> None:
        state = kept[0]
        if scan:
            state, losses = many(state, batches)
        else:
            for batch in batches:
                state, losses = one(state, batch)
        kept[0] = state
        jax.block_until_ready((state, losses))

    return Prepared(run, np.asarray(evidence, np.float64))


def _inference(work: Workload, arrays: Path) -> Prepared:
    model = getattr(jax_models, work.jax)
    parameters = jax_models.laid_out(work.jax, read_arrays(arrays)[0])
    outputs = jax.nn.softmax if parameters else lambda x: x
    function = jax.jit(lambda *inputs: outputs(model(parameters, *inputs)))
    inputs = [jnp.asarray(a) for a in samples(work).values()]
    return Prepared(lambda: function(*inputs).block_until_ready(), np.asarray(function(*inputs)))


def _gradient(work: Workload, arrays: Path) -> Prepared:
    model = getattr(jax_models, work.jax)
    parameters = read_arrays(arrays)[0]
    x, *others = (jnp.asarray(a) for a in samples(work).values())
    function = jax.jit(jax.value_and_grad(lambda w, x: model(w, x, *others), argnums=(0, 1)))
    parameters = [jnp.asarray(p) for p in parameters]
    value, (of_weights, of_input) = function(parameters, x)
    evidence = [value, *(jnp.linalg.norm(g) for g in (*of_weights, of_input))]
    return Prepared(lambda: jax.block_until_ready(function(parameters, x)), np.asarray(evidence, np.float64))
