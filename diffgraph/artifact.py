"""What `diffgraph compile` leaves, and how it is run: a program that needs no longer the text it came from.

    program.net           the optimized inference program, as legal text of the language
    weights.safetensors   its parameters, states and tables
    compile.json          what was compiled, and what each name of the program means
    kernels.py            the generated source of its kernels, to be read

An artifact is checked as any text is: it can run no code, and reads nothing outside its directory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diffgraph.compiler import Net
from diffgraph.diagnostics import Source, error, suggest
from diffgraph.interop import safetensors, weight_files
from diffgraph.ir.dimension import symbols
from diffgraph.ir.program import Input, Output, Program, Table
from diffgraph.ir.text import shape_text, show
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.language.network import Network
from diffgraph.language.parser import read_source
from diffgraph.runtime import values
from diffgraph.runtime.executable import Executable, build
from diffgraph.runtime.measured import is_tunable
from diffgraph.runtime.storage import Storage
from diffgraph.training.weights import fit

#: Raised whenever the form of an artifact changes.
FORMAT = 1

PROGRAM, WEIGHTS, FACTS, KERNELS = "program.net", "weights.safetensors", "compile.json", "kernels.py"

#: Inputs that a caller gives, and those that a printed program has without declaring them.
_GIVEN = ("input", "target")
_UNDECLARED = ("step", "total_steps")


def is_artifact(path: Path) -> bool:
    """Whether a directory holds an artifact."""
    return (path / FACTS).is_file() and (path / PROGRAM).is_file()


def write_artifact(net: Net, directory: str | Path) -> dict[str, Any]:
    """Writes the artifact of a net, for inference; gives what is in `compile.json`. What was in the directory is
    overwritten."""
    directory = Path(directory)
    network = net.network()
    forward = net.forward([output.name for output in network.outputs])
    net.tuned(forward, {} if network.batch is None else {network.batch: 1}, prepare=True)
    program = net.optimized(forward)
    executable = build(program, net.target, net.precision, net.threads)
    text = show(program, network.name)
    again = _read(Source(PROGRAM, text)).program
    inputs = [i for i in program.inputs if not (i.role == "run" and i.path in _UNDECLARED)]
    facts = {
        "format": FORMAT,
        "net": network.name,
        "target": net.target,
        "precision": net.precision,
        "definitions": len(program.statements),
        "kernels": len(executable.kernels),
        "seed": net.seed,
        "parameters": int(sum(np.size(a) for a in net.parameters.values())),
        "inputs": {
            made.tensor.name: {"role": own.role, "path": _path(own), "shape": shape_text(own.tensor.shape)}
            for made, own in zip(again.inputs, inputs)
        },
        "outputs": {made.name: own.name for made, own in zip(again.outputs, program.outputs)},
    }
    arrays = {i.path: net.storage[i.path] for i in inputs if i.role in ("parameter", "state")}
    tables = {f"constant {_path(i)}": i.table.array for i in inputs if i.table is not None}
    directory.mkdir(parents=True, exist_ok=True)
    safetensors.write(directory / WEIGHTS, arrays | tables, {"format": "diffgraph", "net": network.name})
    for name, content in (
        (PROGRAM, text),
        (KERNELS, executable.listing()),
        (FACTS, json.dumps(facts, indent=2) + "\n"),
    ):
        safetensors.write_atomically(directory / name, content.encode())
    return facts


def inference_stage(net: Net, stage: str) -> str:
    """A stage of a net's inference program as text: forward, optimized or source."""
    network = net.network()
    program = net.forward([o.name for o in network.outputs])
    if stage == "forward":
        return show(program, network.name)
    if stage == "optimized":
        return show(net.optimized(program), network.name)
    if stage == "source":
        return build(net.optimized(program), net.target, net.precision, net.threads).listing()
    known = ("forward", "optimized", "source")
    raise error("DG920", f"compile has no stage `{stage}`", help=suggest(stage, known) or ", ".join(known))


def _path(given: Input) -> str:
    """What an input is called in an artifact; tables share a path or have none."""
    return given.path if given.table is None and given.path else given.tensor.name


def load_artifact(
    directory: str | Path, target: str | None = None, threads: int | None = None, tune: bool = False
) -> Artifact:
    """An artifact that runs: `load_artifact("lenet")(image = x)["probability"]`. target: that of compiling if None. tune:
    its kernels are measured in several ways first, for one sample."""
    return Artifact(Path(directory), target, threads, tune)


