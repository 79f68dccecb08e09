"""A few programs in Numba's own simulator, which knows neither NVVM nor the interpreter of PTX."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "numba_simulator.py"


def test_programs_in_the_simulator_of_numba():
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 8 and all(int(line.split(": ")[1].split()[0]) > 0 for line in lines)
