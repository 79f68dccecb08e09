"""The data sources of the language: a visible table, and how a call of one in a `train` block becomes a data set.

    data  csv("iris.csv", target = "species", split = 0.2, standardize = true)

Every source takes, beside its own settings, `split` (the share held out, where it has no test set), `standardize` and
`seed`. The seed of a source is its own, not the run's: another training seed must not move samples between the parts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path

from diffgraph.diagnostics import DiffgraphError, Span, error, suggest
from diffgraph.language.data_calls import Column, DataCall
from diffgraph.training.data import images, made, tables
from diffgraph.training.data.dataset import Dataset, check, hold_out, standardize
from diffgraph.training.data.fashion import fashion_mnist as read_fashion_mnist
from diffgraph.training.data.formulas import computed
from diffgraph.training.data.location import inside

#: What may stand where a setting has this annotation, and how a message calls it.
KINDS = {
    "int": (Integral, "an int"),
    "float": (Real, "a number"),
    "str": (str, "a text"),
    "bool": (bool, "true or false"),
    "list": ((list, tuple), "a list"),
}


def load(call: DataCall, directory: Path) -> Dataset:
    """The data set that a call of a source means. `directory` is the program's: files are looked for there only.

    Errors: a source or setting that is not there, a file that is missing or damaged, a value that is not a number.
    """
    try:
        return check(_load(call, directory))
    except DiffgraphError as problem:
        raise _at(problem, call.span) from None


def check_call(call: DataCall) -> None:
    """Refuses a source or a setting that is not there, before anything is read. The call may hold other ones."""
    _prepared(call)


def _load(call: DataCall, directory: Path) -> Dataset:
    source, arguments, share, scaled, seed = _prepared(call)
    dataset = source(directory, *arguments)
    if share is not None:
        dataset = hold_out(dataset, share, seed)
    return standardize(dataset) if scaled else dataset


def _prepared(call: DataCall) -> tuple[Callable, list, float | None, bool, int]:
    """(the source, its arguments, the share to hold out, whether to standardize, the seed)"""
    if call.name not in SOURCES:
        raise error("DG700", f"there is no data source `{call.name}`", call.span, help=_known(call.name))
    source = SOURCES[call.name]
    keywords = {name: value for name, value in call.keywords if not isinstance(value, Column)}
    accepted = inspect.signature(source).parameters
    share = None if "split" in accepted else _setting(call, "split", keywords.pop("split", None), "float | None")
    scaled = (
        None if "standardize" in accepted else _setting(call, "standardize", keywords.pop("standardize", False), "bool")
    )
    seed = _setting(call, "seed", keywords.get("seed", 0) if "seed" in accepted else keywords.pop("seed", 0), "int")
    arguments = _bound(call, source, call.arguments, keywords)
    for inner in arguments:
        if isinstance(inner, DataCall) and inner is not call:
            check_call(inner)
    return source, arguments, share, scaled, seed


def _bound(call: DataCall, source: Callable, positional, keywords) -> list:
    """The arguments of the source in the order of its signature, checked against it; `call` is the call itself."""
    settings = [p for p in list(inspect.signature(source).parameters.values())[1:] if p.name != "call"]
    if len(positional) > len(settings):
        help = f"it takes {', '.join(p.name for p in settings)}" if settings else "leave the parentheses out"
        most = f"{len(settings) or 'no'} setting{'' if len(settings) == 1 else 's'}"
        raise error("DG701", f"`{call.name}` takes {most}, not {len(positional)}", call.span, help=help)
    given = {p.name: v for p, v in zip(settings, positional)}
    for name, value in keywords.items():
        if name in given or name not in {p.name for p in settings}:
            known = list(dict.fromkeys([*(p.name for p in settings), "split", "standardize", "seed"]))
            problem = f"is given `{name}` twice" if name in given else f"has no setting `{name}`"
            help = suggest(name, known) or f"it has {', '.join(known)}"
            raise error("DG701", f"`{call.name}` {problem}", call.span, help=help)
        given[name] = value
    missing = [p.name for p in settings if p.default is p.empty and p.name not in given]
    if missing:
        raise error(
            "DG701", f"`{call.name}` needs `{missing[0]}`", call.span, help=source.__doc__.splitlines()[-1].strip()
        )
    bound = [_setting(call, p.name, given.get(p.name, p.default), p.annotation) for p in settings]
    return [*bound, call] if "call" in inspect.signature(source).parameters else bound


def _setting(call: DataCall, name: str, value, annotation: str):
    """A setting of the kind that the signature says."""
    kinds = [k.strip() for k in str(annotation).split("|")]
    if (value is None and "None" in kinds) or "any" in kinds:
        return value
    if "DataCall" in kinds and isinstance(value, DataCall):
        return value
    for kind in kinds:
        python, _ = KINDS.get(kind, ((), ""))
        if isinstance(value, python) and (kind == "bool" or not isinstance(value, bool)):
            return float(value) if kind == "float" else int(value) if kind == "int" else value
    wanted = " or ".join(KINDS[k][1] if k in KINDS else "a data source" for k in kinds if k != "None")
    shown = f"the source `{value.name}`" if isinstance(value, DataCall) else repr(value)
    is_name = isinstance(value, DataCall) and not (value.arguments or value.keywords)
    help = f'write a text in quotes: {name} = "{value.name}"' if is_name and "str" in kinds else None
    raise error("DG701", f"`{name}` of `{call.name}` is {wanted}, not {shown}", call.span, help=help)


def _known(name: str) -> str:
    return suggest(name, SOURCES) or f"there are {', '.join(sorted(SOURCES))}"


def _at(problem: DiffgraphError, span: Span | None) -> DiffgraphError:
    """The problem, placed at the call where it has no place of its own."""
    placed = (d if d.span is not None or span is None else replace(d, span=span) for d in problem.diagnostics)
    return type(problem)(*placed)


# ------------------------------------------------------------------ the sources


def digits(at: Path, size: int = 28, split: float = 0.2, seed: int = 0) -> Dataset:
    """1,797 handwritten digits, resized from 8 x 8; they come with the package.

    data digits(size = 28)"""
    return images.digits(size, split, seed)


def fashion_mnist(at: Path) -> Dataset:
    """70,000 images of clothes, 28 x 28, in 10 classes.

    data fashion_mnist"""
    return read_fashion_mnist()


def mnist(at: Path, directory: str) -> Dataset:
    """MNIST, or a set in its four files, from a folder.

    data mnist("mnist")"""
    return images.mnist_like("mnist", inside(at, directory), tuple("0123456789"))


def cifar10(at: Path, directory: str) -> Dataset:
    """CIFAR-10 from a folder, in its binary or Python form.

    data cifar10("cifar-10-batches-bin")"""
    return images.cifar10_from(inside(at, directory))


def idx(at: Path, inputs: str, targets: str | None = None) -> Dataset:
    """Arrays from IDX files.

    data idx("images-idx3-ubyte", "labels-idx1-ubyte")"""
    columns = {"input": images.as_images(images.read_idx(inside(at, inputs)))}
    if targets is None:
        return Dataset("idx", columns)
    columns["target"] = images.as_images(images.read_idx(inside(at, targets)))
    return Dataset("idx", columns, targets=("target",))


def image_folder(at: Path, directory: str, size: int | list | None = None, channels: int | None = None) -> Dataset:
    """Images in a folder for each class.

    data images("pets", size = 64)"""
    if channels not in (None, 1, 3):
        raise error("DG701", f"`channels` of `images` is 1 or 3, not {channels}")
    return images.images_from(inside(at, directory), size, channels)


def pixels(at: Path, file: str, channels: int = 1) -> Dataset:
    """The places of the pixels of an image, in [-1, 1], and their brightness.

    data pixels("image.png")"""
    if channels not in (1, 3):
        raise error("DG701", f"`channels` of `pixels` is 1 or 3, not {channels}")
    return images.pixels_of(inside(at, file), channels)


def denoise(at: Path, source: DataCall, noise: float = 0.3, seed: int = 0) -> Dataset:
    """Pairs of a noisy and a clean image, from the images of another source.

    data denoise(fashion_mnist, noise = 0.3)"""
    return images.noisy_pairs(load(source, at), noise, seed)


def standardized(at: Path, source: DataCall) -> Dataset:
    """Another source, its inputs shifted and scaled to mean 0 and deviation 1.

    data standardize(csv("iris.csv", target = "species"))"""
    return standardize(load(source, at))


def npz(at: Path, file: str) -> Dataset:
    """The arrays of a NumPy archive; `test_x` beside `x` is held out.

    data npz("data.npz")"""
    return tables.read_npz(inside(at, file))


def csv(
    at: Path, file: str, target: str | int | list | None = None, header: bool | None = None, delimiter: str = ","
) -> Dataset:
    """Comma-separated values.

    data csv("iris.csv", target = "species")"""
    return tables.read_csv(inside(at, file), target, header, delimiter)


def table(at: Path, rows: list) -> Dataset:
    """Rows of numbers.

    data table([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])"""
    return made.table(rows)


def function(at: Path, n: int, seed: int = 0, call: DataCall | None = None) -> Dataset:
    """Columns that are drawn or computed, in order.

    data function(n = 256, x = uniform(-3, 3), y = sin(2 * x))"""
    return computed(call, _count(n), seed)


def spiral(at: Path, n: int = 500, noise: float = 0.1, classes: int = 2, turns: float = 1.5, seed: int = 0) -> Dataset:
    """Arms of a spiral, one for each class.

    data spiral(n = 500)"""
    return made.spiral(_count(n), noise, classes, turns, seed)


def circles(at: Path, n: int = 500, noise: float = 0.05, classes: int = 2, seed: int = 0) -> Dataset:
    """Rings around one another, one for each class.

    data circles(n = 500)"""
    return made.circles(_count(n), noise, classes, seed)


def xor(at: Path, n: int = 500, noise: float = 0.0, classes: int = 2, seed: int = 0) -> Dataset:
    """Points in a square, labelled by the signs of their coordinates.

    data xor(n = 500)"""
    return made.xor(_count(n), noise, classes, seed)


def gauss(at: Path, n: int = 500, noise: float = 0.3, classes: int = 2, seed: int = 0) -> Dataset:
    """Normal clouds, one for each class.

    data gauss(n = 500)"""
    return made.gauss(_count(n), noise, classes, seed)


def plane(at: Path, n: int = 500, noise: float = 0.1, seed: int = 0) -> Dataset:
    """The height of a tilted plane.

    data plane(n = 500)"""
    return made.plane(_count(n), noise, seed)


def _count(n: int) -> int:
    if not 1 <= n <= 100_000_000:
        raise error("DG701", f"{n} samples cannot be made")
    return n


#: name in the language -> the function that reads or makes it.
SOURCES: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "mnist": mnist,
    "cifar10": cifar10,
    "idx": idx,
    "images": image_folder,
    "pixels": pixels,
    "denoise": denoise,
    "standardize": standardized,
    "npz": npz,
    "csv": csv,
    "table": table,
    "function": function,
    "spiral": spiral,
    "circles": circles,
    "xor": xor,
    "gauss": gauss,
    "plane": plane,
}
