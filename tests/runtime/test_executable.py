"""Running: inputs checked, sizes solved, epochs, steppers, checks, threads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from agreement import program_of

from diffgraph.diagnostics import DiffgraphError, RunFailed
from diffgraph.ir.program import Commit
from diffgraph.runtime.executable import build

TEXT = """
    input x[N, 3]
    input k[N]: int < 5
    param w[5, 3] = 0
    y[n, i] = x[n, i] * w[k[n], i]
    m = mean(y)
    output y
    output m"""


@pytest.fixture(params=["cpu", "reference"])
def target(request):
    return request.param


def bound(target, precision="f64"):
    executable = build(program_of(TEXT), target, precision)
    real = np.float64 if precision == "f64" else np.float32
    executable.bind({"w": np.arange(15, dtype=real).reshape(5, 3)})
    return executable


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"x": np.ones((2, 3))}, "input `k` is not given"),
        ({"x": np.ones((2, 4)), "k": [0, 1]}, "input `x` has the shape [2, 4]"),
        ({"x": np.ones((2, 3)), "k": [0, 1, 2]}, "has the shape"),
        ({"x": np.ones(3), "k": [0]}, "input `x` has the shape [3]"),
        ({"x": np.ones((2, 3)), "k": [0, 5]}, "input `k` holds 5"),
        ({"x": np.ones((2, 3)), "k": [-1, 0]}, "input `k` holds -1"),
        ({"x": np.ones((2, 3)), "k": [0.5, 1.0]}, "input `k` holds float64 values"),
        ({"x": [["a", "b", "c"]], "k": [0]}, "input `x` holds"),
        ({"x": np.ones((2, 3)), "k": [0, 1], "z": 1}, "there is no input `z`"),
    ],
)
def test_wrong_inputs_are_named(target, inputs, words):
    with pytest.raises(DiffgraphError) as caught:
        bound(target).run(inputs)
    assert words in str(caught.value)


def test_a_parameter_that_is_not_bound_is_named(target):
    with pytest.raises(DiffgraphError, match="parameter `w` is not given"):
        build(program_of(TEXT), target).run({"x": np.ones((1, 3)), "k": [0]})


@pytest.mark.parametrize("array", [np.zeros((5, 3), np.int64), np.zeros((3, 5)).T, [[0.0] * 3] * 5, np.zeros((5, 4))])
def test_storage_must_be_usable_in_place(target, array):
    with pytest.raises(DiffgraphError, match="`w`"):
        build(program_of(TEXT), target, "f64").bind({"w": array})


def test_unknown_targets_and_precisions():
    for arguments in (("tpu", "f32"), ("cpu", "f16")):
        with pytest.raises(DiffgraphError):
            build(program_of(TEXT), *arguments)


def test_views_and_other_types_are_copied(target):
    executable = bound(target)
    x = np.arange(12, dtype=np.float32).reshape(3, 4).T
    found = executable.run({"x": x, "k": np.array([0, 1, 2, 3], np.uint8)})
    np.testing.assert_allclose(found["y"], x * executable.storage["w"][:4])


def test_outputs_belong_to_the_caller(target):
    executable = bound(target)
    inputs = {"x": np.ones((2, 3)), "k": [0, 1]}
    first = executable.run(inputs)["y"]
    kept = first.copy()
    executable.run({"x": np.zeros((2, 3)), "k": [0, 1]})
    np.testing.assert_array_equal(first, kept)


def test_batches_may_change_from_run_to_run(target, rng):
    executable = bound(target)
    for batch in (3, 1, 100, 3, 2000, 1):
        x, k = rng.standard_normal((batch, 3)), rng.integers(0, 5, batch)
        np.testing.assert_allclose(executable.run({"x": x, "k": k})["y"], x * executable.storage["w"][k])


def test_an_empty_batch(target):
    found = bound(target).run({"x": np.ones((0, 3)), "k": np.zeros(0, np.int64)})
    assert found["y"].shape == (0, 3)


def test_a_stepper_sees_what_is_written_into_its_arrays(target):
    executable = bound(target)
    x, k = np.ones((2, 3)), np.array([1, 2])
    step = executable.stepper({"x": x, "k": k})
    first = step()["y"]
    x *= 2
    np.testing.assert_array_equal(step()["y"], 2 * first)


def test_storage_bound_anew_is_used(target):
    executable = bound(target)
    inputs = {"x": np.ones((1, 3)), "k": [1]}
    executable.run(inputs)
    executable.bind({"w": np.full((5, 3), 7.0)})
    np.testing.assert_array_equal(executable.run(inputs)["y"], [[7.0] * 3])


# ------------------------------------------------------------------------------------------------ checks


def test_a_failed_check_is_a_failed_run(target):
    executable = build(program_of('input x[N]\nassert sum[n](x[n]) > 0, "too small"\noutput y = x * 2'), target, "f64")
    assert executable.run({"x": [1.0, 2.0]})["y"].tolist() == [2.0, 4.0]
    with pytest.raises(RunFailed, match="too small"):
        executable.run({"x": [-1.0]})
    with pytest.raises(RunFailed, match="too small"):
        executable.epoch({"x": np.array([1.0, -5.0])}, np.array([[0], [1]]))


# ------------------------------------------------------------------------------------------------ epochs


def training(target):
    """A step that changes a parameter and a state, and looks at its own number."""
    made = program_of(
        """
        input x[N, 3]
        input scale
        param w[3] = 0
        param m[3] = 0
        m2[i] = 0.9 * m[i] + mean[n](x[n, i])
        w2 = w - 0.1 * m2 * scale + 0.001 * step
        output norm = sum(w2^2)
        output w2
        output m2"""
    )
    outputs = {o.name: o.tensor for o in made.outputs}
    executable = build(made.with_(commits=(Commit("w", outputs["w2"]), Commit("m", outputs["m2"]))), target, "f64")
    storage = {"w": np.ones(3), "m": np.zeros(3)}
    executable.bind(storage)
    return executable, storage


def test_an_epoch_is_its_steps(rng):
    x = rng.standard_normal((20, 3))
    order = rng.permutation(20).reshape(5, 4)
    scale = np.array(2.0)
    ours, storage = training("cpu")
    found = ours.epoch({"x": x, "scale": scale}, order, 3)
    theirs, expected_storage = training("reference")
    expected = theirs.epoch({"x": x, "scale": scale}, order, 3)
    single, single_storage = training("cpu")
    for number, rows in enumerate(order):
        single.run({"x": x[rows], "scale": scale, "step": 3 + number}, commit=True)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], 1e-12)
    for path in storage:
        np.testing.assert_allclose(storage[path], expected_storage[path], 1e-12)
        np.testing.assert_array_equal(storage[path], single_storage[path])


def test_an_epoch_without_steps_or_commit(rng):
    executable, storage = training("cpu")
    columns = {"x": rng.standard_normal((6, 3)), "scale": np.array(1.0)}
    assert executable.epoch(columns, np.zeros((0, 2), np.int64))["norm"].shape == (0,)
    executable.epoch(columns, np.array([[0, 1], [2, 3]]), commit=False)
    np.testing.assert_array_equal(storage["w"], 1.0)


def test_the_order_of_an_epoch_is_checked(target, rng):
    executable, _ = training(target)
    columns = {"x": rng.standard_normal((6, 3)), "scale": np.array(1.0)}
    for order in (np.array([[0, 6]]), np.array([[-1, 0]]), np.array([0, 1])):
        with pytest.raises(DiffgraphError):
            executable.epoch(columns, order)


# ------------------------------------------------------------------------------------------------ threads


def test_the_same_bits_with_any_number_of_threads(rng):
    text = """
        input x[N, 8, 20, 20]
        h = x -> conv(16, 3, pad = 1) -> tanh -> maxpool(2) -> flatten
        p = softmax(h -> linear(40))
        total = sum(p^2)
        output p
        output total
        output big = exp(-x)"""
    program = program_of(text)
    x = rng.standard_normal((33, 8, 20, 20)).astype(np.float32)
    results = []
    for threads in (1, 2, 3, 5):
        executable = build(program, "cpu", "f32", threads)
        generator = np.random.default_rng(0)
        shapes = {p: i.tensor.shape for p, i in executable.stored.items()}
        executable.bind({p: generator.standard_normal(s).astype(np.float32) for p, s in shapes.items()})
        results.append([executable.run({"x": x}) for _ in range(3)][-1])
    for other in results[1:]:
        for name, expected in results[0].items():
            np.testing.assert_array_equal(other[name], expected)


def test_an_output_that_is_an_input_is_that_of_this_run(target):
    executable = build(program_of("input x[N, 4]\noutput y = reshape(x, [N, 2, 2])\noutput z = x"), target)
    for value in (0.0, 1.0):
        found = executable.run({"x": np.full((3, 4), value, np.float32)})
        assert (found["y"] == value).all() and (found["z"] == value).all()


def test_code_stays_loaded_while_workers_are_inside_of_it():
    """In a process of its own: the workers of this one have gone to sleep long ago, or are about to."""
    script = """
import gc, numpy as np
from diffgraph.runtime import library
from test_executable import bound, build, program_of
wide = "input x[N, 300]\\nparam w[300, 300] = 0\\ny[n, u] = sum[d](w[u, d] * x[n, d])\\noutput y"
for round in range(6):
    executable = build(program_of(wide.replace("300", str(300 + round))), "cpu", threads=2)
    executable.bind({p: np.ones(i.tensor.shape, np.float32) for p, i in executable.stored.items()})
    shape = (64, 300 + round)
    assert (executable.run({"x": np.ones(shape, np.float32)})["y"] == 300 + round).all()
    del executable
    library.library.cache_clear()
    gc.collect()
"""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent / "targets"), *sys.path])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_floats_too_small_to_be_normal_are_0_while_a_plan_runs():
    """They would take a hundred times as long. Around a run the thread takes floats as before."""
    small = np.full((2, 3), 2e-38, np.float32)
    executable = build(program_of("input x[N, 3]\ny[n, i] = x[n, i] * 0.25\noutput y"), "cpu", "f32")
    assert np.all(executable.run({"x": small})["y"] == 0.0)
    assert np.all(small * np.float32(0.25) > 0.0)
