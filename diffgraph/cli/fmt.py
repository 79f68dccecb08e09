"""`diffgraph fmt`: one canonical layout."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click


@click.command(name="fmt")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Change nothing; fail where a file would change.")
def command(files: tuple[Path, ...], check: bool) -> int:
    """Give FILES the canonical layout. Comments and meaning are kept."""
    from diffgraph.language.formatter import format_file
    from diffgraph.language.parser import read_source

    changed = []
    for path in files:
        source = read_source(path)
        text = format_file(source)
        if text == source.text:
            continue
        changed.append(path)
        if not check:
            _replace(path, text)
        click.echo(f"{'would change' if check else 'changed'} {path}")
    return 1 if check and changed else 0


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
