"""Images from files: IDX sets, CIFAR-10, folders of images, the digits that come with the package.

Images are float32 [n, channels, height, width] in [0, 1]; labels are ints [n].
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zlib
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.language.limits import limits
from diffgraph.training.data.dataset import Columns, Dataset, hold_out
from diffgraph.training.data.pictures import is_image, read_image

#: The element types of an IDX file.
IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}

#: How the four files of MNIST and of sets made after it are called.
MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def digits(size: int = 8, split: float = 0.2, seed: int = 0) -> Dataset:
    """1,797 handwritten digits (see digits.txt), resized from 8 x 8, a share of each class held out."""
    packed = io.BytesIO(files("diffgraph.training.data").joinpath("digits.npz").read_bytes())
    with np.load(packed) as stored:
        image, label = stored["image"], stored["label"].astype(np.int64)
    pixels = resize(image[:, None].astype(np.float32) / 16, size, size)
    classes = {"label": tuple("0123456789")}
    return hold_out(Dataset("digits", {"image": pixels, "label": label}, None, ("label",), classes), split, seed)


def resize(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Images [n, c, h, w] at another size, by linear interpolation between the centres of pixels."""
    down, right = _interpolation(images.shape[2], height), _interpolation(images.shape[3], width)
    return np.einsum("ih,nchw,jw->ncij", down, images, right, optimize=True).astype(np.float32)


def _interpolation(old: int, new: int) -> np.ndarray:
    """The matrix [new, old] that interpolates a row of `old` pixels at `new` places; rows sum to 1."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.minimum(place.astype(int), max(old - 2, 0))
    share = place - low
    matrix = np.zeros((new, old), np.float32)
    matrix[np.arange(new), low] = 1 - share
    matrix[np.arange(new), np.minimum(low + 1, old - 1)] += share
    return matrix


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, packed with gzip or not, in the byte order of this machine."""
    try:
        data = path.read_bytes()
        return parse_idx(_unpacked(data) if data[:2] == b"\x1f\x8b" else data)
    except (OSError, EOFError, struct.error, LookupError, ValueError, zlib.error) as problem:
        raise error("DG706", f"{path.name} is not an IDX file: {problem}") from problem


def _unpacked(data: bytes) -> bytes:
    """What was packed with gzip, as far as its own header says that it goes: no more is ever unpacked."""
    stream = zlib.decompressobj(wbits=31)
    start = stream.decompress(data, 4 + 4 * 255)
    rank = start[3] if len(start) > 3 else 0
    shape = struct.unpack(f">{rank}I", start[4 : 4 + 4 * rank])
    size = 4 + 4 * rank + math.prod(shape) * np.dtype(IDX_TYPES[start[2]]).itemsize
    # Deflate packs at most about a thousand bytes into one.
    if size > min(limits().bytes, 1100 * len(data) + 1100):
        raise ValueError(f"its header claims {size:,} bytes")
    return start[:size] if len(start) >= size else start + stream.decompress(stream.unconsumed_tail, size - len(start))


def parse_idx(data: bytes) -> np.ndarray:
    """The array of an IDX file's content: two zero bytes, type, rank, extents, elements, all big-endian."""
    zero, kind, rank = struct.unpack(">HBB", data[:4])
    if zero or kind not in IDX_TYPES:
        raise ValueError("its first bytes are wrong")
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    values = np.frombuffer(data, np.dtype(IDX_TYPES[kind]), offset=4 + 4 * rank)
    return values.reshape(shape).astype(values.dtype.newbyteorder("="))


def as_images(values: np.ndarray) -> np.ndarray:
    """Bytes [n, h, w] or [n, h, w, c] as float32 images in [0, 1]; anything else as it is."""
    if values.dtype != np.uint8 or values.ndim not in (3, 4):
        return values
    values = values[:, None] if values.ndim == 3 else values.transpose(0, 3, 1, 2)
    return values.astype(np.float32) / np.float32(255)


def mnist_like(name: str, folder: Path, classes: tuple[str, ...]) -> Dataset:
    """The four IDX files of a set like MNIST in a folder, packed or not."""
    parts: dict[str, Columns] = {}
    for part, (images, labels) in MNIST_FILES.items():
        image, label = read_idx(_either(folder, images)), read_idx(_either(folder, labels))
        if len(image) != len(label):
            raise error("DG706", f"{folder}: {len(image)} images but {len(label)} labels in the {part} set")
        parts[part] = {"image": as_images(image), "label": label.astype(np.int64)}
    return Dataset(name, parts["train"], parts["test"], ("label",), {"label": classes})


