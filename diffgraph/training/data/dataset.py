"""A data set: named columns, one row a sample; the columns that are held out beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from diffgraph.diagnostics import error

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Columns by name, inputs first, each [samples, ...] (or one whole sample, for a net without a batch).

    test: the same columns, held out, or None. targets: the columns known to be targets; they never fill an input.
    classes: the names of the classes of an int column. table: the columns are the numbers of a table, to be joined side
    by side until an input is full.
    """

    name: str
    columns: Columns
    test: Columns | None = None
    targets: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    table: bool = False

    def __len__(self) -> int:
        """The number of training samples."""
        return len(next(iter(self.columns.values())))


def check(dataset: Dataset) -> Dataset:
    """The same data set, or an error that names the place of a NaN or an infinity."""
    for part, columns in (("", dataset.columns), (" (held out)", dataset.test or {})):
        for name, values in columns.items():
            refuse_non_finite(values, f"{dataset.name}: column `{name}`{part}")
    return dataset


def refuse_non_finite(values: np.ndarray, what: str) -> None:
    """Raises an error that names the first NaN or infinity in an array. Makes no copy of a large one."""
    if not np.issubdtype(values.dtype, np.floating):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(values, dtype=np.float64)):
            return
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    count = int(bad.sum())
    more = f", and {count - 1} more" if count > 1 else ""
    raise error(
        "DG702",
        f"{what} holds {values[place]} at {list(place)}{more}",
        help="remove or mend these rows: training on a value that is not a number gives nothing else",
    )


def hold_out(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """Moves a share of the rows to the held-out part, chosen by the seed alone.

    Where the last column is of ints with few values (a label) each class gives the same share, so that both parts have
    the same proportions.
    """
    if dataset.test is not None:
        raise error("DG703", f"`{dataset.name}` has a test set of its own; `split` would hold out a second one")
    if not 0 < share < 1:
        raise error("DG703", f"`split = {share}` is not a share of the rows", help="split = 0.2 holds out 20 %")
    rows = len(dataset)
    chosen = np.zeros(rows, dtype=bool)
    generator = np.random.Generator(np.random.Philox(key=seed))
    for group in _strata(dataset):
        order = generator.permutation(len(group))
        chosen[group[order[: round(share * len(group))]]] = True
    if not chosen.any() or chosen.all():
        raise error("DG703", f"`split = {share}` of {rows} rows leaves one of the two parts empty")
    return replace(
        dataset,
        columns={name: values[~chosen] for name, values in dataset.columns.items()},
        test={name: values[chosen] for name, values in dataset.columns.items()},
    )


def _strata(dataset: Dataset) -> list[np.ndarray]:
    """The rows by class, or all of them as one group."""
    last = list(dataset.columns.values())[-1]
    if np.issubdtype(last.dtype, np.integer) and last.ndim == 1:
        values, inverse = np.unique(last, return_inverse=True)
        if len(values) <= max(2, len(last) // 5):
            return [np.flatnonzero(inverse == k) for k in range(len(values))]
    return [np.arange(len(last))]


def standardize(dataset: Dataset) -> Dataset:
    """Shifts and scales the float columns that are not targets to mean 0 and deviation 1 over the training rows.

    Images [n, channel, height, width] are scaled by channel, anything else by feature. A constant feature is only
    shifted.
    """
    columns, test = dict(dataset.columns), dict(dataset.test or {})
    names = [n for n in columns if n not in dataset.targets] if dataset.targets else list(columns)[:-1] or list(columns)
    for name in names:
        values = columns[name]
        if not np.issubdtype(values.dtype, np.floating):
            continue
        axes = (0, *range(2, values.ndim)) if values.ndim > 2 else (0,)
        mean = values.mean(axis=axes, keepdims=True, dtype=np.float64)
        deviation = values.std(axis=axes, keepdims=True, dtype=np.float64)
        scale = np.where(deviation > 0, deviation, 1.0)
        columns[name] = ((values - mean) / scale).astype(values.dtype)
        if name in test:
            test[name] = ((test[name] - mean) / scale).astype(values.dtype)
    return replace(dataset, columns=columns, test=test if dataset.test is not None else None)
