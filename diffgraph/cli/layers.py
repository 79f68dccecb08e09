"""`diffgraph layers`: the catalogue of the standard library, from its own comments."""

from __future__ import annotations

from collections.abc import Iterator

import click

from diffgraph.cli.options import emit, output_options
from diffgraph.diagnostics import error

_TITLES = {
    "core": "core: what the library is made of",
    "data": "data: sources of train blocks",
    "vision": 'vision: from "std/vision.net" import ...',
}


@click.command(name="layers")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@output_options
def command(names: tuple[str, ...], as_json: bool, quiet: bool) -> int:
    """List the standard library, or show NAME: signature, what it does, formula, settings, parameters, an example.
    `--quiet` lists the names only."""
    from diffgraph.inspect.catalogue import catalogue
    from diffgraph.language.meant import meant

    entries = catalogue()
    if not names:
        text = "\n".join(entries if quiet else _list(entries.values())).lstrip("\n")
        emit([e.as_json() for e in entries.values()], text, as_json)
        return 0
    for name in names:
        if name not in entries:
            raise error("DG910", f"the standard library has no `{name}`", help=meant(name, entries))
    shown = [entries[name] for name in names]
    plain = [e.as_json() for e in shown]
    emit(plain[0] if len(plain) == 1 else plain, "\n\n".join(e.text() for e in shown), as_json)
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
