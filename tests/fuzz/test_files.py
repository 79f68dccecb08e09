"""Files that are damaged, or made to exhaust the machine, are refused with a `DiffgraphError`."""

import gzip
import io
import os
import struct
import zipfile
import zlib
from random import Random

import numpy as np
import pytest

from diffgraph.diagnostics import DiffgraphError
from diffgraph.interop import safetensors
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.training.data.images import read_idx
from diffgraph.training.data.location import inside
from diffgraph.training.data.pictures import read_image
from diffgraph.training.data.png import SIGNATURE
from diffgraph.training.data.tables import read_csv, read_npz


def npy(array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.arange(12.0).reshape(3, 4), y=np.arange(3))
    return stream.getvalue()


def png(width=5, height=4) -> bytes:
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(bytes([k % 5]) + bytes(range(width * 3)) for k in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def idx() -> bytes:
    return struct.pack(">HBBII", 0, 8, 2, 3, 4) + bytes(12)


def tensors(tmp_path) -> bytes:
    safetensors.write(tmp_path / "w", {"a.weight": np.ones((2, 3), np.float32)}, {"position": "{}"})
    return (tmp_path / "w").read_bytes()


def read_constant(path):
    elaborate(load_text('net n { output y = constant("f.npy") * 2 }', folder=path.parent))


KINDS = {
    "npz": ("f.npz", lambda tmp: npz(), read_npz),
    "csv": ("f.csv", lambda tmp: b"a,b,c\n1,2.5,x\n3,4,y\n", lambda p: read_csv(p, "c", None, ",")),
    "png": ("f.png", lambda tmp: png(), read_image),
    "idx": ("f.idx", lambda tmp: idx(), read_idx),
    "packed idx": ("f.gz", lambda tmp: gzip.compress(idx(), mtime=0), read_idx),
    "safetensors": ("f.safetensors", tensors, safetensors.read),
    "constant": ("f.npy", lambda tmp: npy(np.arange(6.0)), read_constant),
}


def damaged(data: bytes, random: Random) -> bytes:
    """The bytes with some of them changed, left out, or doubled, or the end missing."""
    changed = bytearray(data)
    for _ in range(random.randrange(1, 5)):
        at = random.randrange(len(changed) or 1)
        match random.randrange(4):
            case 0:
                changed[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                del changed[at:]
            case 2:
                changed[at : at + 4] = random.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
            case 3:
                changed[at:at] = changed[at : at + 40]
    return bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file(kind, tmp_path):
    name, make, read = KINDS[kind]
    whole, path = make(tmp_path), tmp_path / name
    path.write_bytes(whole)
    read(path)
    random, refused = Random(kind), 0
    for _ in range(250):
        path.write_bytes(damaged(whole, random))
        try:
            read(path)
        except DiffgraphError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("kind", ["npz", "npy", "idx", "png"])
def test_a_header_that_claims_too_much(kind, tmp_path):
    path = tmp_path / f"f.{kind}"
    lying = npy(np.zeros(8)).replace(b"(8,)", b"(9999999999999,)", 1).replace(b" " * 13, b" ", 1)
    if kind == "npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", lying)
        read = read_npz
    elif kind == "npy":
        path.write_bytes(lying)
        read = read_constant
        path.rename(tmp_path / "f.npy")
        path = tmp_path / "f.npy"
    elif kind == "idx":
        path.write_bytes(gzip.compress(struct.pack(">HBBII", 0, 8, 2, 2**32 - 1, 2**31) + bytes(100)))
        read = read_idx
    else:
        path.write_bytes(png(5, 4).replace(struct.pack(">II", 5, 4), struct.pack(">II", 2**31, 2**31)))
        read = read_image
    with pytest.raises(DiffgraphError):
        read(path)


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "link/passwd", "a\0b", "x" * 5000, "loop/a", "pipe"])
def test_a_name_that_leads_elsewhere(name, tmp_path):
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DiffgraphError):
        inside(tmp_path, name)
    text = name.replace("\0", "\\0")
    for program in (f'import "{text}" as m\nnet n {{ output y = 1 }}', f'net n {{ output y = constant("{text}") }}'):
        with pytest.raises(DiffgraphError):
            elaborate(load_text(program, folder=tmp_path))
