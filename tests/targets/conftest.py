"""Programs of a few lines, run by the machine's own kernels and by the interpreter."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache of our own, so that what is tested is compiled from the sources that are tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFGRAPH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(7)
