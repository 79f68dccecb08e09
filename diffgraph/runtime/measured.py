"""What was measured on this machine: which way is the best for each point, kept on disk for every later compilation.

    kept = measurements("f32")
    kept.choices()                   what compiling goes by
    kept.keep(Measurement(...))

A file for each point, found by a key of its content and of the host: the processor, the compilers, this version. One that is
damaged, or of another host, is not found; several processes may share the directory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from diffgraph.diagnostics import error
from diffgraph.ir.expression import digest_of
from diffgraph.kernels.tiles import Machine
from diffgraph.passes.choices import ESTIMATED, Choices, Point
from diffgraph.runtime.cache import Cache, default_directory
from diffgraph.runtime.kept import package
from diffgraph.targets.cpu.compile import fingerprint
from diffgraph.targets.cpu.machine import machine

#: Where the files are, and how their names end.
FOLDER, SUFFIX = "measured", ".way"


@dataclass(frozen=True)
class Measurement:
    """What was found at a point: the best way, the one that the cost model takes, and how many times as fast the first one
    is (1 where they are the same). sizes: of the symbols, by name. about: what was measured, for people."""

    point: Point
    way: str
    estimated: str
    gain: float
    sizes: tuple[tuple[str, int], ...]
    about: str

    @property
    def is_news(self) -> bool:
        """Whether the cost model would have taken another way."""
        return self.way != self.estimated


class Measurements:
    """Those of one host and precision in a cache directory. host() says which one it is: it is only asked where something is
    kept."""

    def __init__(self, directory: Path, host: Callable[[], str]):
        self._directory = directory
        self._host = host
        self._found: dict[Point, Measurement] = {}
        if not (directory / FOLDER).is_dir():
            return
        for key in self._cache.keys(SUFFIX):
            content = self._cache.load(key, SUFFIX)
            found = None if content is None else _read(content)
            if found is not None:
                self._found[found.point] = found

    @cached_property
    def _cache(self) -> Cache:
        return Cache(self._directory, f"{FOLDER}/{digest_of(self._host())}")

    @property
    def all(self) -> tuple[Measurement, ...]:
        """Everything that was found."""
        return tuple(self._found.values())

    def __bool__(self) -> bool:
        """Whether anything was found."""
        return bool(self._found)

    def of(self, point: Point) -> Measurement | None:
        """What was found at a point."""
        return self._found.get(point)

    def choices(self) -> Choices:
        """The ways that are better than those that the cost model takes."""
        return Choices().with_({m.point: m.way for m in self._found.values() if m.is_news})

    def keep(self, measurement: Measurement) -> None:
        """Keeps what was found, in the place of what was known of the point."""
        self._found[measurement.point] = measurement
        of = measurement.point
        fields = {**vars(measurement), "point": [of.kind, of.digest]}
        self._cache.store_bytes(digest_of(of.kind, of.digest), SUFFIX, json.dumps(fields).encode())


def _read(content: bytes) -> Measurement | None:
    """A measurement from a file; None for what is not one."""
    try:
        fields = json.loads(content)
        kind, digest = fields.pop("point")
        sizes = tuple((str(name), int(size)) for name, size in fields.pop("sizes"))
        found = Measurement(Point(str(kind), str(digest)), sizes=sizes, **fields)
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
    texts = (found.way, found.estimated, found.about)
    return found if all(isinstance(t, str) for t in texts) and isinstance(found.gain, float) else None


@lru_cache
def _measurements(directory: str, precision: str) -> Measurements:
    return Measurements(Path(directory), lambda: f"{package()} {fingerprint()} {machine(precision)} {precision}")


def measurements(precision: str) -> Measurements:
    """Those of this host in the default cache directory."""
    return _measurements(str(default_directory()), precision)


def is_tunable(target: str) -> bool:
    """True; an error for a target that is not measured."""
    if target != "cpu":
        raise error("DG817", f"programs for the target {target} are not tuned", help="leave --tune (tune=True) out")
    return True


def choices_for(target: str, precision: str) -> Choices:
    """What compiling for a target goes by; only processors are measured."""
    return measurements(precision).choices() if target == "cpu" else ESTIMATED


def measured_machine(precision: str) -> Machine:
    """This machine, and what was measured on it."""
    return replace(machine(precision), choices=measurements(precision).choices())
