"""Files of arrays: whole or not at all, and never taken for what they are not."""

import errno
import os

import numpy as np
import pytest

from diffgraph.diagnostics import DiffgraphError, RunFailed
from diffgraph.interop import safetensors

ARRAYS = {
    "a.weight": np.arange(6.0).reshape(2, 3).T,
    "b": np.float32(3),
    "empty": np.zeros((0, 3)),
    "places": np.array([[1, -2], [3, 4]]),
    "flag": np.array(True),
}


def test_what_is_written_is_read(tmp_path):
    safetensors.write(tmp_path / "w.safetensors", ARRAYS, {"net": "n"})
    arrays, metadata = safetensors.read(tmp_path / "w.safetensors")
    assert metadata == {"net": "n"}
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == np.asarray(array).dtype
        assert np.array_equal(arrays[name], array)


def test_equal_arrays_make_equal_files(tmp_path):
    """In another process too, whose hashes of texts are others."""
    import subprocess
    import sys

    program = (
        "import sys, numpy as np; from diffgraph.interop import safetensors as s;"
        "s.write(sys.argv[1], {'b': np.ones(3), 'a': np.zeros(2)}, {'x': '1', 'y': '2', 'z': '3'})"
    )
    for name in ("one", "two", "three"):
        subprocess.run([sys.executable, "-c", program, str(tmp_path / name)], check=True)
    assert len({(tmp_path / name).read_bytes() for name in ("one", "two", "three")}) == 1


def test_others_can_read_it(tmp_path):
    from safetensors.numpy import load_file

    safetensors.write(tmp_path / "w.safetensors", ARRAYS)
    assert np.array_equal(load_file(tmp_path / "w.safetensors")["a.weight"], ARRAYS["a.weight"])


def test_files_of_others_are_read(tmp_path):
    from safetensors.numpy import save_file

    save_file({"x": np.ones(3)}, tmp_path / "w.safetensors")
    arrays, metadata = safetensors.read(tmp_path / "w.safetensors")
    assert arrays["x"].tolist() == [1, 1, 1] and metadata == {}


@pytest.mark.parametrize("place", [-1, -9, 400])
def test_a_flipped_bit_is_found(tmp_path, place):
    path = tmp_path / "w.safetensors"
    safetensors.write(path, ARRAYS)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DiffgraphError, match="DG741"):
        safetensors.read(path)


@pytest.mark.parametrize("length", [0, 5, 60, -1])
def test_a_cut_off_file_is_refused(tmp_path, length):
    path = tmp_path / "w.safetensors"
    safetensors.write(path, ARRAYS)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DiffgraphError, match="DG741"):
        safetensors.read(path)


def test_a_missing_file_is_one_message(tmp_path):
    with pytest.raises(DiffgraphError, match="DG740.*No such file"):
        safetensors.read(tmp_path / "nothing")


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, stage):
    path = tmp_path / "w.safetensors"
    safetensors.write(path, {"x": np.ones(3)})

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, stage, full)
    with pytest.raises(RunFailed, match="disk is full.*still there"):
        safetensors.write(path, {"x": np.zeros(3)})
    monkeypatch.undo()
    assert safetensors.read(path)[0]["x"].tolist() == [1, 1, 1]
    assert os.listdir(tmp_path) == ["w.safetensors"], "nothing half-written may stay"
