"""`diffgraph test`: the `expect` blocks."""

from __future__ import annotations

import json
from pathlib import Path

import click

from diffgraph.cli.options import model_options
from diffgraph.diagnostics import error


@click.command(name="test")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_options
def command(files, net_name, target, precision, fast, threads, as_json, quiet, **_) -> int:
    """Check every claim of the `expect` blocks of FILES."""
    from diffgraph.compiler import net_of_block
    from diffgraph.inspect.expectations import verdicts
    from diffgraph.language.elaborate import refuse_unknown_net
    from diffgraph.language.module import load_module

    failed = count = 0
    found = []
    for path in files:
        module = load_module(path)
        if net_name is not None:
            refuse_unknown_net(module, net_name)

        def make(block, module=module, **options):
            return net_of_block(
                module,
                block,
                **{"target": target, "precision": precision, "threads": threads, "fast": fast, **options},
            )

        for block, verdict in verdicts(module, make, net_name):
            count += 1
            failed += not verdict.holds
            found.append({"file": str(path), "net": block.net, "claim": verdict.text, "holds": verdict.holds,
                          "measured": verdict.measured, "line": verdict.span.line})  # fmt: skip
            if not as_json and not (quiet and verdict.holds):
                mark = "ok  " if verdict.holds else "FAIL"
                click.echo(f"{mark} {path}:{verdict.span.line} {block.net}: {verdict.text}   ({verdict.measured})")
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif count and (not quiet or failed):
        click.echo(f"{count - failed} of {count} claims hold")
    if not count:
        names = ", ".join(map(str, files))
        raise error("DG926", f"there is nothing to test: {names} expects nothing of {net_name or 'a net'}",
                    help="write what is expected: expect NET { parameters == 61706 }")  # fmt: skip
    return 1 if failed else 0
