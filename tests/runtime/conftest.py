"""What tests of the runtime share, and the modules of those of targets by their names."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "targets"))


@pytest.fixture
def rng():
    return np.random.default_rng(3)
