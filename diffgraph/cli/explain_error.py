"""`diffgraph explain-error`: what a code means, with an example."""

from __future__ import annotations

import json

import click

from diffgraph.diagnostics import error, suggest


@click.command(name="explain-error")
@click.argument("code", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(code: str | None, as_json: bool) -> int:
    """Explain CODE, such as DG301: what it means, an example, and its repaired version. Without CODE list all."""
    from diffgraph.diagnostics.catalogue import explanations

    known = explanations()
    if code is None:
        everything = json.dumps([e.as_json() for e in known.values()], indent=2)
        click.echo(everything if as_json else "\n".join(f"{e.code}  {e.title}" for e in known.values()))
        return 0
    wanted = code.upper() if code.upper().startswith("DG") else f"DG{code}"
    if wanted not in known:
        alike = [c for c in known if c.startswith(wanted)]
        near = suggest(wanted, alike or known)
        help = f"{f'{near} ' if near else ''}`diffgraph explain-error` lists all codes"
        raise error("DG911", f"there is no error `{code}`", help=help)
    click.echo(json.dumps(known[wanted].as_json(), indent=2) if as_json else known[wanted].render())
    return 0