def _either(folder: Path, name: str) -> Path:
    """The file as it is, or packed, under its usual spellings."""
    for candidate in (name, f"{name}.gz", name.replace("-idx", ".idx"), name.replace("-idx", ".idx") + ".gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    raise error("DG706", f"there is no {name} (or {name}.gz) in {folder}")


def cifar10_from(folder: Path) -> Dataset:
    """CIFAR-10 in a folder (or one folder down), in its binary or its Python form."""
    inner = [p for p in (folder, folder / "cifar-10-batches-bin", folder / "cifar-10-batches-py") if p.is_dir()]
    for place in inner:
        for ending, read in ((".bin", _cifar_binary), ("", _cifar_python)):
            names = [f"data_batch_{k}{ending}" for k in range(1, 6)]
            if all((place / n).is_file() for n in (*names, f"test_batch{ending}")):
                train = [read(place / n) for n in names]
                columns = {k: np.concatenate([part[k] for part in train]) for k in ("image", "label")}
                test = read(place / f"test_batch{ending}")
                return Dataset("cifar10", columns, test, ("label",), {"label": CIFAR10_CLASSES})
    raise error(
        "DG706",
        f"there is no data_batch_1 to 5 and test_batch (with .bin or without) in {folder}",
        help="get cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it there",
    )


def _cifar_binary(path: Path) -> Columns:
    rows = np.fromfile(path, np.uint8)
    if rows.size % 3073:
        raise error("DG706", f"{path.name} is not a binary batch of CIFAR-10: {rows.size} bytes")
    rows = rows.reshape(-1, 3073)
    return _cifar_columns(rows[:, 1:], rows[:, 0])


def _cifar_python(path: Path) -> Columns:
    with path.open("rb") as stream:
        try:
            batch = _OnlyArrays(stream, encoding="bytes").load()
            return _cifar_columns(np.asarray(batch[b"data"], np.uint8), np.asarray(batch[b"labels"]))
        except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError) as problem:
            raise error("DG706", f"{path.name} is not a Python batch of CIFAR-10: {problem}") from problem


def _cifar_columns(pixels: np.ndarray, label: np.ndarray) -> Columns:
    image = pixels.reshape(-1, 3, 32, 32).astype(np.float32) / np.float32(255)
    return {"image": image, "label": label.astype(np.int64)}


class _OnlyArrays(pickle.Unpickler):
    """Reads a pickle of plain values and arrays. Anything else in it, which could run code, is refused."""

    ALLOWED = {"_reconstruct", "ndarray", "dtype", "scalar", "encode"}

    def find_class(self, module, name):
        if name in self.ALLOWED and (module.startswith("numpy") or module == "_codecs"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}")


def images_from(folder: Path, size: int | None, channels: int | None) -> Dataset:
    """A folder with a folder of images for each class; `train` and `test` folders of such where there are."""
    if (folder / "train").is_dir():
        classes = _class_names(folder / "train")
        columns = _read_classes(folder / "train", classes, size, channels)
        test = None
        if (folder / "test").is_dir():
            test = _read_classes(folder / "test", classes, columns["image"].shape[2:], columns["image"].shape[1])
        return Dataset("images", columns, test, ("label",), {"label": classes})
    classes = _class_names(folder)
    return Dataset("images", _read_classes(folder, classes, size, channels), None, ("label",), {"label": classes})


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if not names:
        raise error(
            "DG706", f"{folder} holds no folders, one for each class", help="images/cat/1.png, images/dog/1.png"
        )
    return names


def _read_classes(folder: Path, classes, size, channels) -> Columns:
    shape = (size, size) if isinstance(size, int) else size
    images, labels = [], []
    for number, name in enumerate(classes):
        for path in sorted(p for p in (folder / name).iterdir() if is_image(p)):
            image = read_image(path)
            channels = channels or image.shape[2]
            shape = shape or image.shape[:2]
            images.append(fitted(image, path, tuple(shape), channels, resizes=size is not None))
            labels.append(number)
    if not images:
        raise error("DG706", f"{folder} holds no images in its folders", help="images are .png, .jpg and the like")
    return {"image": np.stack(images), "label": np.array(labels, np.int64)}


def fitted(image: np.ndarray, path: Path, shape, channels: int, resizes: bool) -> np.ndarray:
    """One image as float32 [channels, height, width]."""
    pixels = with_channels(image.astype(np.float32) / np.float32(255), channels).transpose(2, 0, 1)
    if pixels.shape[1:] == tuple(shape):
        return pixels
    if not resizes:
        sizes = f"{image.shape[0]} x {image.shape[1]}, others {shape[0]} x {shape[1]}"
        raise error("DG706", f"{path.name} is {sizes}", help=f"images(..., size = {shape[0]}) resizes them")
    return resize(pixels[None], *shape)[0]


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """An image [h, w, 1 or 3] with 1 or 3 channels; gray is the luma of ITU-R BT.601."""
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    return (image @ np.array([0.299, 0.587, 0.114], image.dtype))[:, :, None]


def pixels_of(path: Path, channels: int) -> Dataset:
    """Each pixel's place (x to the right, y downwards, the centres of the outer pixels at -1 and 1) and brightness."""
    image = with_channels(read_image(path).astype(np.float32) / np.float32(255), channels)
    height, width = image.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    place = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    return Dataset("pixels", {"place": place, "brightness": image.reshape(-1, channels)}, targets=("brightness",))


def noisy_pairs(source: Dataset, noise: float, seed: int) -> Dataset:
    """Pairs (noisy, clean) from the first column of another source: normal noise is added once, by the seed."""
    generator = np.random.Generator(np.random.Philox(key=seed))

    def pairs(columns: Columns) -> Columns:
        clean = next(iter(columns.values()))
        noisy = clean + np.float32(noise) * generator.standard_normal(clean.shape, np.float32)
        return {"noisy": noisy.astype(clean.dtype), "clean": clean}

    test = pairs(source.test) if source.test is not None else None
    return replace(Dataset(f"denoise({source.name})", pairs(source.columns), targets=("clean",)), test=test)
