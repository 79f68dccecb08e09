"""Columns from files: NumPy archives and comma-separated values."""

from __future__ import annotations

import csv
import math
import zipfile
from pathlib import Path

import numpy as np

from diffgraph.diagnostics import error, suggest
from diffgraph.language.limits import limits
from diffgraph.language.program_files import UNREADABLE
from diffgraph.training.data.dataset import Dataset

#: What stands for a missing value.
MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-", "inf", "-inf", "infinity", "-infinity"}

#: Prefixes of the arrays of an archive that holds a test set: `test_x` beside `x`.
TEST_PREFIX = "test_"


def read_npz(path: Path) -> Dataset:
    """The arrays of a NumPy archive in order. `test_x` beside `x` is held out. Bytes of images are scaled to [0, 1]."""
    arrays = read_archive(path)
    if not arrays:
        raise error("DG706", f"{path.name} holds no arrays")
    test = {n[len(TEST_PREFIX) :]: a for n, a in arrays.items() if n.startswith(TEST_PREFIX)}
    columns = {n: a for n, a in arrays.items() if not n.startswith(TEST_PREFIX)}
    if test and set(test) != set(columns):
        raise error("DG706", f"{path.name} holds {', '.join(arrays)}: each array needs a `{TEST_PREFIX}` one, or none")
    return Dataset(
        path.name, {n: _scaled(a) for n, a in columns.items()}, {n: _scaled(a) for n, a in test.items()} or None
    )


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a NumPy archive by name."""
    try:
        _refuse_bomb(path)
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (*UNREADABLE, zipfile.BadZipFile) as problem:
        raise error("DG706", f"{path.name} is not a NumPy archive of plain arrays: {problem}") from problem


def read_file(path: Path) -> Dataset:
    """The columns of a file whose name says what it is: .npz or .csv."""
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob(f"*{path.suffix}")) if path.parent.is_dir() else []
        raise error("DG704", f"there is no file {path}", help=suggest(path.name, there))
    return read_npz(path) if path.suffix == ".npz" else read_csv(path, None, None, ",")


def _refuse_bomb(path: Path) -> None:
    """Refuses an archive that unpacks to more than a program may hold, or whose arrays claim to be larger than they are,
    before anything is unpacked. ValueError."""
    total = 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            total += member.file_size
            if total > limits().bytes:
                raise ValueError(f"it unpacks to more than {limits().bytes:,} bytes")
            with archive.open(member) as stream:
                refuse_false_header(stream, member.file_size)


def refuse_false_header(stream, size: int) -> None:
    """Refuses a `.npy` file whose header claims more elements than its bytes can hold. ValueError."""
    if stream.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
        return
    major, _ = stream.read(2)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if math.prod(shape) * max(1, dtype.itemsize) > size or any(s < 0 for s in shape):
        raise ValueError(f"a header claims the shape {list(shape)}, which does not fit into the file")


def _scaled(values: np.ndarray) -> np.ndarray:
    """Bytes of rank 3 and more are images: as float32 in [0, 1]."""
    return values.astype(np.float32) / np.float32(255) if values.dtype == np.uint8 and values.ndim >= 3 else values


def read_csv(path: Path, target: str | list | None, header: bool | None, delimiter: str) -> Dataset:
    """Comma-separated values: a number or the text of a class in each column.

    target: the column (or columns) that are targets, by name or number from 1; they come last. A column of texts
    becomes a column of ints, the place of each text among the sorted ones. The first line is a header where it holds no
    number but the lines below do. A missing value, NaN or infinity, and a text among numbers, is an error that names its
    line and column.
    """
    rows = _read_rows(path, delimiter)
    names, rows, first_line = _with_header(path, rows, header)
    targets = _targets(path, names, target)
    columns, classes = {}, {}
    for k in sorted(range(len(names)), key=lambda k: names[k] in targets):
        texts = [row[k].strip() for row in rows]
        _refuse_missing(path, names[k], texts, first_line)
        _refuse_mixed(path, names[k], texts, first_line)
        columns[names[k]], found = _values(texts)
        if found:
            classes[names[k]] = found
    return Dataset(path.name, columns, None, targets, classes, table=True)


def _read_rows(path: Path, delimiter: str) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream, delimiter=delimiter) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise error("DG706", f"{path.name} cannot be read: {problem}") from problem
    if not rows:
        raise error("DG706", f"{path.name} is empty")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise error("DG706", f"{path.name}: row {number} has {len(row)} values, the first one {len(rows[0])}")
    return rows


def _with_header(path: Path, rows, header: bool | None) -> tuple[list[str], list[list[str]], int]:
    """Names of the columns, the rows below the header, and the number of the first of them."""
    if header is None:
        numbers = [sum(map(_is_number, row)) for row in rows[:2]]
        header = len(rows) > 1 and numbers[0] == 0 and (numbers[1] > 0 or len(set(map(tuple, rows))) == len(rows))
    names = [c.strip() for c in rows[0]] if header else [f"column {k + 1}" for k in range(len(rows[0]))]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise error("DG706", f"{path.name} has two columns `{twice}`")
    if header and len(rows) == 1:
        raise error("DG706", f"{path.name} holds a header and no rows")
    return (names, rows[1:], 2) if header else (names, rows, 1)


def _targets(path: Path, names: list[str], target) -> tuple[str, ...]:
    wanted = target if isinstance(target, (list, tuple)) else [] if target is None else [target]
    found = []
    for item in wanted:
        if isinstance(item, int) and not isinstance(item, bool) and 1 <= item <= len(names):
            item = names[item - 1]
        if item not in names:
            raise error(
                "DG708",
                f"{path.name} has no column `{item}`",
                help=suggest(str(item), names) or f"it has {', '.join(names)}",
            )
        found.append(item)
    return tuple(found)


def _refuse_missing(path: Path, name: str, texts: list[str], first_line: int) -> None:
    bad = [k for k, text in enumerate(texts) if text.lower() in MISSING or _is_non_finite(text)]
    if bad:
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        shown = f"`{texts[bad[0]]}`" if texts[bad[0]] else "nothing"
        raise error(
            "DG702",
            f"{path.name}: row {bad[0] + first_line}, column `{name}` holds {shown}, not a value{more}",
            help="remove or fill these rows first: the compiler does not guess data",
        )


def _refuse_mixed(path: Path, name: str, texts: list[str], first_line: int) -> None:
    """A text in a column of numbers is a mistake: as a class, it would turn every number there into a class as well.

    Half of the values must be numbers for that; where fewer are, they are names of classes (`10` beside `J Q K A`).
    """
    others = [k for k, text in enumerate(texts) if not _is_number(text)]
    if others and len(others) <= len(texts) / 2:
        more = f" ({len(others) - 1} more like it)" if len(others) > 1 else ""
        raise error(
            "DG702",
            f"{path.name}: row {others[0] + first_line}, column `{name}` holds `{texts[others[0]]}`, where other "
            f"rows hold numbers{more}",
            help="mend or remove the row; where these are names of classes, name all of them by texts (`c1`, not `1`)",
        )


def _values(texts: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column as ints, as floats, or as ints that stand for texts, with those texts."""
    if all(map(_is_number, texts)):
        numbers = np.array([float(t) for t in texts])
        whole = all(t.lstrip("+-").isdigit() for t in texts)
        return (numbers.astype(np.int64) if whole else numbers), ()
    names = tuple(sorted(set(texts)))
    place = {name: k for k, name in enumerate(names)}
    return np.array([place[t] for t in texts], np.int64), names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _is_non_finite(text: str) -> bool:
    return _is_number(text) and not math.isfinite(float(text))
