"""Kernels of small programs, executed: every kind of form, scans, ragged sizes, both generations of devices."""

import pytest
from agreement import program_of
from simulation import check
from test_forms import CASES
from test_scans import CASES as SCANS


@pytest.mark.parametrize("name", CASES)
def test_forms(name, rng):
    check(program_of(CASES[name]), 5, rng)


@pytest.mark.parametrize("name", SCANS)
def test_scans(name, rng):
    text = SCANS[name].replace("yield next_h = tanh(s)", "yield tanh(s)")
    check(program_of(text), 3, rng)


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
