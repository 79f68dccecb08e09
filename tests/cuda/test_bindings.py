"""What reaches the driver through the real bindings: arguments where kernels look for them, in the order of the calls."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILER = shutil.which("cc")


@pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs a C compiler and Linux")
def test_what_the_driver_gets(tmp_path):
    library = tmp_path / "libcuda.so.1"
    command = [COMPILER, "-w", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", HERE / "libcuda.c", "-o", library, "-ldl"]
    subprocess.run(command, check=True)
    path = os.pathsep.join(p for p in sys.path if p)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, HERE / "through_bindings.py"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, *lines = sorted(done.stdout.splitlines(), key=lambda line: not line.startswith("expected"))
    args = f"args {first.removeprefix('expected ')}"
    one = "1 grid {} 1 1 block {} 1 1 shared {} stream 1 " + args + " {} extra (nil)"
    # The C library's output and Python's are buffered apart: each is in order, one after the other.
    wanted = [
        "image 7fELF", "function kernel", "attribute 8 50000", "occupancy 128 50000",
        "launch " + one.format(5, 128, 1024, -7),
        "attribute 8 60000", "together " + one.format(6, 128, 60000, 9),
        "begin mode 2", "launch " + one.format(7, 64, 0, 3), "dtod 40", "instantiate 1 0", "graph 1", "destroyed",
    ]  # fmt: skip
    assert [line for line in lines if line in wanted] == wanted, done.stdout
    assert "C fake 90 90" in lines and "most together 264" in lines
