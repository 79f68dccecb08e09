"""Files that a person wants predictions for: images, npz, npy and csv, as the inputs of a net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from diffgraph.diagnostics import error, suggest
from diffgraph.language.program_files import UNREADABLE
from diffgraph.runtime.values import DTYPES
from diffgraph.training.data.dataset import Dataset, refuse_non_finite
from diffgraph.training.data.images import fitted
from diffgraph.training.data.pictures import is_image, read_image
from diffgraph.training.data.slots import fill, slots_of
from diffgraph.training.data.tables import read_csv, read_npz, refuse_false_header


def read_inputs(paths: Sequence[Path], net) -> dict[str, np.ndarray]:
    """The inputs of a net by name. Images are stacked along the batch, other files one after the other. `net` is a
    `compiler.Net` or an artifact."""
    network = net.network()
    if not network.inputs:
        raise error("DG770", f"the net `{network.name}` has no input: there is nothing to predict for")
    for path in paths:
        if not path.is_file():
            there = sorted(p.name for p in path.parent.glob(f"*{path.suffix}")) if path.parent.is_dir() else []
            raise error("DG771", f"there is no file {path}", help=suggest(path.name, there))
    if all(is_image(p) for p in paths):
        return _filled({network.inputs[0].name: _images(paths, network.inputs[0])}, paths[0], net)
    found = [_filled(_columns(path, network), path, net) for path in paths]
    if len(found) > 1 and network.batch is None:
        raise error("DG770", f"the net `{network.name}` has no batch: one file is one sample")
    slots = {s.name: s for s in slots_of(network)}
    whole = [n for n in found[0] if not slots[n].batched and any(not np.array_equal(f[n], found[0][n]) for f in found)]
    if whole:
        raise error("DG770", f"the files differ in `{whole[0]}`, which is one for all samples",
                    help="predict them one after the other")  # fmt: skip
    return {n: np.concatenate([f[n] for f in found]) if slots[n].batched else found[0][n] for n in found[0]}


def _filled(columns: Mapping[str, np.ndarray], path: Path, net) -> dict[str, np.ndarray]:
    """The inputs of a net from the columns of a file; symbols that they decide are fixed in the net."""
    network = net.network()
    names = {p.name for p in network.inputs}
    slots = [s for s in slots_of(network) if s.name in names]
    known = {p.name for p in network.targets}
    kept = {k: v for k, v in columns.items() if k in names or k not in known}
    found, _, sizes = fill(Dataset(str(path), kept, table=path.suffix == ".csv"), slots, DTYPES[net.precision]["float"])
    sizes.pop(network.batch, None)
    net.set_sizes({**net.sizes, **sizes})
    return found


def _columns(path: Path, network) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        return dict(read_npz(path).columns)
    if path.suffix == ".csv":
        return dict(read_csv(path, None, None, ",").columns)
    if path.suffix == ".npy":
        try:
            with path.open("rb") as stream:
                refuse_false_header(stream, path.stat().st_size)
            values = np.load(path, allow_pickle=False)
        except UNREADABLE as problem:
            raise error("DG771", f"{path} is not an array: {problem}") from None
        refuse_non_finite(values, str(path))
        return {network.inputs[0].name: values}
    raise error("DG772", f"{path}: files of the kind `{path.suffix}` are not read", help="use images, .npz, .npy or .csv")


def _images(paths: Sequence[Path], port) -> np.ndarray:
    """[images, channels, height, width] in [0, 1], of the size that the input declares."""
    shape = port.tensor.shape
    if len(shape) != 4:
        raise error("DG773", f"`{port.name}` is not an image [N, C, H, W]", port.span)
    channels, height, width = shape[1:]
    if channels not in (1, 3) and isinstance(channels, int):
        raise error("DG773", f"`{port.name}` has {channels} channels; images have 1 or 3", port.span)
    images = []
    for path in paths:
        image = read_image(path)
        size = (height, width) if isinstance(height, int) and isinstance(width, int) else image.shape[:2]
        images.append(
            fitted(image, path, size, channels if isinstance(channels, int) else image.shape[2], resizes=True)
        )
    if len({i.shape for i in images}) > 1:
        raise error("DG774", "the images differ in size, and the net declares none")
    return np.stack(images)
