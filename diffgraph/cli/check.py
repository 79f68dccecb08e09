"""`diffgraph check`: every problem of every file."""

from __future__ import annotations

from pathlib import Path

import click

from diffgraph.cli.options import Common, all_files, model_options


@click.command(name="check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_options
def command(files: tuple[Path, ...], common: Common) -> int:
    """Parse and check FILES: names, shapes, every net in both modes, train and expect blocks. A folder stands for the
    .net files in it, `-` for the standard input."""
    from diffgraph.inspect.check import check_file

    reports = [check_file(path, common.net, common.settings_of_any) for path in all_files(files)]
    common.emit([r.as_json() for r in reports])
    for report in reports if not common.as_json else ():
        for problem in report.problems:
            click.echo(problem.render(color=True) + "\n", err=True, color=common.color)
        for line in report.facts if not common.quiet and not report.failed else ():
            click.echo(line)
        if report.problems:
            count = len(report.problems)
            click.echo(f"{report.path}: {count} problem{'s' if count > 1 else ''}", err=True)
        elif not common.quiet:
            click.echo(f"{report.path}: ok")
    return 2 if any(r.failed for r in reports) else 0
