"""Options that several commands share, and what they stand for: a net of a file, with its settings and its weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from diffgraph.diagnostics import error, suggest

#: What `--precision` and `--target` are where they are not given.
PRECISION, TARGET = "f32", "cpu"

_OPTIONS = (
    click.option("--net", metavar="NAME", help="Which net, where the file has several."),
    click.option("--train", metavar="NAME", help="Which train block, where the file has several: its settings, its data."),
    click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE",
                 help="A setting of the net, or a field of the train block; optimizer.lr is one of the optimizer."),
    click.option("--weights", type=click.Path(path_type=Path), metavar="FILE",
                 help="A checkpoint, the directory of a run, or other weights; initial ones by default."),
    click.option("--target", type=click.Choice(["cpu", "cuda", "reference"]), help=f"[default: {TARGET}]"),
    click.option("--precision", type=click.Choice(["f32", "f64", "tf32", "bf16"]),
                 help=f"Of floats; tf32 and bf16 (cuda): of the factors of products only.  [default: {PRECISION}]"),
    click.option("--fast", is_flag=True, help="Faster sums, whose relative error in f32 may be 1e-5 instead of 1e-6."),
    click.option("--tune", is_flag=True,
                 help="Measure kernels in several ways first; what is found is kept for every later compilation."),
    click.option("--threads", type=click.IntRange(1), help="How many threads; all cores by default."),
    click.option("--seed", type=click.IntRange(0), help="The seed of initial values and draws."),
)  # fmt: skip

_OUTPUT = (
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
    click.option("--quiet", "-q", is_flag=True, help="Print results only."),
)


@dataclass(frozen=True)
class Common:
    """What the options say that every command about a model takes."""

    net: str | None
    train: str | None
    assignments: Mapping[str, str]
    weights: Path | None
    target: str
    precision: str
    fast: bool
    tune: bool
    threads: int | None
    seed: int | None
    as_json: bool
    quiet: bool
    given: frozenset[str] = frozenset()

    def load(self, file: Path, sizes: Mapping[str, int] = {}, **instead) -> Any:
        """The net of a file (a `compiler.Net`) with its settings, and the weights where they are named. What is computed of
        weights belongs to the net that was trained: without --net and --train the first train block says its settings, and
        the run that the weights lie in. sizes: of symbols. instead: options of `Net` in the place of those given."""
        from diffgraph.compiler import Net
        from diffgraph.language.module import load_module

        module = load_module(file)
        common = self if self.weights is None else self.like_weights(module).like_first_block(module)
        settings, _ = common.split(module)
        options = {"target": common.target, "precision": common.precision, "seed": common.seed}
        options |= {"threads": common.threads, "fast": common.fast, "tune": common.tune, **instead}
        net = Net(module, common.net, settings, common.train, **options)
        net.set_sizes(sizes)
        if self.weights is not None:
            net.load(self.weights)
        return net

    def like_first_block(self, module) -> Common:
        """The same about the first train block, where that has settings of its own and nothing else was said."""
        from diffgraph.language.blocks import find_block

        first = find_block(module, self.net) if module.nets else None
        if self.train is not None or first is None or not first.arguments:
            return self
        return replace(self, net=first.net, train=first.name or first.net)

    def like_weights(self, module) -> Common:
        """The same with the net, train block and settings that the weights say they are for, but for what was given."""
        from diffgraph.interop.weight_files import file_in

        about = trained_as(file_in(self.weights), module, self.net, self.assignments, self.train)
        return replace(self, net=about[0], assignments=about[1], train=about[2])

    def like(self, about: Mapping[str, Any], module) -> Common:
        """The same with what a run was made with, where that fits the file and nothing else was given."""
        net, train = about.get("net"), about.get("train")
        if net not in module.nets or self.net not in (None, net) or self.train not in (None, train):
            return self
        there = any(block.net == net and (block.name or block.net) == train for block in module.trains)
        settings = about.get("settings")
        known = settings if isinstance(settings, dict) else {}
        return replace(self, net=net, train=train if there else None, assignments={**known, **self.assignments})

    def need_weights(self) -> None:
        """Refuses a command line without weights."""
        if self.weights is None:
            raise click.UsageError("--weights FILE says which weights the net has")

    @property
    def color(self) -> bool | None:
        """Whether to print colours: None is where the output is a terminal."""
        return color()

    def settings_of_any(self, module) -> dict[str, Any]:
        """The settings that some net of a file declares; what none does is refused."""
        from diffgraph.language.blocks import is_field, setting_names

        known = {name for net in module.nets for name in setting_names(module, net)}
        for name in self.assignments:
            if name not in known and not is_field(module, name):
                help = suggest(name, known) or (f"there are {', '.join(sorted(known))}" if known else None)
                raise error("DG230", f"no net of {module.source.name} has a setting `{name}`", help=help)
        return {name: value for name, value in self.assignments.items() if name in known}

    def split(self, module) -> tuple[dict[str, Any], dict[str, Any]]:
        """(settings of the net, fields of the train block) of what `--set` assigns: a name that the net declares is a
        setting. What is neither is left with the settings, which will be refused by name."""
        from diffgraph.language.blocks import is_field, setting_names

        if not self.assignments:
            return {}, {}
        known = setting_names(module, self.net, self.train)
        fields = {k: v for k, v in self.assignments.items() if k not in known and is_field(module, k)}
        return {k: v for k, v in self.assignments.items() if k not in fields}, fields

    def say_tuned(self, net) -> None:
        """Says on the error stream what tuning a `compiler.Net` or an artifact has found."""
        if not self.quiet:
            say_tuned(net)

    def emit(self, plain: Any, text: str | None = None) -> None:
        """Prints plain values as one JSON document where that is wanted, else a text, if there is one."""
        emit(plain, text, self.as_json)


def color() -> bool | None:
    """Whether to print colours: None is where the output is a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return False if os.environ.get("NO_COLOR") else None


