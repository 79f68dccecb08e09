"""Files that a program reads: they lie in its own directory."""

from __future__ import annotations

import zlib
from pathlib import Path
from tokenize import TokenError

import numpy as np

from diffgraph.diagnostics import Span, error, suggest
from diffgraph.language.session import Session
from diffgraph.language.values import TensorValue


#: What reading a damaged file of NumPy may raise (it reads headers of old files as Python text).
UNREADABLE = (
    OSError, ValueError, EOFError, LookupError, TypeError, MemoryError, RuntimeError, SyntaxError, TokenError, zlib.error,
)  # fmt: skip


def constant_file(path: str, session: Session, span: Span | None) -> TensorValue:
    """A tensor from a `.npy` file of the program's directory."""
    file = inside_folder(path, session.folder, span)
    if file.exists() and not file.is_file():
        raise error("DG371", f"`{path}` is not a file", span)
    try:
        # Mapped first: a header that claims more than the file holds is refused before anything is allocated.
        array = np.load(file, allow_pickle=False, mmap_mode="r")
    except FileNotFoundError:
        there = sorted(p.name for p in file.parent.iterdir()) if file.parent.is_dir() else []
        help = suggest(file.name, there) or "its place is relative to the program's file"
        raise error("DG371", f"there is no file `{path}`", span, help=help) from None
    except UNREADABLE as problem:
        raise error("DG371", f"`{path}` is not a .npy file: {problem}", span) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise error("DG371", f"`{path}` does not hold one array of numbers", span)
    kind = {"b": "bool", "i": "int", "u": "int"}.get(array.dtype.kind, "float")
    array = array.astype({"bool": np.bool_, "int": np.int64, "float": np.float64}[kind])
    bound = int(array.max()) + 1 if kind == "int" and array.size and array.min() >= 0 else None
    return TensorValue(session.table(Path(path).stem, array, kind, bound), span)


def inside_folder(path: str, folder: Path | None, span: Span | None, shown: str | None = None) -> Path:
    """A file of the program's directory; anything outside is refused. `shown` is the path as it is written."""
    shown = shown or path
    if folder is None:
        raise error("DG372", f"`{shown}`: a program without a directory reads no files", span)
    base = Path(folder).resolve()
    if "\0" in path:
        raise error("DG373", "the name of a file holds no character 0", span)
    try:
        file = (base / path).resolve()
        file.stat()
    except FileNotFoundError:
        pass
    except (OSError, RuntimeError):
        raise error("DG373", "the name of a file is too long, or goes in circles", span) from None
    if base != file and base not in file.parents:
        help = "copy the file into it: a model reads nothing else"
        raise error("DG373", f"`{shown}` is outside the directory of the program", span, help=help)
    return file
