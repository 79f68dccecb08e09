"""Weights that PyTorch has kept: state dicts, and the files that `torch.save` made of them, read without PyTorch.

The standard library names parameters and states as PyTorch does, so a state dict fits as it is, but for one thing:
PyTorch's batch normalization also counts the batches it has seen, which nothing reads unless its momentum is None. Those
counts are left out.

A file is a pickle, which can call anything, beside the raw storages that its tensors are views of: in a zip archive, or
(before PyTorch 1.6) one after the other. Here it can call nothing but what makes dicts and tensors.
"""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.runtime.values import plain

#: What the names of files made by `torch.save` end in.
SUFFIXES = (".pth", ".pt", ".bin")

#: Under which names training scripts keep the state dict among other things.
HOLDERS = ("state_dict", "model_state_dict", "model")

#: How the elements of each kind of storage are kept. Those of bfloat16 are the upper halves of float32.
STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "<u2", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "|b1",
}  # fmt: skip

#: The first number of a file from before PyTorch 1.6.
MAGIC = 0x1950A86A20F9469CFC6C


class _Unreadable(Exception):
    """The file is not what `torch.save` makes of tensors by name."""


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file, by name. Errors: not there, damaged, holding more than tensors."""
    try:
        with open(path, "rb") as file:
            found = _zipped(file) if zipfile.is_zipfile(file) else _in_a_row(file)
    except OSError as problem:
        raise error("DG740", f"{path} cannot be read: {problem.strerror or problem}") from problem
    except Exception as problem:  # What is damaged or hostile fails anywhere in reading it.
        reason = str(problem).partition("\n")[0] if isinstance(problem, _Unreadable) else "it is damaged"
        help = "save the state dict: torch.save(model.state_dict(), ...)"
        raise error("DG741", f"{path} is not a file of weights: {reason}", help=help) from problem
    held = [found[name] for name in HOLDERS if isinstance(found, Mapping) and isinstance(found.get(name), Mapping)]
    return arrays(held[0] if held else found, str(path))


def arrays(state: Any, what: str) -> dict[str, np.ndarray]:
    """The values of a state dict (tensors or arrays) by name."""
    if not isinstance(state, Mapping):
        raise error("DG741", f"{what} holds no tensors by name", help="save the state dict of the model")
    return {str(name): _array(value, f"{what}: {name}") for name, value in state.items()}


def _array(value: Any, what: str) -> np.ndarray:
    array = plain(value, what)
    if array.dtype.kind not in "fiub":
        raise error("DG741", f"{what} is no tensor of numbers")
    return array


def without_counts(stored: Mapping[str, np.ndarray], wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Stored arrays without the counts of batches that stand beside running means of the net."""

    def is_count(name: str) -> bool:
        layer, _, own = name.rpartition(".")
        return own == "num_batches_tracked" and name not in wanted and f"{layer}.running_mean" in wanted

    return {name: array for name, array in stored.items() if not is_count(name)}


# ---------------------------------------------------------------- the two layouts


def _zipped(file: BinaryIO) -> Any:
    """The object in a zip archive, whose storages are entries of their own."""
    archive = zipfile.ZipFile(file)
    entry = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
    if entry is None:
        raise _Unreadable("the archive has no data.pkl")
    folder = entry.removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise _Unreadable("its numbers are big-endian")
    known: dict[str, np.ndarray] = {}

    def storage(kind: str, key: str, count: int) -> np.ndarray:
        if key not in known:
            info = archive.getinfo(f"{folder}data/{key}")
            if info.compress_type != zipfile.ZIP_STORED:
                raise _Unreadable("its storages are compressed")
            known[key] = np.frombuffer(archive.read(info), STORAGES[kind])
        return known[key]

    return _Unpickler(io.BytesIO(archive.read(entry)), storage).load()


def _in_a_row(file: BinaryIO) -> Any:
    """The object in a file from before PyTorch 1.6: three pickles that describe it, its own, the keys of its storages,
    and these."""
    end = file.seek(0, io.SEEK_END)
    file.seek(0)

    def plain() -> Any:
        return _Unpickler(file, None).load()

    if plain() != MAGIC:
        raise _Unreadable("it does not begin as such a file does")
    plain(), plain()
    known: dict[str, np.ndarray] = {}

    def storage(kind: str, key: str, count: int) -> np.ndarray:
        dtype = np.dtype(STORAGES[kind])
        if not 0 <= count * dtype.itemsize <= end:
            raise _Unreadable("a storage is larger than the file")
        return known.setdefault(key, np.empty(count, dtype))

    found = _Unpickler(file, storage).load()
    for key in plain():
        count = int.from_bytes(file.read(8), sys.byteorder)
        data = known[key].view(np.uint8)
        if count != known[key].size or file.readinto(data) != data.size:
            raise _Unreadable("it ends too early")
    return found


# ---------------------------------------------------------------- the pickle


class _Tensor:
    """A view of a storage, which may be filled later."""

    def __init__(self, storage: tuple[str, np.ndarray], offset: int, size, stride, *_):
        self.kind, self.elements = storage
        self.offset, self.size, self.stride = offset, tuple(size), tuple(stride)
        last = offset + sum((n - 1) * s for n, s in zip(self.size, self.stride))
        if min((offset, *self.size, *self.stride)) < 0 or 0 not in self.size and last >= self.elements.size:
            raise _Unreadable("a tensor is not inside its storage")

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if 0 in self.size:
            return np.zeros(self.size, self.elements.dtype)
        steps = [s * self.elements.itemsize for s in self.stride]
        view = np.lib.stride_tricks.as_strided(self.elements[self.offset :], self.size, steps)
        if self.kind == "BFloat16Storage":
            return (view.astype(np.uint32) << 16).view(np.float32)
        return view


#: What a file may call.
_ALLOWED: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
}


class _Unpickler(pickle.Unpickler):
    """Reads a pickle that holds tensors. storage: (kind, key, number of elements) -> the elements."""

    def __init__(self, file: BinaryIO, storage: Callable | None):
        super().__init__(file, encoding="utf-8")
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module == "torch" and name in STORAGES:
            return name
        raise _Unreadable(f"it holds a {module}.{name}, not only tensors")

    def persistent_load(self, about: tuple) -> tuple[str, np.ndarray]:
        if self.storage is None or about[0] != "storage" or about[1] not in STORAGES or any(about[5:]):
            raise _Unreadable("it refers to what is not a storage")
        _, kind, key, _, count = about[:5]
        return kind, self.storage(kind, str(key), int(count))
