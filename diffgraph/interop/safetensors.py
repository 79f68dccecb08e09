"""Arrays in files: safetensors, written whole or not at all, with a hash of their content.

safetensors itself neither syncs nor notices most damaged bytes, so a file is written aside, synced, renamed into place,
and the folder synced; a SHA-256 of names, types, shapes and bytes stands in its metadata and is verified when it is
read. Files from elsewhere have no such hash and are read without it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffgraph.diagnostics import Diagnostic, DiffgraphError, RunFailed, error, suggest

#: Bytes of a header that are read for its texts alone.
MOST_OF_HEADER = 100_000_000

#: The metadata stand as JSON in one entry of the file: the library orders several entries anew in each process, and
#: equal arrays are to make equal files.
ENTRY, HASH = "diffgraph", "sha256"

Arrays = Mapping[str, np.ndarray]


def write(path: Path, arrays: Arrays, metadata: Mapping[str, str] | None = None) -> None:
    """Writes arrays by name, and texts by name as metadata. What was there stays until the new file is whole.

    RunFailed where the disk is full, DiffgraphError where the folder cannot be written.
    """
    from safetensors.numpy import save

    ready = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = save(ready, {ENTRY: json.dumps({**(metadata or {}), HASH: digest(ready)}, sort_keys=True)})
    write_or_fail(Path(path), content)


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays by name, metadata) of a file. Errors: not there, not such a file, damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as problem:
        folder = path.parent
        there = sorted(p.name for p in folder.glob("*.safetensors")) if folder.is_dir() else []
        inside = path / "last.safetensors"
        help = f"its weights are {inside}" if inside.exists() else suggest(path.name, there)
        raise error("DG740", f"{path} cannot be read: {problem.strerror or problem}", help=help) from problem
    try:
        arrays, metadata = load(content), _metadata(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, struct.error) as problem:
        raise error(
            "DG741", f"{path} is not a whole safetensors file: {problem}", help="it may be half copied"
        ) from problem
    stated = metadata.pop(HASH, None)
    if stated is not None and stated != digest(arrays):
        raise error("DG741", f"{path} is damaged: its content is not what was written", help="use another checkpoint")
    return arrays, metadata


def digest(arrays: Arrays) -> str:
    """SHA-256 of names, types, shapes and bytes, whatever the order of the arrays."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        total.update(repr((name, array.dtype.str, array.shape)).encode())
        total.update(memoryview(array.reshape(-1)).cast("B") if array.size else b"")
    return total.hexdigest()


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata in the header: eight bytes of its length, then JSON. Files from elsewhere have entries of their
    own."""
    (length,) = struct.unpack("<Q", content[:8])
    entries = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return dict(json.loads(entries[ENTRY])) if ENTRY in entries else dict(entries)


def metadata(path: Path) -> dict[str, str]:
    """The texts that a file holds beside its arrays; none where it is no such file."""
    try:
        with Path(path).open("rb") as stream:
            start = stream.read(8)
            return _metadata(start + stream.read(min(struct.unpack("<Q", start)[0], MOST_OF_HEADER)))
    except (OSError, ValueError, struct.error, AttributeError, TypeError):
        return {}


def write_or_fail(path: Path, content: bytes) -> None:
    """`write_atomically`, with an error that says what is there now. RunFailed where the disk is full, else
    DiffgraphError."""
    try:
        write_atomically(path, content)
    except OSError as problem:
        raise _not_written(path, problem) from problem


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that after a crash either the old or the new content is there, whole. OSError if it cannot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(aside, 0o666 & ~_umask())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _not_written(path: Path, problem: OSError) -> DiffgraphError:
    full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "the disk is full" if full else problem.strerror or str(problem)
    kept = f"what was in {path.name} before is still there" if path.exists() else "nothing was left half-written"
    failure = RunFailed if full else DiffgraphError
    return failure(Diagnostic("DG742", f"{path} could not be written: {reason}; {kept}"))
