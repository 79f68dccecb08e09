"""`diffgraph layers`: the catalogue of the standard library, from its own comments."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from diffgraph.diagnostics import error

_TITLES = {
    "core": "core: what the library is made of",
    "data": "data: sources of train blocks",
    "vision": 'vision: from "std/vision.net" import ...',
}


@click.command(name="layers")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str | None, as_json: bool) -> int:
    """List the standard library, or show NAME: signature, what it does, formula, settings, parameters, an example."""
    from diffgraph.inspect.catalogue import catalogue
    from diffgraph.language.meant import meant

    entries = catalogue()
    if name is None:
        shown = [e.as_json() for e in entries.values()]
        click.echo(json.dumps(shown, indent=2) if as_json else "\n".join(_list(entries.values())).lstrip("\n"))
        return 0
    if name not in entries:
        raise error("DG910", f"the standard library has no `{name}`", help=meant(name, entries))
    click.echo(json.dumps(entries[name].as_json(), indent=2) if as_json else entries[name].text())
    return 0


def _list(entries) -> Iterator[str]:
    """A line for each entry that has an example, by theme; then the names of what the library itself uses."""
    themes: dict[str, list] = {}
    for entry in entries:
        themes.setdefault(entry.theme.split("/")[0], []).append(entry)
    for theme, members in themes.items():
        yield from ("", _TITLES.get(theme, theme))
        shown = [e for e in members if e.examples or e.kind == "net"]
        width = max((len(e.name) for e in shown), default=0)
        yield from (f"  {e.name:{width}}  {e.summary}" for e in shown)
        inner = [e.name for e in members if e not in shown]
        if inner:
            yield f"  used inside: {', '.join(inner)}"
