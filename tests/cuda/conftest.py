"""Kernels for a GPU, proven without one: compiled, assembled, and executed by the interpreter of PTX."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "targets")]

collect_ignore_glob = [] if importlib.util.find_spec("numba_cuda") else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache of our own, so that what is tested is compiled from the sources that are tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFGRAPH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(7)
