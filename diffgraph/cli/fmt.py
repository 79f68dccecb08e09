"""`diffgraph fmt`: one canonical layout."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

import click

from diffgraph.diagnostics import DiffgraphError, Source, error


@click.command(name="fmt")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True, path_type=Path))
@click.option("--check", is_flag=True, help="Change nothing; show what would change, and fail where something would.")
def command(files: tuple[Path, ...], check: bool) -> int:
    """Give FILES the canonical layout; comments and meaning are kept. A folder stands for the .net files in it, `-` for
    the standard input, whose layout is printed."""
    from diffgraph.language.formatter import format_file

    changed = False
    refused: list[DiffgraphError] = []
    for path in _all_files(files):
        try:
            source = _read(path)
            text = format_file(source)
        except DiffgraphError as problem:
            refused.append(problem)
            continue
        if check:
            _show_changes(source, text)
        elif str(path) == "-":
            click.echo(text, nl=False)
        elif text != source.text:
            _replace(path, text)
            click.echo(f"changed {path}")
        changed |= text != source.text
    if refused:
        raise DiffgraphError(*(d for problem in refused for d in problem.diagnostics))
    return 1 if check and changed else 0


def _all_files(named: tuple[Path, ...]) -> Iterator[Path]:
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


def _read(path: Path) -> Source:
    from diffgraph.language.parser import read_source

    return Source("<stdin>", sys.stdin.read()) if str(path) == "-" else read_source(path)


def _show_changes(source: Source, text: str) -> None:
    lines = (source.text.splitlines(), text.splitlines())
    diff = "\n".join(unified_diff(*lines, source.name, f"{source.name} as laid out", lineterm=""))
    if diff:
        click.echo(diff)
    elif text != source.text:
        click.echo(f"{source.name}: only its line ends would change")


def _replace(path: Path, text: str) -> None:
    """Writes through a temporary file beside it, so that an interruption never leaves half a model."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(name, path.stat().st_mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
