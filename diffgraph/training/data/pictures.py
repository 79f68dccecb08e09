"""Image files as arrays: plain PNG files by our own reader, all others by Pillow."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np

from diffgraph.diagnostics import DiffgraphError, error, suggest
from diffgraph.training.data import png

#: What the names of image files end in, and the formats that Pillow may take them for.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")

#: The modes of Pillow that are gray.
GRAY = ("1", "L", "LA", "La", "I", "F")


def is_image(path: Path) -> bool:
    """Whether the name of a file is that of an image."""
    return path.suffix.lower() in SUFFIXES


def read_image(path: Path) -> np.ndarray:
    """The image [height, width, channels] as uint8, with 1 (gray) or 3 (colour) channels, upright; transparency is dropped.
    Errors: not there, not an image, damaged, larger than `png.LARGEST` pixels."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        there = sorted(p.name for p in path.parent.glob("*") if is_image(p)) if path.parent.is_dir() else []
        text = f"{path} cannot be read: {problem.strerror or problem}"
        raise error("DG706", text, help=suggest(path.name, there)) from problem
    return png.decode(data, path) if png.is_plain(data) else _by_pillow(data, path)


def _by_pillow(data: bytes, path: Path) -> np.ndarray:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        help = "pip install pillow; or save it as PNG, 8 bits, not interlaced"
        raise error("DG706", f"{path.name} is read by Pillow, which is not installed", help=help) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > png.LARGEST:
                raise _wrong(path, f"{image.width} x {image.height} pixels", f"at most {png.LARGEST:,} pixels are read")
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):
                return (np.asarray(image) // 257).astype(np.uint8)[:, :, None]
            pixels = np.asarray(image.convert("L" if image.mode in GRAY else "RGB"))
    except DiffgraphError:
        raise
    except Exception as problem:  # What is damaged or hostile fails anywhere in decoding it.
        known = ", ".join(SUFFIXES)
        text = str(problem).partition("\n")[0]
        reason = "it is not an image" if "cannot identify" in text else f"it is damaged ({text})"
        raise _wrong(path, reason, f"images are {known}") from problem
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _wrong(path: Path, message: str, repair: str) -> DiffgraphError:
    return error("DG706", f"{path.name} cannot be read: {message}", help=repair)
