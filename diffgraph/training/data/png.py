"""Reads PNG images: 8 bits a channel (gray, gray with alpha, RGB, RGBA, palette), not interlaced.

ISO/IEC 15948. No library is needed for it, and a file from elsewhere can neither run code nor ask for more memory than
its own header admits to.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from diffgraph.diagnostics import DiffgraphError, error

SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Color type of the header -> channels in the file.
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

#: More pixels than this are refused before anything is unpacked.
LARGEST = 1 << 24


def is_plain(data: bytes) -> bool:
    """Whether a file is one that is read here: PNG with 8 bits a channel, not interlaced; a damaged one too."""
    return data.startswith(SIGNATURE) and data[24:25] in (b"", b"\x08") and data[28:29] in (b"", b"\x00")


def decode(data: bytes, path: Path) -> np.ndarray:
    """The image [height, width, channels] in the content of a file, as uint8, with 1 (gray) or 3 (color) channels;
    transparency is dropped."""
    try:
        return _decode(data, path)
    except (struct.error, zlib.error, IndexError, ValueError, StopIteration) as problem:
        raise _wrong(path, f"it is damaged ({problem})", None) from problem


def _decode(data: bytes, path: Path) -> np.ndarray:
    chunks = list(_chunks(data))
    header = next(body for kind, body in chunks if kind == b"IHDR")
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if depth != 8 or interlaced or color not in CHANNELS:
        raise _wrong(
            path, f"{depth} bits, color type {color}, interlaced {interlaced}", "save it with 8 bits, not interlaced"
        )
    if not 0 < width * height <= LARGEST:
        raise _wrong(path, f"{width} x {height} pixels", f"at most {LARGEST:,} pixels are read")
    channels = CHANNELS[color]
    size = height * (1 + width * channels)
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    raw = zlib.decompressobj().decompress(packed, size)
    if len(raw) != size:
        raise ValueError(f"{len(raw)} of {size} bytes")
    image = _unfilter(np.frombuffer(raw, np.uint8).reshape(height, 1 + width * channels), channels)
    image = image.reshape(height, width, channels)
    if color == 3:
        palette = next(body for kind, body in chunks if kind == b"PLTE")
        return np.frombuffer(palette, np.uint8).reshape(-1, 3)[image[:, :, 0]]
    return image[:, :, :1] if channels == 2 else image[:, :, :3]


def _chunks(data: bytes):
    """(kind, body) of each chunk, its checksum verified."""
    place = len(SIGNATURE)
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + length]
        (stated,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        if zlib.crc32(kind + body) != stated:
            raise ValueError(f"checksum of {kind.decode('latin1')}")
        yield kind, body
        place += 12 + length


def _unfilter(rows: np.ndarray, channels: int) -> np.ndarray:
    """Undoes the prediction of each row (filters none, sub, up, average, Paeth)."""
    height, width = rows.shape[0], rows.shape[1] - 1
    result = np.zeros((height, width), np.uint8)
    above = np.zeros(width, np.uint8)
    for y in range(height):
        kind, row = int(rows[y, 0]), rows[y, 1:]
        if kind == 0:
            done = row.copy()
        elif kind == 1:
            done = np.cumsum(row.reshape(-1, channels), axis=0, dtype=np.uint8).ravel()
        elif kind == 2:
            done = row + above
        elif kind in (3, 4):
            done = _predicted(kind, row.tolist(), above.tolist(), channels)
        else:
            raise ValueError(f"filter {kind}")
        result[y] = above = done
    return result


def _predicted(kind: int, row: list[int], above: list[int], channels: int) -> np.ndarray:
    """A row with the filter average or Paeth, whose bytes depend on one another."""
    done = [0] * len(row)
    for x, value in enumerate(row):
        left = done[x - channels] if x >= channels else 0
        if kind == 3:
            guess = (left + above[x]) // 2
        else:
            corner = above[x - channels] if x >= channels else 0
            guess = _paeth(left, above[x], corner)
        done[x] = (value + guess) & 255
    return np.array(done, np.uint8)


def _paeth(left: int, above: int, corner: int) -> int:
    """Of three neighbours the one nearest to left + above - corner."""
    distances = (abs(above - corner), abs(left - corner), abs(left + above - 2 * corner))
    return (left, above, corner)[distances.index(min(distances))]


def _wrong(path: Path, message: str, repair: str | None) -> DiffgraphError:
    return error("DG706", f"{path.name} cannot be read: {message}", help=repair)
