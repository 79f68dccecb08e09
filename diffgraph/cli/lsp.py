"""`diffgraph lsp`: the language server."""

from __future__ import annotations

from importlib.util import find_spec

import click

from diffgraph.diagnostics import error


@click.command(name="lsp")
@click.option("--tcp", type=int, metavar="PORT", help="Listen on this port, not on standard input.")
@click.option("--stdio", is_flag=True, help="Listen on standard input, as without --tcp; some editors say so.")
def command(tcp: int | None, stdio: bool) -> int:
    """Serve an editor: problems as you type, hover, completion, definitions, symbols, layout."""
    if find_spec("pygls") is None:
        raise error("DG906", "the language server needs pygls", help="pip install 'diffgraph[lsp]'")
    from diffgraph.editors.server import make_server

    if tcp is None:
        make_server().start_io()
    else:
        make_server().start_tcp("127.0.0.1", tcp)
    return 0
