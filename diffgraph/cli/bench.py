"""`diffgraph bench`: time and memory of a step, layer by layer, beside the machine's limits and beside others."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from diffgraph.cli.options import Common, model_options, read_sizes
from diffgraph.diagnostics import error


@click.command(name="bench")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--mode", type=click.Choice(["inference", "training", "both"]), default="both", show_default=True)
@click.option("--batch", type=click.IntRange(1), help="Samples in a batch; that of the train block by default.")
@click.option(
    "--size", "open_sizes", multiple=True, metavar="NAME=N", help="A size that the net leaves open (else 32)."
)
@click.option("--steps", type=click.IntRange(1), help="How many steps are timed; as many as take a second by default.")
@click.option("--kernels", type=click.IntRange(0), default=12, show_default=True, help="How many kernels are listed.")
@click.option("--against", "peers", multiple=True, metavar="PEER",
              help="What to compare with: onnxruntime, for inference; FILE.py:FUNCTION, a program of any library; or a "
              "name such as torch, which means the function of the net's name in MODEL_torch.py beside MODEL.net.")  # fmt: skip
@click.option("--memory", metavar="AMOUNT", help="Fit a step of training into this much memory: 2GiB.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Turns of each peer.")
@model_options
def command(
    file: Path, mode: str, batch: int | None, open_sizes: tuple[str, ...], steps: int | None, kernels: int,
    peers: tuple[str, ...], memory: str | None, rounds: int, common: Common,
) -> int:  # fmt: skip
    """Time and memory of a step of FILE's net, on random inputs: of its layers and kernels, and how much of the
    machine's measured limit that is.

    A peer is a function in a Python file. It gets a case (case.mode, case.inputs, case.parameters by path,
    case.threads) and gives a function that makes one step and returns the outputs (an array, or a dict by name) or the
    loss. Each side runs in a process of its own; they take turns.
    """
    from diffgraph.inspect import bench
    from diffgraph.inspect.turns import Effort, available_threads
    from diffgraph.runtime.limits import measure

    if common.target not in ("cpu", "cuda"):
        raise error("DG940", f"programs for the target {common.target} cannot be timed yet", help="leave --target out")
    threads = common.threads or available_threads()
    make = partial(common.load, file, threads=threads, memory=memory)
    sizes = read_sizes(open_sizes)
    net = make()
    against = [_peer(peer, file, net.declared.name) for text in peers for peer in text.split(",")]
    limits = measure(threads, common.precision) if common.target == "cpu" else None
    modes = (bench.INFERENCE, bench.TRAINING) if mode == "both" else (mode,)
    found = []
    for work in bench.works(net, batch, sizes, modes):
        limits = limits or bench.limits_of(work, common.precision)
        results = ()
        if against:
            results = bench.against(make, batch, sizes, work.mode, threads, against, Effort(rounds))
        found.append(bench.bench(work, limits, common.precision, steps, results))
        if not common.as_json:
            click.echo(bench.text(net.declared.name, found[-1], 0 if common.quiet else kernels))
    common.say_tuned(net)
    if not found:
        raise error("DG944", f"`{net.declared.name}` has nothing to run in this mode: no output, or no loss")
    machine = {"threads": threads, "flops": limits.flops, "bandwidth": limits.bandwidth}
    whole = {"net": net.declared.name, "precision": common.precision, "machine": machine}
    common.emit({**whole, "modes": [m.as_json() for m in found]})
    return 1 if any(r.agrees is False or r.error for m in found for r in m.peers) else 0


def _peer(peer: str, file: Path, net: str):
    """What to compare with, by the name that was given."""
    from diffgraph.inspect.bench import INFERENCE, Peer, peer_of
    from diffgraph.interop.onnx import running

    if peer == running.NAME:
        running.require()
        return Peer(running.NAME, running.step_of, (INFERENCE,))
    path, colon, function = peer.rpartition(":")
    if not colon:
        path, function = str(file.with_name(f"{file.stem}_{peer}.py")), net
    if not Path(path).is_file():
        raise error(
            "DG943", f"there is no file {path} to compare with",
            help=f"write the net there as a function `{function}`, or name another file: --against FILE.py:FUNCTION",
        )  # fmt: skip
    return peer_of(Path(path).resolve(), function)
