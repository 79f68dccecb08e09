"""Kernels for a GPU, proven without one: compiled, assembled, and executed by the interpreter of PTX."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "targets")]

collect_ignore_glob = [] if importlib.util.find_spec("numba_cuda") else ["test_*.py"]


@pytest.fixture
def rng():
    return np.random.default_rng(7)
