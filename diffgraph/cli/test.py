"""`diffgraph test`: the `expect` blocks."""

from __future__ import annotations

from pathlib import Path

import click

from diffgraph.cli.options import Common, all_files, model_options
from diffgraph.diagnostics import DiffgraphError, error


@click.command(name="test")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_options
def command(files: tuple[Path, ...], common: Common) -> int:
    """Check every claim of the `expect` blocks of FILES. A folder stands for the .net files in it. `--set` gives settings
    to the nets that the blocks are about; with --weights claims are about these instead of the initial parameters."""
    from diffgraph.inspect.expectations import verdicts
    from diffgraph.language.elaborate import refuse_unknown_net
    from diffgraph.language.module import load_module

    found = []
    problems: list[DiffgraphError] = []
    for path in all_files(files):
        try:
            module = load_module(path)
            if common.net is not None:
                refuse_unknown_net(module, common.net)
            for block, verdict in verdicts(module, _maker(module, common), common.net):
                found.append({"file": str(path), "net": block.net, "claim": verdict.text, "holds": verdict.holds,
                              "measured": verdict.measured, "line": verdict.span.line})  # fmt: skip
                if not common.as_json and not (common.quiet and verdict.holds):
                    mark = "ok  " if verdict.holds else "FAIL"
                    click.echo(f"{mark} {path}:{verdict.span.line} {block.net}: {verdict.text}   ({verdict.measured})")
        except DiffgraphError as problem:  # The other files are tested nevertheless.
            problems.append(problem)
    count, failed = len(found), sum(not one["holds"] for one in found)
    if problems:
        if count and not common.as_json:
            click.echo(f"{count - failed} of {count} claims hold")
        worst = max(problems, key=lambda problem: problem.status)
        raise type(worst)(*(d for problem in problems for d in problem.diagnostics))
    if not count:
        names = ", ".join(map(str, files))
        raise error("DG926", f"there is nothing to test: {names} expects nothing of {common.net or 'a net'}",
                    help="write what is expected: expect NET { parameters == 61706 }")  # fmt: skip
    common.emit(found, f"{count - failed} of {count} claims hold" if not common.quiet or failed else None)
    return 1 if failed else 0


def _maker(module, common: Common):
    """A function that makes the net that a block is about, with what the options say."""
    from diffgraph.compiler import net_of_block
    from diffgraph.language.blocks import setting_names

    options = {"target": common.target, "precision": common.precision, "threads": common.threads, "fast": common.fast}
    options |= {} if common.seed is None else {"seed": common.seed}
    given = common.settings_of_any(module)

    def make(block, **more):
        known = setting_names(module, block.net)
        settings = {name: value for name, value in given.items() if name in known}
        net = net_of_block(module, block, settings, **{**options, **more})
        if common.weights is not None:
            net.load(common.weights)
        return net

    return make
