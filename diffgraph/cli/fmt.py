"""`diffgraph fmt`: one canonical layout."""

from __future__ import annotations

import os
import tempfile
from difflib import unified_diff
from pathlib import Path

import click

from diffgraph.cli.options import all_files, emit, output_options
from diffgraph.diagnostics import DiffgraphError, Source


@click.command(name="fmt")
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True, path_type=Path))
@click.option("--check", is_flag=True, help="Change nothing; show what would change, and fail where something would.")
@output_options
def command(files: tuple[Path, ...], check: bool, as_json: bool, quiet: bool) -> int:
    """Give FILES the canonical layout; comments and meaning are kept. A folder stands for the .net files in it, `-` for
    the standard input, whose layout is printed."""
    from diffgraph.language.formatter import format_file
    from diffgraph.language.module import named_source

    changed: list[str] = []
    refused: list[DiffgraphError] = []
    count = 0
    for path in all_files(files):
        count += 1
        try:
            source = named_source(path)
            text = format_file(source)
        except DiffgraphError as problem:
            refused.append(problem)
            continue
        if check:
            if not quiet and not as_json:
                _show_changes(source, text)
        elif str(path) == "-":
            click.echo(text, nl=False)
        elif text != source.text:
            _replace(path, text)
            if not quiet and not as_json:
                click.echo(f"changed {path}")
        changed += [str(path)] if text != source.text else []
    if refused:
        raise DiffgraphError(*(d for problem in refused for d in problem.diagnostics))
    emit({"checked" if check else "formatted": count, "changed": changed}, None, as_json and [*map(str, files)] != ["-"])
    return 1 if check and changed else 0


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
