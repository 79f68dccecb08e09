"""`diffgraph check`: every problem of every file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from diffgraph.cli.options import model_options, read_assignments


@click.command(name="check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_options
def command(files, net_name, assignments, as_json, quiet, **_) -> int:
    """Parse and check FILES: names, shapes, every net in both modes, train and expect blocks."""
    from diffgraph.inspect.check import check_file

    reports = [check_file(path, net_name, read_assignments(assignments)) for path in files]
    if as_json:
        click.echo(json.dumps([r.as_json() for r in reports], indent=2))
    for report in reports if not as_json else ():
        for problem in report.problems:
            click.echo(problem.render(color=True) + "\n", err=True)
        for line in report.facts if not quiet and not report.failed else ():
            click.echo(line)
        if report.problems:
            count = len(report.problems)
            click.echo(f"{report.path}: {count} problem{'s' if count > 1 else ''}", err=True)
        elif not quiet:
            click.echo(f"{report.path}: ok")
    return 2 if any(r.failed for r in reports) else 0
