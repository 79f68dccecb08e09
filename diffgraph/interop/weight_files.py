"""Weights in files, whatever their form: safetensors (checkpoints of runs too), NumPy archives, state dicts of PyTorch."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffgraph.diagnostics import DiffgraphError, error
from diffgraph.interop import pytorch, safetensors
from diffgraph.training.data.tables import read_archive
from diffgraph.training.run_directory import BEST, LAST

#: The archive of NumPy.
ARCHIVE = ".npz"

#: What is read, but not written.
READ_ONLY = (*pytorch.SUFFIXES, ".ckpt", ".onnx")


def arrays_of(weights: str | Path | Mapping, what: str) -> dict[str, np.ndarray]:
    """The arrays of a file or of a state dict (arrays, or tensors of PyTorch) by name; `what` names the latter."""
    return pytorch.arrays(weights, what) if isinstance(weights, Mapping) else read(weights)


def file_in(path: Path) -> Path:
    """The file of weights that is meant: the directory of a run stands for its best checkpoint, else its last one."""
    inside = [path / name for name in (BEST, LAST) if (path / name).is_file()] if path.is_dir() else []
    return inside[0] if inside else path


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name. The directory of a run stands for its best checkpoint, else its last one. Errors: not
    there, damaged, holding more than arrays."""
    path = file_in(Path(path))
    if path.suffix in pytorch.SUFFIXES:
        return pytorch.read(path)
    if path.suffix == ARCHIVE and path.is_file():
        try:
            return read_archive(path)
        except DiffgraphError as problem:
            raise error("DG741", problem.message, help="it may be half copied") from None
    return safetensors.read(path)[0]


def write(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes arrays by name in the form that the name of the file asks for: a NumPy archive for `.npz`, else safetensors
    with metadata. The old file or the new one is there, never half of one."""
    path = Path(path)
    if path.suffix in READ_ONLY:
        help = f"write {path.with_suffix('.safetensors').name}, which PyTorch reads with safetensors.torch.load_file"
        raise error("DG954", f"weights are not written as `{path.suffix}`", help=help)
    if path.suffix != ARCHIVE:
        safetensors.write(path, arrays, metadata)
        return
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array, order="C"), allow_pickle=False)
    safetensors.write_or_fail(path, content.getvalue())
