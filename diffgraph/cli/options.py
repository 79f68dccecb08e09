"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import click

from diffgraph.diagnostics import error


def model_options(command):
    """`--net`, `--set`, `--target`, `--precision`, `--fast`, `--threads`, `--seed`, `--json`, `--quiet`."""
    options = [
        click.option("--net", "net_name", metavar="NAME", help="Which net, where the file has several."),
        click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="A setting of the net."),
        click.option("--target", type=click.Choice(["cpu", "cuda", "reference"]), default="cpu", show_default=True),
        click.option("--precision", type=click.Choice(["f32", "f64", "tf32", "bf16"]), default="f32", show_default=True,
                     help="Of floats; tf32 and bf16 (cuda): of the factors of products only."),
        click.option("--fast", is_flag=True, help="Faster sums, whose relative error in f32 may be 1e-5 instead of 1e-6."),
        click.option("--threads", type=click.IntRange(1), help="How many threads; all cores by default."),
        click.option("--seed", type=int, help="The seed of initial values and draws."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--quiet", is_flag=True, help="Print results only."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def tune_option(command):
    """`--tune`, of commands that compile what they run."""
    what = "Measure kernels in several ways first; what is found is kept for every later compilation."
    return click.option("--tune", is_flag=True, help=what)(command)


def say_tuned(net) -> None:
    """Says on the error stream what tuning a `compiler.Net` or an artifact has found."""
    tuning = net.tuning
    if tuning is not None:
        better = [m.gain for m in tuning.found if m.is_news]
        best = f", up to {max(better):.2f} times as fast" if better else ""
        left = f"; {tuning.disturbed} left, as others use the processors" if tuning.disturbed else ""
        click.echo(f"tuned: {len(tuning.found)} choices measured, {len(better)} changed{best}{left}", err=True)


def read_assignments(assignments: tuple[str, ...], option: str = "--set") -> dict[str, str]:
    """`name=value` pairs as a dict of texts; values are expressions of the language, read where they are used."""
    pairs = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise error("DG901", f"`{option} {assignment}` is not of the form name=value", help=f"write {option} width=32")
        pairs[name.strip()] = value.strip()
    return pairs


def read_sizes(sizes: tuple[str, ...]) -> dict[str, int]:
    """`--size NAME=N`, for sizes that are open, as a dict."""
    found = {}
    for name, value in read_assignments(sizes, "--size").items():
        if not value.isdecimal() or int(value) < 1:
            raise error("DG945", f"`--size {name}={value}`: a size is a whole number of at least 1")
        found[name] = int(value)
    return found


def trained_as(weights, module, net: str | None, assignments: dict[str, str], block: str | None) -> tuple:
    """(net, settings, train block) of a net that takes weights: what the command says, and what the file of the weights
    says of the net that it was trained for where the command does not. A file from elsewhere says nothing."""
    import json

    from diffgraph.interop.safetensors import metadata
    from diffgraph.language.computing import computing
    from diffgraph.language.elaborate import net_value

    about = metadata(weights) if weights is not None else {}
    name, trained = about.get("net"), about.get("train")
    blocks = [b.name or b.net for b in module.trains if b.net == name]
    if name not in module.nets or net not in (None, name) or block not in (None, trained):
        return net, assignments, block
    if trained is not None and trained not in blocks:
        return net, assignments, block
    with computing(module):
        known = {s.name for s in net_value(module, name).declaration.settings}
    try:
        recorded = json.loads(about.get("settings", "{}"))
    except ValueError:
        recorded = {}
    recorded = {k: v for k, v in recorded.items() if k in known and isinstance(v, str)} if isinstance(recorded, dict) else {}
    return name, recorded | assignments, trained
