"""The cache of compiled kernels: found again, shared, and never trusted blindly."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from agreement import program_of

from diffgraph.kernels.schedule import schedule
from diffgraph.runtime.cache import Cache
from diffgraph.runtime.library import Library

PROGRAM = "input x[N, 3]\noutput y = tanh(x) * 2\noutput z = x + 1"


def kernels(text=PROGRAM):
    return schedule(program_of(text)).kernels


def compiled(directory, text=PROGRAM):
    """How many kernels a new process would have to compile."""
    library = Library(Cache(directory))
    library.functions(kernels(text), "f32")
    return library.compiled


def objects(directory):
    return sorted(Path(directory).rglob("*.object"))


def test_what_was_compiled_is_found_again(tmp_path):
    assert compiled(tmp_path) == len(kernels())
    assert compiled(tmp_path) == 0
    assert len(objects(tmp_path)) == len(kernels())
    assert all("def kernel(" in p.with_suffix(".py").read_text() for p in objects(tmp_path))


@pytest.mark.parametrize("harm", [lambda b: b[:-1], lambda b: b[:100], lambda b: b"", lambda b: b[:500] + bytes([b[500] ^ 1]) + b[501:]])
def test_a_damaged_file_is_ignored_and_written_anew(tmp_path, harm):
    compiled(tmp_path)
    for path in objects(tmp_path):
        path.write_bytes(harm(path.read_bytes()))
    assert compiled(tmp_path) == len(kernels())
    assert compiled(tmp_path) == 0


def test_the_file_of_another_kernel_is_ignored(tmp_path):
    text = PROGRAM + "\nw[n] = sum[i](x[n, i])\noutput w"
    count = len(kernels(text))
    assert count > 1 and compiled(tmp_path, text) == count
    paths = objects(tmp_path)
    contents = [p.read_bytes() for p in paths]
    for path, content in zip(paths, contents[1:] + contents[:1]):
        path.write_bytes(content)
    assert compiled(tmp_path, text) == count


def test_what_is_no_file_of_ours_is_ignored(tmp_path):
    compiled(tmp_path)
    for path, content in zip(objects(tmp_path), (b"\x7fELF" + bytes(4000), b"not an object")):
        path.write_bytes(content)
    first = objects(tmp_path)[0]
    first.unlink()
    first.mkdir()
    assert compiled(tmp_path) > 0


def test_kernels_that_differ_in_names_only_are_one(tmp_path):
    compiled(tmp_path)
    assert compiled(tmp_path, PROGRAM.replace("x", "image").replace("y", "result")) == 0
    assert compiled(tmp_path, PROGRAM.replace("* 2", "* 3")) > 0


def test_precisions_have_kernels_of_their_own(tmp_path):
    library = Library(Cache(tmp_path))
    library.functions(kernels(), "f32")
    before = library.compiled
    library.functions(kernels(), "f64")
    assert library.compiled == 2 * before


def test_the_key_depends_on_the_sources_of_the_target(tmp_path, monkeypatch):
    compiled(tmp_path)
    monkeypatch.setattr("diffgraph.targets.cpu.compile.fingerprint", lambda: "another compiler")
    assert compiled(tmp_path) == len(kernels())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0 and not Path("/dev/full").exists(), reason="no such directory")
def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("not a directory")
    library = Library(Cache(occupied))
    library.functions(kernels(), "f32")
    assert library.compiled == len(kernels())
    assert library.cache.directory != occupied


def test_a_full_disk_stops_nothing(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diffgraph.runtime.cache._write_atomically", full)
    assert compiled(tmp_path) == len(kernels())


SCRIPT = """
import sys
sys.path[:0] = {paths!r}
import numpy as np
from agreement import program_of
from diffgraph.runtime.executable import build
from diffgraph.runtime.library import default_library
found = build(program_of({program!r}), "cpu", "f32", 2).run({{"x": np.ones((4, 3))}})
assert np.allclose(found["y"], 2 * np.tanh(1.0)), found
print(default_library().compiled, "numba" in sys.modules)
"""


def start(directory):
    """A new process that builds and runs the program."""
    paths = [str(Path(__file__).parents[1] / "targets"), *sys.path]
    script = SCRIPT.format(paths=paths, program=PROGRAM)
    environment = os.environ | {"DIFFGRAPH_CACHE": str(directory)}
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)


def test_processes_share_a_cache_and_the_second_start_compiles_nothing(tmp_path):
    together = [start(tmp_path) for _ in range(2)]
    for process in together:
        assert process.communicate(timeout=120)[0].split()[1] == "True"
        assert process.returncode == 0
    again = start(tmp_path)
    assert again.communicate(timeout=120)[0].split() == ["0", "False"], "the second start compiled, or loaded Numba"


def test_results_are_the_same_compiled_and_loaded(tmp_path, monkeypatch):
    from diffgraph.runtime.executable import build

    monkeypatch.setenv("DIFFGRAPH_CACHE", str(tmp_path))
    x = np.linspace(-3, 3, 300).reshape(100, 3).astype(np.float32)
    first = build(program_of(PROGRAM), "cpu", "f32").run({"x": x})
    second = build(program_of(PROGRAM), "cpu", "f32").run({"x": x})
    np.testing.assert_array_equal(first["y"], second["y"])
