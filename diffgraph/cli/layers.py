"""`diffgraph layers`: the catalogue of the standard library, from its own comments."""

from __future__ import annotations

import json

import click

from diffgraph.diagnostics import error, suggest


@click.command(name="layers")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str | None, as_json: bool) -> int:
    """List the standard library, or show NAME: signature, what it does, formula, parameters, an example."""
    from diffgraph.inspect.catalogue import catalogue

    entries = catalogue()
    if name is None:
        click.echo(json.dumps([e.as_json() for e in entries.values()], indent=2) if as_json else _list(entries))
        return 0
    if name not in entries:
        raise error("DG910", f"the standard library has no `{name}`", help=suggest(name, entries))
    click.echo(json.dumps(entries[name].as_json(), indent=2) if as_json else entries[name].text())
    return 0


def _list(entries) -> str:
    lines = []
    theme = None
    width = max(len(e.name) for e in entries.values())
    for entry in entries.values():
        if entry.theme != theme:
            theme = entry.theme
            lines += ["", theme]
        lines.append(f"  {entry.name:{width}}  {entry.summary}")
    return "\n".join(lines).lstrip("\n")