class Artifact:
    """A compiled program with its weights. Calling it runs inference; arrays are checked against the declared shapes
    and types, and any batch size runs."""

    def __init__(self, directory: Path, target: str | None = None, threads: int | None = None, tune: bool = False):
        self.facts = _facts(directory)
        self.precision: str = self.facts["precision"]
        self.sizes: dict[str, int] = {}
        self._network = _read(read_source(directory / PROGRAM))
        arrays, _ = safetensors.read(directory / WEIGHTS)
        program = _with_roles(self._network.program, self.facts, arrays, directory)
        target = target or self.facts["target"]
        self.tuning = _tuned(program, self.precision, threads) if tune and is_tunable(target) else None
        self.executable: Executable = build(program, target, self.precision, threads)
        self.storage = self._stored(arrays, str(directory / WEIGHTS))
        self.executable.bind(self.storage)

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs by name, with their shapes: `{"image": "[N, 1, 28, 28]"}`."""
        return {given["path"]: given["shape"] for given in self.facts["inputs"].values() if given["role"] in _GIVEN}

    def network(self) -> Network:
        """The program as a net of its own: its inputs are those that are given with each call."""
        known = self.facts["inputs"]
        ports = tuple(
            replace(port, name=known[port.name]["path"])
            for port in self._network.inputs
            if known[port.name]["role"] in _GIVEN
        )
        return replace(self._network, inputs=ports)

    def set_sizes(self, sizes: Mapping[str, int]) -> None:
        """Sizes follow from the arrays of each call."""

    def load(self, weights: str | Path) -> None:
        """Takes the parameters and states of a file that another training of the same net has left. What is not of the
        artifact (folded away, or for resuming) is passed over."""
        arrays = weight_files.read(weights)
        known = {path: array for path, array in arrays.items() if path in self.storage}
        for path, array in fit(known, self.storage, str(weights)).items():
            self.storage[path][...] = array

    def __call__(self, **inputs) -> dict[str, np.ndarray]:
        """The outputs by name."""
        known = self.inputs
        for name in inputs:
            if name not in known:
                raise values.unknown(name, known)
        given = {name: array for name, array in inputs.items() if name in self.executable.given}
        if "seed" in self.executable.given:
            given["seed"] = np.int64(self.facts["seed"])
        return self.executable.run(given)

    def __repr__(self) -> str:
        ports = ", ".join(name + shape for name, shape in self.inputs.items())
        return f"<compiled {self.facts['net']}({ports}): {self.facts['parameters']:,} parameters>"

    def _stored(self, arrays: Mapping[str, np.ndarray], file: str) -> Storage:
        """The memory of parameters and states, filled from the file."""
        wanted = {path: i for path, i in self.executable.stored.items() if i.role in ("parameter", "state")}
        types = values.DTYPES[self.precision]
        memory = {path: np.empty(i.tensor.shape, types[i.tensor.kind]) for path, i in wanted.items()}
        for path, array in fit({path: a for path, a in arrays.items() if path in memory}, memory, file).items():
            memory[path][...] = array
        return Storage.of(memory)


def _read(source: Source) -> Network:
    module = load_text(source.text, source.name)
    if len(module.nets) != 1:
        raise error("DG930", f"{source.name} holds {len(module.nets)} nets; the program of an artifact is one")
    return elaborate(module, next(iter(module.nets)), {})


def _tuned(program: Program, precision: str, threads: int | None):
    """What has measured the kernels of a program for one sample."""
    from diffgraph.runtime.tune import Tuning

    tuning = Tuning.on_this_machine(precision, threads)
    open_sizes = {s for i in program.inputs for extent in i.tensor.shape for s in symbols(extent)}
    tuning.kernels(program, dict.fromkeys(open_sizes, 1), prepare=True)
    return tuning


def _facts(directory: Path) -> dict[str, Any]:
    try:
        facts = json.loads((directory / FACTS).read_text(encoding="utf-8"))
    except OSError:
        help = f"diffgraph compile model.net -o {directory}"
        raise error("DG931", f"there is no artifact in {directory}", help=help) from None
    except ValueError as problem:
        raise error("DG932", f"{directory / FACTS} is damaged: {problem}") from None
    known = isinstance(facts, dict) and facts.get("format")
    needed = ("net", "target", "precision", "seed", "parameters", "inputs", "outputs")
    if known != FORMAT or not all(name in facts for name in needed):
        raise error("DG932", f"{directory / FACTS} is of another version", help="compile the net again")
    return facts


def _with_roles(program: Program, facts: Mapping, arrays: Mapping[str, np.ndarray], directory: Path) -> Program:
    """The program with its inputs as they were before it was printed, its outputs by the names of the net."""
    inputs = []
    for given in program.inputs:
        known = facts["inputs"].get(given.tensor.name)
        if known is None:
            if given.role != "run":
                raise error("DG932", f"{directory} does not say what `{given.tensor.name}` is", given.span)
            inputs.append(given)
            continue
        role, path = known["role"], known["path"]
        table = arrays.get(f"constant {path}") if role == "constant" else None
        if role == "constant" and table is None:
            raise error("DG932", f"{directory / WEIGHTS} has no table `{path}`")
        inputs.append(replace(given, role=role, path=path, table=None if table is None else Table(table)))
    names = facts["outputs"]
    outputs = tuple(Output(names.get(output.name, output.name), output.tensor) for output in program.outputs)
    return program.with_(inputs=tuple(inputs), outputs=outputs)
