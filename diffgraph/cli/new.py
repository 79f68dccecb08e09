"""`diffgraph new`: a model file to start from."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import click

from diffgraph.cli.options import emit, output_options
from diffgraph.diagnostics import error

#: What there is in `templates/`, the usual one first.
TEMPLATES = ("classifier", "convolution", "sequence", "regression", "parameters")


@click.command(name="new")
@click.argument("name")
@click.option("--template", type=click.Choice(TEMPLATES), default=TEMPLATES[0], show_default=True, help="What to start from.")
@output_options
def command(name: str, template: str, as_json: bool, quiet: bool) -> int:
    """Write NAME.net: a small network that trains at once, to be changed into yours."""
    path = Path(name if name.endswith(".net") else f"{name}.net")
    identifier = re.sub(r"\W", "_", path.stem)
    if not identifier or identifier[0].isdigit():
        raise error("DG902", f"`{path.stem}` cannot name a net", help="start with a letter: `diffgraph new my_model`")
    text = files("diffgraph.cli").joinpath("templates", f"{template}.net").read_text(encoding="utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(text.replace("NAME", identifier).replace("FILE", str(path)))
    except FileExistsError:
        raise error("DG903", f"{path} exists already", help="choose another name, or remove the file first") from None
    said = f"wrote {path}; now: diffgraph train {path}"
    emit({"file": str(path), "net": identifier, "template": template}, None if quiet else said, as_json)
    return 0
