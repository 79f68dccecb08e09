"""Files that a person wants predictions for: images, npz, npy and csv, as the inputs of a net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.language.program_files import UNREADABLE
from diffgraph.runtime.values import DTYPES
from diffgraph.training.data.dataset import Dataset, refuse_non_finite
from diffgraph.training.data.images import fitted
from diffgraph.training.data.png import read_png
from diffgraph.training.data.slots import fill, slots_of
from diffgraph.training.data.tables import read_csv, read_npz, refuse_false_header


def read_inputs(paths: Sequence[Path], net) -> dict[str, np.ndarray]:
    """The inputs of a net by name. Images are stacked along the batch; of the other kinds one file holds all. `net` is
    a `compiler.Net`."""
    network = net.network()
    suffixes = {p.suffix.lower() for p in paths}
    if suffixes == {".png"}:
        columns = {network.inputs[0].name: _images(paths, network.inputs[0])}
    elif len(paths) != 1:
        raise error("DG770", "several images, or one .npz, .npy or .csv file", help="predict them one after the other")
    else:
        columns = _columns(paths[0], network)
    slots = [s for s in slots_of(network) if s.name in {p.name for p in network.inputs}]
    names = {s.name for s in slots}
    known = {p.name for p in network.targets}
    kept = {k: v for k, v in columns.items() if k in names or k not in known}
    dataset = Dataset(str(paths[0]), kept, table=paths[0].suffix == ".csv")
    found, _, sizes = fill(dataset, slots, DTYPES[net.precision]["float"])
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
    raise error("DG772", f"{path}: files of the kind `{path.suffix}` are not read", help="use .png, .npz, .npy or .csv")


def _images(paths: Sequence[Path], port) -> np.ndarray:
    """[images, channels, height, width] in [0, 1], of the size that the input declares."""
    shape = port.tensor.shape
    if len(shape) != 4:
        raise error("DG773", f"`{port.name}` is not an image [N, C, H, W]", port.span)
    channels, height, width = shape[1:]
    images = []
    for path in paths:
        image = read_png(path)
        size = (height, width) if isinstance(height, int) and isinstance(width, int) else image.shape[:2]
        images.append(
            fitted(image, path, size, channels if isinstance(channels, int) else image.shape[2], resizes=True)
        )
    if len({i.shape for i in images}) > 1:
        raise error("DG774", "the images differ in size, and the net declares none")
    return np.stack(images)