def model_options(command):
    """The options of `Common`, given to a command as its argument `common`."""

    @wraps(command)
    def called(**options):
        names = ("net", "train", "weights", "fast", "tune", "threads", "seed", "as_json", "quiet")
        own = {name: options.pop(name) for name in names}
        target, precision = options.pop("target"), options.pop("precision")
        given = frozenset(n for n, v in {**own, "target": target, "precision": precision}.items() if v)
        own |= {"target": target or TARGET, "precision": precision or PRECISION}
        common = Common(assignments=read_assignments(options.pop("assignments")), given=given, **own)
        return command(common=common, **options)

    return _with(called, _OPTIONS + _OUTPUT)


def output_options(command):
    """`--json` and `--quiet`, for commands that are not about a model."""
    return _with(command, _OUTPUT)


def _with(command, options):
    for option in reversed(options):
        command = option(command)
    return command


def say_tuned(net) -> None:
    """Says on the error stream what tuning a `compiler.Net` or an artifact has found."""
    tuning = net.tuning
    if tuning is not None:
        better = [m.gain for m in tuning.found if m.is_news]
        best = f", up to {max(better):.2f} times as fast" if better else ""
        left = f"; {tuning.disturbed} left, as others use the processors" if tuning.disturbed else ""
        click.echo(f"tuned: {len(tuning.found)} choices measured, {len(better)} changed{best}{left}", err=True)


def emit(plain: Any, text: str | None, as_json: bool) -> None:
    """Prints plain values as one JSON document, or a text."""
    if as_json:
        click.echo(json.dumps(plain, indent=2, default=str))
    elif text is not None:
        click.echo(text)


def write_text(path: Path, text: str) -> None:
    """Writes a text, whole or not at all; folders on the way are made. DiffgraphError where it cannot be."""
    from diffgraph.interop.safetensors import write_or_fail

    write_or_fail(path, (text if text.endswith("\n") else f"{text}\n").encode())


def recorded(directory: Path) -> dict[str, Any]:
    """What the run in a directory was made with; nothing where no run is, or that is damaged."""
    from diffgraph.training.run_directory import SETTINGS

    try:
        found = json.loads((directory / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def all_files(named: tuple[Path, ...]) -> Iterator[Path]:
    """Each file once, those of a folder in the order of their names; hidden folders are left out."""
    found: dict[Path, None] = {}
    for path in named:
        if not path.is_dir():
            found[path] = None
            continue
        inside = sorted(p for p in path.rglob("*.net") if not any(part[0] == "." for part in p.relative_to(path).parts))
        if not inside:
            raise error("DG904", f"there is no .net file in {path}")
        found.update(dict.fromkeys(inside))
    yield from found


def read_assignments(assignments: tuple[str, ...], option: str = "--set") -> dict[str, str]:
    """`name=value` pairs as a dict of texts; values are expressions of the language, read where they are used."""
    pairs = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise error("DG901", f"`{option} {assignment}` is not of the form name=value", help=f"write {option} width=32")
        pairs[name.strip()] = value.strip()
    return pairs


def read_sizes(sizes: tuple[str, ...]) -> dict[str, int]:
    """`--size NAME=N`, for sizes that are open, as a dict."""
    found = {}
    for name, value in read_assignments(sizes, "--size").items():
        if not value.isdecimal() or int(value) < 1:
            raise error("DG945", f"`--size {name}={value}`: a size is a whole number of at least 1")
        found[name] = int(value)
    return found


def trained_as(weights, module, net: str | None, assignments: dict[str, str], block: str | None) -> tuple:
    """(net, settings, train block) of a net that takes weights: what the command says, and what the file of the weights
    says of the net that it was trained for where the command does not. A file from elsewhere says nothing."""
    import json

    from diffgraph.interop.safetensors import metadata
    from diffgraph.language.computing import computing
    from diffgraph.language.elaborate import net_value

    about = metadata(weights) if weights is not None else {}
    name, trained = about.get("net"), about.get("train")
    blocks = [b.name or b.net for b in module.trains if b.net == name]
    if name not in module.nets or net not in (None, name) or block not in (None, trained):
        return net, assignments, block
    if trained is not None and trained not in blocks:
        return net, assignments, block
    with computing(module):
        known = {s.name for s in net_value(module, name).declaration.settings}
    try:
        recorded = json.loads(about.get("settings", "{}"))
    except ValueError:
        recorded = {}
    recorded = {k: v for k, v in recorded.items() if k in known and isinstance(v, str)} if isinstance(recorded, dict) else {}
    return name, recorded | assignments, trained
