"""`diffgraph explain-error`: what a code means, with an example."""

from __future__ import annotations

import click

from diffgraph.cli.options import emit, output_options
from diffgraph.diagnostics import error, suggest


@click.command(name="explain-error")
@click.argument("code", required=False)
@output_options
def command(code: str | None, as_json: bool, quiet: bool) -> int:
    """Explain CODE, such as DG301: what it means, an example, and its repaired version. Without CODE list all."""
    from diffgraph.diagnostics.catalogue import explanations

    known = explanations()
    if code is None:
        text = "\n".join(e.code if quiet else f"{e.code}  {e.title}" for e in known.values())
        emit([e.as_json() for e in known.values()], text, as_json)
        return 0
    wanted = code.upper() if code.upper().startswith("DG") else f"DG{code}"
    if wanted not in known:
        alike = [c for c in known if c.startswith(wanted)]
        near = suggest(wanted, alike or known)
        help = f"{f'{near} ' if near else ''}`diffgraph explain-error` lists all codes"
        raise error("DG911", f"there is no error `{code}`", help=help)
    emit(known[wanted].as_json(), known[wanted].render(), as_json)
    return 0
