"""The whole way of a program, on one screen, and the Python interface to it.

    text -> module -> network (layers, program) -> gradients -> passes -> executable

`Compiler` goes that way and remembers what it has made; `Net` is a compiler with parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffgraph.diagnostics import error, suggest
from diffgraph.interop import pytorch, safetensors
from diffgraph.ir.program import Builder, Output, Program
from diffgraph.language.blocks import TrainPlan, train_block
from diffgraph.language.computing import computing
from diffgraph.language.elaborate import elaborate
from diffgraph.language.evaluate import arguments_of
from diffgraph.language.limits import limits
from diffgraph.language.module import Module, load_module, load_text
from diffgraph.language.network import Network
from diffgraph.passes.choices import FILTERING
from diffgraph.passes.select import select
from diffgraph.runtime import values
from diffgraph.runtime.amounts import bytes_of_text
from diffgraph.runtime.executable import Executable, build
from diffgraph.runtime.kept import LARGE, kept
from diffgraph.runtime.measured import choices_for, is_tunable
from diffgraph.runtime.storage import Storage
from diffgraph.runtime.variants import BySamples, is_many
from diffgraph.training import loop
from diffgraph.training.assembly import assemble, dataset_of, samples_of
from diffgraph.training.checkpoint import is_resume_name
from diffgraph.training.evaluation import Evaluation
from diffgraph.training.initial import initial_values
from diffgraph.training.progress import Progress
from diffgraph.training.run_directory import LAST, RunDirectory
from diffgraph.training.variables import Variables
from diffgraph.training.weights import fit, origin

if TYPE_CHECKING:
    from diffgraph.runtime.tune import Tuning


class Compiler:
    """From a module to executables, for one net with its settings. Every stage is made once and kept.

    sizes: values of the symbols other than the batch; the shapes of the first arrays decide them.
    """

    def __init__(
        self, module: Module, net: str | None, settings: Mapping[str, Any], target: str, precision: str, threads,
        positional: tuple = (), memory: str | int | None = None, fast: bool = False, tune: bool = False,
    ):  # fmt: skip
        self.positional = positional
        self.fast = fast
        self.tune = tune and is_tunable(target)
        #: What has tuned programs, if something was.
        self.tuning: Tuning | None = None
        self.memory = None if memory is None else bytes_of_text(memory)
        self.module = module
        self.net = net
        self.settings = dict(settings)
        self.target = target
        self.precision = precision
        self.threads = threads
        self.sizes: dict[str, int] = {}
        self._made: dict[tuple, Any] = {}

    def network(self, training: bool = False) -> Network:
        """The layer graph and its program, in one mode."""
        return self._once(("network", training), lambda: self._elaborated(training))

    def _elaborated(self, training: bool) -> Network:
        arguments = (self.net, self.settings, training, self.sizes, self.positional)

        def make() -> Network:
            return elaborate(self.module, *arguments)

        texts = self.module.texts
        if texts is None:
            return make()
        is_large = lambda network: len(network.program.statements) >= LARGE  # noqa: E731
        return kept().recall("network", (texts, limits(), *arguments), make, is_large)

    @cached_property
    def declared(self) -> Network:
        """The net as it is written, symbols other than the batch open: what arrays are compared with."""
        if not self.sizes:
            return self.network()
        return elaborate(self.module, self.net, self.settings, False, {}, self.positional)

    def forward(self, outputs: Sequence[str], training: bool = False) -> Program:
        """The program of some outputs, losses or metrics."""
        return select(self.network(training).program, outputs)

    def gradient(self, wrt: Sequence[str], training: bool = True) -> Program:
        """The program that gives the losses, and by path the gradient of their sum by parameters and inputs.

        A loss with a scope reaches the parameters under it only. Paths that no loss depends on get no output.
        """
        from diffgraph.autodiff.differentiate import gradients

        network = self.network(training)
        builder = Builder(select(network.program, [term.name for term in network.losses]))
        tensors = {i.path: i.tensor.name for i in network.program.inputs}
        groups: dict[tuple[str, ...], list[str]] = {}
        for path in wrt:
            reached = tuple(t.tensor for t in network.losses if t.scope is None or _is_under(path, t.scope))
            groups.setdefault(reached, []).append(path)
        for losses, paths in groups.items():
            there = [p for p in paths if tensors[p] in builder.tensors]
            found = gradients(builder, [(loss, None) for loss in losses], [tensors[p] for p in there]) if losses else {}
            builder.outputs += [Output(p, found[tensors[p]]) for p in there if found.get(tensors[p])]
        return builder.program()

    def executable(
        self, program: Program, sizes: Mapping[str, int] | None = None, prepare: bool = True,
        usual: Mapping[str, int] | None = None,
    ) -> Executable:  # fmt: skip
        """The program after the passes, as something that runs. The reference target runs it as it is. Where memory is
        limited, a step for these sizes (the batch among them) fits into it, or an error says by how much it does not.
        prepare: see `build`. usual: the sizes that it is tuned for, if it is; by default the same."""
        self.tuned(program, {**(sizes or {}), **(usual or {})}, prepare)
        make = partial(build, target=self.target, precision=self.precision, threads=self.threads, prepare=prepare)
        few, many = self.variants(program)
        if few is not many and not sizes:
            return BySamples(few, many, self.network().batch, self.precision, make)
        optimized = many if few is not many and is_many(sizes.get(self.network().batch)) else few
        if self.memory is not None and sizes is not None and self.target != "reference":
            from diffgraph.runtime.fit import fit

            optimized = fit(optimized, {**self.sizes, **sizes}, self.memory, self.precision)
        return make(optimized)

    def tuned(self, program: Program, sizes: Mapping[str, int], prepare: bool) -> None:
        """Measures, if it shall, what the cost model is not sure of in a program, for all that is compiled later to go by."""
        if not self.tune:
            return
        from diffgraph.runtime.tune import Tuning

        self.tuning = self.tuning or Tuning.on_this_machine(self.precision, self.threads)
        self.tuning.program(program, {**self.sizes, **sizes}, self.fast, prepare, self.network().batch)

    def optimized(self, program: Program) -> Program:
        """The program after the passes of the target, for a few samples."""
        return self.variants(program)[0]

    def variants(self, program: Program) -> tuple[Program, Program]:
        """The program after the passes of the target, for a few samples and for many; often the same."""
        if self.target == "reference":
            return program, program

        def make() -> tuple[Program, Program]:
            from diffgraph.passes.pipeline import variants

            return variants(program, self.target, self.fast, choices)

        choices = choices_for(self.target, self.precision).only((FILTERING,))
        of = (program, self.target, self.fast, choices)
        return kept().recall("passes", of, make, lambda made: len(program.statements) >= LARGE)

    def initial(self, seed: int) -> dict[str, np.ndarray]:
        """The initial values of parameters and states by path, in the program's precision."""
        self.room()
        return initial_values(self.network(True).initial, seed, self.precision)

    def room(self) -> dict[str, np.ndarray]:
        """For each parameter and state by path an array of its shape and type that takes no memory and holds nothing."""
        network = self.network(True)
        found = {}
        for variable in (*network.parameters, *network.states):
            for size in variable.tensor.shape:
                if not isinstance(size, int):
                    text = f"`{variable.path}` depends on `{size}`, which is not known before the net has seen data"
                    raise error("DG765", text, variable.span, help="run the net on arrays first, or declare the size")
            zero = np.zeros((), values.DTYPES[self.precision][variable.tensor.kind])
            found[variable.path] = np.broadcast_to(zero, variable.tensor.shape)
        return found

    def fix(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Fixes the symbols other than the batch by the shapes of arrays; what was made for other sizes is dropped."""
        network = self.declared
        if not set(network.symbols) - {network.batch}:
            return
        given = {i.path: i for i in network.program.inputs}
        found = values.solve([(given[name], np.shape(a)) for name, a in arrays.items() if name in given])
        found.pop(network.batch, None)
        self.set_sizes({**self.sizes, **found})

    def set_sizes(self, sizes: Mapping[str, int]) -> None:
        """Fixes symbols to sizes."""
        if dict(sizes) != self.sizes:
            self.sizes = dict(sizes)
            self._made.clear()

    def _once(self, key: tuple, make):
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def _is_under(path: str, scope: str) -> bool:
    return path == scope or path.startswith(f"{scope}.")


class Net(Compiler):
    """A net with its parameters: what `load` gives.

    Calling it runs inference: `net(image=x)` gives a dict of outputs by name. Arrays are checked against the declared
    shapes and types; any batch size runs without compiling again.
    """

    def __init__(
        self,
        module: Module,
        net: str | None = None,
        settings: Mapping[str, Any] | None = None,
        train: str | None = None,
        target: str = "cpu",
        precision: str = "f32",
        seed: int | None = None,
        threads: int | None = None,
        positional: tuple = (),
        memory: str | int | None = None,
        fast: bool = False,
        tune: bool = False,
    ):
        self.block = train
        self._given = dict(settings or {})
        own: dict[str, Any] = {}
        if train is not None:
            plan = train_block(module, net, train)
            net, own, positional = plan.net, dict(plan.settings), plan.positional
        super().__init__(module, net, {**own, **(settings or {})}, target, precision, threads, positional, memory, fast, tune)
        self._seed = seed

    @cached_property
    def seed(self) -> int:
        """The seed of initial values and draws: what was given, else that of the train block, else 0."""
        if self._seed is not None:
            return self._seed
        name = self.network(True).name
        return self.plan().seed if any(block.net == name for block in self.module.trains) else 0

    @cached_property
    def storage(self) -> Storage:
        """Every parameter and state by path: the memory that the executables use."""
        found = self.initial(self.seed)
        network = self.network(True)
        return Storage.of({v.path: found[v.path] for v in (*network.parameters, *network.states)})

    @property
    def parameters(self) -> Variables:
        """The parameters by path, frozen ones included. `net.parameters["fc.bias"] = b` sets one."""
        return Variables("parameter", self.storage, [v.path for v in self.network(True).parameters])

    @property
    def state(self) -> Variables:
        """The states by path: running means and the like."""
        return Variables("state", self.storage, [v.path for v in self.network(True).states])

    def __call__(self, **inputs) -> dict[str, np.ndarray]:
        """The outputs by name, in inference mode."""
        self.fix(inputs)
        return self._run(("outputs",), lambda: self.forward([o.name for o in self.network().outputs]), inputs)

    def loss(self, training: bool = False, **arrays) -> float:
        """The loss (the sum of them, where there are several) on inputs and targets."""
        return sum(self.losses(training, **arrays).values())

    def losses(self, training: bool = False, **arrays) -> dict[str, float]:
        """Each loss by name."""
        self.fix(arrays)
        names = self._losses()
        found = self._run(("loss", training), lambda: self.forward(names, training), arrays, training)
        return {name: float(found[name]) for name in names}

    def gradients(self, wrt: Sequence[str] | None = None, training: bool = True, **arrays):
        """(loss, {path: gradient}) by the trained parameters, or by the parameters and inputs in `wrt`."""
        self.fix(arrays)
        network = self.network(training)
        self._losses()
        if wrt is None:
            wrt = [v.path for v in network.parameters if v.trained]
        else:
            self._check_paths(wrt)
        sizes = self._limited_sizes(arrays)
        key = ("gradients", training, tuple(wrt), tuple(sizes.items()))
        found = self._run(key, lambda: self.gradient(wrt, training), arrays, training, sizes)
        loss = float(sum(found[term.name] for term in network.losses))
        return loss, {path: found[path] if path in found else self._zeros(path, arrays) for path in wrt}

    def evaluate(self, columns: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The losses and metrics over a whole set, exactly. columns: every input and target, by name."""
        network = self.network()
        names = [r.name for r in (*network.losses, *network.metrics)]
        return self._evaluation(tuple(names)).run(columns, samples_of(network, columns))

    def plan(self, **overrides) -> TrainPlan:
        """The train block of this net, with fields overridden: `epochs = 5`, `optimizer = "adam(lr = 1e-3)"`."""
        name = self.network(True).name
        plan = train_block(self.module, name, self.block, overrides)
        if (plan.settings or plan.positional) and self.block is None:
            raise error(
                "DG763",
                f"the train block `{plan.name}` is for `{name}` with settings of its own",
                help=f'load the net for it: dg.load(..., train="{plan.name}")',
            )
        return replace(plan, net=name, settings=tuple(self.settings.items()), positional=self.positional)

    def train(
        self, data=None, *, held_out=None, directory: str | Path | None = None, resume: bool = False,
        progress: Progress | None = None, **overrides,
    ) -> loop.History:  # fmt: skip
        """Trains as the train block says; any field of it can be overridden.

        data, held_out: arrays in the order of inputs and targets, or by name; without them the data of the block.
        directory: where the run is kept, or gone on from with `resume`. Afterwards the net has the final, averaged
        weights.
        """
        if isinstance(data, str):
            # A source, as the field of the block has it: `data = "spiral(n = 500)"`.
            overrides, data = {**overrides, "data": data}, None
        plan = self.plan(**overrides)
        run = assemble(self, plan, dataset_of(plan, data, held_out, self, self.folder))
        run.progress = progress or Progress()
        if directory is not None:
            run.directory = RunDirectory(Path(directory), safetensors.write, origin(plan.net, self.block, self._given))
            self._open(run, plan, resume)
        history = loop.train(run)
        for path, array in run.weights().items():
            self.storage[path][...] = array
        return history

    def _open(self, run: loop.Run, plan: TrainPlan, resume: bool) -> None:
        """Begins the directory of a run, or goes on from what is there; a run that was interrupted before its first
        checkpoint begins again."""
        last = run.directory.path / LAST
        if resume and not run.directory.path.is_dir():
            raise error("DG748", f"there is no run in {run.directory.path}", help="leave --resume out to begin one")
        if resume and last.exists():
            loop.resume(run, *safetensors.read(last), str(last))
            return
        about = {"net": plan.net, "train": plan.name, "settings": self.settings, "seed": plan.seed, "batch": run.batch}
        about |= {"steps": run.total, "target": self.target, "precision": self.precision}
        run.directory.begin(self.module.source.text, about)

    @property
    def folder(self) -> Path:
        """The directory of the program: where its files are."""
        return self.module.folder or Path.cwd()

    def load(self, weights: str | Path | Mapping[str, Any]) -> None:
        """Takes parameters and states from a file (safetensors, or what `torch.save` made of a state dict) or a state
        dict. What does not fit is refused, and nothing has changed."""
        what = "the state dict" if isinstance(weights, Mapping) else str(weights)
        if isinstance(weights, Mapping):
            arrays = pytorch.arrays(weights, what)
        elif Path(weights).suffix in pytorch.SUFFIXES:
            arrays = pytorch.read(weights)
        else:
            arrays, _ = safetensors.read(weights)
        wanted = self.__dict__.get("storage") or self.room()
        plain = {name: a for name, a in pytorch.without_counts(arrays, wanted).items() if not is_resume_name(name)}
        fitted = fit(plain, wanted, what)
        if "storage" not in self.__dict__:  # Initial values that nobody has seen are never computed.
            self.storage = Storage.of(fitted)
            return
        for name, array in fitted.items():
            self.storage[name][...] = array

    def save(self, path: str | Path) -> None:
        """Writes parameters and states: the old file or the new one is there, never half of one."""
        safetensors.write(path, self.storage, origin(self.network().name, self.block, self._given))

    def inference_executable(self, usual: Mapping[str, int] | None = None) -> Executable:
        """What computes the outputs. usual: the sizes that it is tuned for, if it is."""
        program = partial(self.forward, [o.name for o in self.network().outputs])
        return self._once(("outputs",), lambda: self._bound(program(), None, True, usual))

    def training_executable(self) -> Executable:
        """What computes the loss and its gradients by all trained parameters."""
        trained = [v.path for v in self.network(True).parameters if v.trained]
        key = ("gradients", True, tuple(trained))
        return self._once(key, lambda: self._bound(self.gradient(trained), None, False))

    def show(self, stage: str = "layers", layer: str | None = None, format: str = "text", depth: int = 1) -> str:
        """A stage of the compiler as text: layers, forward, gradient, optimized, kernels, source, memory. `layer` keeps
        what belongs to a layer. format: the layers as `svg`, `html` or `dot`, boxes open down to `depth`."""
        from diffgraph.inspect.drawing import FORMS, draw
        from diffgraph.inspect.stages import stage_text

        if format in FORMS:
            return draw(self.network(True), format, layer, depth, self.precision)
        if format != "text":
            raise error("DG925", f"nothing is shown as `{format}`", help=f"the formats are text, {', '.join(FORMS)}")
        of = (self.module, stage, self.net, self.settings, layer, self.target, self.precision)
        return stage_text(*of, positional=self.positional, fast=self.fast)

    def _repr_html_(self) -> str:
        """The picture, and the table of layers below it: what a notebook shows."""
        return f"{self.show(format='svg')}<details><summary>layers</summary><pre>{escape(self.show())}</pre></details>"

    def _repr_svg_(self) -> str:
        return self.show(format="svg")

    def __repr__(self) -> str:
        network = self.network()
        ports = ", ".join(
            f"{p.name}[{', '.join(map(str, p.tensor.shape))}]" for p in (*network.inputs, *network.targets)
        )
        count = sum(a.size for a in self.parameters.values())
        return f"<net {network.name}({ports}): {count:,} parameters>"

    def _run(self, key: tuple, program, arrays, training: bool = False, sizes={}) -> dict[str, np.ndarray]:
        """Runs what `key` stands for, compiled at its first use, on the arrays that it reads. sizes: those for which it
        shall fit into memory, if it shall."""
        # Between two gradients parameters usually change.
        prepare = key[0] != "gradients"
        usual = self._sizes_of(arrays) if self.tune else None
        executable = self._once(key, lambda: self._bound(program(), sizes or None, prepare, usual))
        known = {p.name for p in (*self.network().inputs, *self.network().targets)}
        for name in arrays:
            if name not in known:
                raise values.unknown(name, known)
        given = {name: array for name, array in arrays.items() if name in executable.given}
        scalars = {"seed": self.seed, "step": int(training), "total_steps": int(training)}
        given.update((name, np.int64(v)) for name, v in scalars.items() if name in executable.given)
        return executable.run(given)

    def _limited_sizes(self, arrays) -> dict[str, int]:
        """The batch of some arrays, where memory is limited."""
        return {} if self.memory is None else self._sizes_of(arrays)

    def _sizes_of(self, arrays) -> dict[str, int]:
        """The symbols, for some arrays."""
        given = {i.path: i for i in self.network().program.inputs}
        return values.solve([(given[n], np.shape(a)) for n, a in arrays.items() if n in given])

    def _bound(
        self, program: Program, sizes: Mapping[str, int] | None = None, prepare: bool = True, usual=None
    ) -> Executable:
        executable = self.executable(program, sizes, prepare, usual)
        executable.bind(self.storage)
        return executable

    def _evaluation(self, names: tuple[str, ...]) -> Evaluation:
        return self._once(
            ("evaluation", names), lambda: Evaluation(self.forward(names), self.network().batch, self._bound)
        )

    def _losses(self) -> list[str]:
        network = self.network()
        if not network.losses:
            raise error("DG762", f"the net `{network.name}` has no loss", help="add one: loss mean((y - target)^2)")
        return [term.name for term in network.losses]

    def _check_paths(self, paths: Sequence[str]) -> None:
        network = self.network()
        known = [v.path for v in network.parameters] + [p.name for p in (*network.inputs, *network.targets)]
        for path in paths:
            if path not in known:
                raise error("DG760", f"there is no parameter or input `{path}`", help=suggest(path, known))

    def _zeros(self, path: str, arrays) -> np.ndarray:
        """The gradient by what no loss depends on."""
        real = values.DTYPES[self.precision]["float"]
        return np.zeros(np.shape(self.storage.get(path, arrays.get(path))), real)


def load(path: str | Path, net: str | None = None, settings: Mapping[str, Any] | None = None, **options) -> Net:
    """A net of a `.net` file.

    net: its name, where the file has several. settings: by name; texts are expressions of the language. options:
    `train`, a train block whose settings the net gets; target ("cpu", "reference"), precision ("f32", "f64"), seed,
    threads; memory ("2GiB"): what a step of training may take, with its parameters, inputs and states; fast:
    faster sums, with a relative error of up to 1e-5 in float32; tune: kernels are measured in several ways before
    they are used, and what was found is kept for all that is compiled later.
    """
    return Net(load_module(path), net, settings, **options)


def loads(text: str, net: str | None = None, settings: Mapping[str, Any] | None = None, **options) -> Net:
    """The same from a text. Its files are looked for in the current directory."""
    return Net(load_text(text, folder=Path.cwd()), net, settings, **options)


def net_of_block(module: Module, block, **options) -> Net:
    """The net that a train or expect block is about, with the block's settings."""
    with computing(module) as session:
        positional, keywords = arguments_of(block.arguments, module, session)
    return Net(module, block.net, keywords, positional=tuple(positional), **options)
