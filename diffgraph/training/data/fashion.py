"""Fashion-MNIST: from the system's packages, the user's cache, or a download whose content is verified.

Xiao, Rasul, Vollgraf 2017 (MIT licence), https://github.com/zalandoresearch/fashion-mnist.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
from pathlib import Path

from diffgraph.diagnostics import DiffgraphError, error
from diffgraph.training.data.dataset import Dataset
from diffgraph.training.data.images import MNIST_FILES, mnist_like
from diffgraph.training.data.location import cached_datasets, system_datasets

FOLDER = "fashion-mnist"
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
TIMEOUT_SECONDS = 20

CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
)  # fmt: skip

#: SHA-256 of each file, unpacked: the same wherever it was packed.
CONTENT = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def fashion_mnist() -> Dataset:
    """60,000 images of clothes for training and 10,000 held out, 28 x 28, in 10 classes."""
    for folder in (*(place / FOLDER for place in system_datasets()), cached_datasets() / FOLDER):
        if _is_complete(folder):
            return mnist_like("fashion_mnist", folder, CLASSES)
    return mnist_like("fashion_mnist", _download(cached_datasets() / FOLDER), CLASSES)


def _is_complete(folder: Path) -> bool:
    names = [name for pair in MNIST_FILES.values() for name in pair]
    return all((folder / n).is_file() or (folder / f"{n}.gz").is_file() for n in names)


def _download(folder: Path) -> Path:
    """Fetches what is missing into the folder; a file appears there only when its content is right."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, digest in CONTENT.items():
        if not (folder / f"{name}.gz").is_file():
            _fetch(name, digest, folder / f"{name}.gz")
    return folder


def _fetch(name: str, digest: str, target: Path) -> None:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{ADDRESS}{name}.gz", timeout=TIMEOUT_SECONDS) as response:
            packed = response.read()
    except (urllib.error.URLError, OSError) as problem:
        raise _absent(f"{name}.gz could not be downloaded ({getattr(problem, 'reason', problem)})") from problem
    try:
        found = hashlib.sha256(gzip.decompress(packed)).hexdigest()
    except (OSError, EOFError) as problem:
        raise _absent(f"what was downloaded as {name}.gz is damaged ({problem})") from problem
    if found != digest:
        raise _absent(f"what was downloaded as {name}.gz has another content than it should (SHA-256 {found})")
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as stream:
        stream.write(packed)
    os.replace(stream.name, target)


def _absent(reason: str) -> DiffgraphError:
    return error(
        "DG707",
        f"Fashion-MNIST is not on this machine, and {reason}",
        help=f"`apt install dataset-fashion-mnist`, or put its four .gz files into {cached_datasets() / FOLDER}",
    )
