"""The Python interface: `Net` is a compiler (`compilation`, the whole way of a program) with parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from diffgraph.compilation import Compiler
from diffgraph.diagnostics import error
from diffgraph.interop import pytorch, safetensors, weight_files
from diffgraph.ir.program import Program
from diffgraph.language.blocks import TrainPlan, train_block
from diffgraph.language.computing import computing
from diffgraph.language.evaluate import arguments_of
from diffgraph.language.module import Module, load_module, load_text
from diffgraph.language.paths import named_paths
from diffgraph.runtime import values
from diffgraph.runtime.executable import Executable
from diffgraph.runtime.storage import Storage, copies
from diffgraph.training import loop
from diffgraph.training.assembly import assemble, dataset_of, samples_of
from diffgraph.training.checkpoint import is_resume_name
from diffgraph.training.evaluation import Evaluation
from diffgraph.training.progress import Progress, Record, progress_of
from diffgraph.training.run_directory import LAST, RunDirectory
from diffgraph.training.variables import Variables
from diffgraph.training.weights import fit, origin


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
        own: dict[str, Any] = {}
        if train is not None:
            plan = train_block(module, net, train)
            net, own, positional = plan.net, dict(plan.settings), positional or plan.positional
        #: The settings that were given, beside those of the train block.
        self.own_settings = dict(settings or {})
        super().__init__(module, net, {**own, **self.own_settings}, target, precision, threads, positional, memory, fast, tune)
        self._seed = seed

    @cached_property
    def seed(self) -> int:
        """The seed of initial values and draws: what was given, else that of the train block, else 0."""
        if self._seed is not None:
            return self._seed
        name = self.network(True).name
        if not any(block.net == name for block in self.module.trains):
            return 0
        return train_block(self.module, name, self.block).seed

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

    def __call__(self, *arrays, **inputs) -> dict[str, np.ndarray]:
        """The outputs by name, in inference mode. Arrays without names are in the order of inputs and targets."""
        inputs = self._given(arrays, inputs)
        self.fix(inputs)
        return self._run(("outputs",), lambda: self.forward([o.name for o in self.network().outputs]), inputs)

    def loss(self, *arrays, training: bool = False, **named) -> float:
        """The loss (the sum of them, where there are several) on inputs and targets."""
        return sum(self.losses(*arrays, training=training, **named).values())

    def losses(self, *arrays, training: bool = False, **named) -> dict[str, float]:
        """Each loss by name."""
        arrays = self._given(arrays, named)
        self.fix(arrays)
        names = self._losses()
        found = self._run(("loss", training), lambda: self.forward(names, training), arrays, training)
        return {name: float(found[name]) for name in names}

    def gradients(self, *arrays, wrt: str | Iterable[str] | None = None, training: bool = True, **named):
        """(loss, {path: gradient}) by the trained parameters, or by the parameters and inputs in `wrt`: names, or patterns
        such as "layer1" and "*.bias"."""
        arrays = self._given(arrays, named)
        self.fix(arrays)
        network = self.network(training)
        self._losses()
        if wrt is None:
            wrt = [v.path for v in network.parameters if v.trained]
        else:
            wrt = self._paths([wrt] if isinstance(wrt, str) else wrt)
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

    def plan(self, train: str | None = None, /, **overrides) -> TrainPlan:
        """The train block of this net, with fields overridden: `epochs = 5`, `optimizer = "adam(lr = 1e-3)"`."""
        name = self.network(True).name
        plan = train_block(self.module, name, train or self.block, overrides)
        if (plan.settings or plan.positional) and self.block != plan.name:
            raise error(
                "DG763",
                f"the train block `{plan.name}` is for `{name}` with settings of its own",
                help=f'load the net for it: dg.load(..., train="{plan.name}")',
            )
        return replace(plan, net=name, settings=tuple(self.settings.items()), positional=self.positional)

    def train(
        self, data=None, *, held_out=None, directory: str | Path | None = None, resume: bool = False,
        progress: Progress | Callable[[Record], object] | bool | None = None, train: str | None = None, **overrides,
    ) -> loop.History:  # fmt: skip
        """Trains as the train block says (the one of the name `train`, where there are several); any field of it can be
        overridden.

        data, held_out: arrays in the order of inputs and targets, or by name; data also the path of an .npz or .csv file,
        or a source as the block would name it ("spiral(n = 500)"); without it the data of the block. directory: where the
        run is kept, or gone on from with `resume`. progress: a function of the `Record` of each epoch, or True for a bar.
        Afterwards the net has the final, averaged weights.
        """
        if isinstance(data, str):
            if Path(data).suffix in (".npz", ".csv"):
                data = Path(data)
            else:
                overrides, data = {**overrides, "data": data}, None
        plan = self.plan(train, **overrides)
        run = assemble(self, plan, dataset_of(plan, data, held_out, self, self.folder))
        run.progress = progress_of(progress)
        if directory is not None:
            run.directory = RunDirectory(Path(directory), safetensors.write, origin(plan.net, self.block, self.own_settings))
            self._open(run, plan, resume, overrides)
        history = loop.train(run)
        for path, array in run.weights().items():
            self.storage[path][...] = array
        return history

    def _open(self, run: loop.Run, plan: TrainPlan, resume: bool, overrides: Mapping[str, Any]) -> None:
        """Begins the directory of a run, or goes on from what is there; a run that was interrupted before its first
        checkpoint begins again."""
        last = run.directory.path / LAST
        if resume and not run.directory.path.is_dir():
            raise error("DG748", f"there is no run in {run.directory.path}", help="leave --resume out to begin one")
        if resume and last.exists():
            loop.resume(run, *safetensors.read(last), str(last))
            return
        if self.target == "cuda":  # Nothing is left behind by a run that cannot begin.
            from diffgraph.runtime.device import require_device

            require_device()
        about = {"net": plan.net, "train": plan.name, "settings": self.own_settings, "fields": dict(overrides)}
        about |= {"seed": plan.seed, "batch": run.batch, "steps": run.total}
        about |= {"target": self.target, "precision": self.precision}
        run.directory.begin(self.module.source.text, about)

    @property
    def folder(self) -> Path:
        """The directory of the program: where its files are."""
        return self.module.folder or Path.cwd()

    def load(self, weights: str | Path | Mapping[str, Any], strict: bool = True) -> None:
        """Takes parameters and states from a file (safetensors, .npz, what `torch.save` made of a state dict, the directory
        of a run) or a state dict. What does not fit is refused, and nothing has changed. Where it is not `strict`, what
        only one of both has stays as it is."""
        what = "the state dict" if isinstance(weights, Mapping) else str(weights)
        arrays = weight_files.arrays_of(weights, what)
        wanted = self.__dict__.get("storage") or self.room()
        plain = {name: a for name, a in pytorch.without_counts(arrays, wanted).items() if not is_resume_name(name)}
        fitted = fit(plain, wanted, what, strict)
        if len(fitted) == len(wanted) and "storage" not in self.__dict__:  # Unseen initial values are never computed.
            self.storage = Storage.of(fitted)
            return
        for name, array in fitted.items():
            self.storage[name][...] = array

    def save(self, path: str | Path) -> None:
        """Writes parameters and states, to an .npz file as NumPy does, else as safetensors: the old file or the new one is
        there, never half of one."""
        weight_files.write(path, self.storage, origin(self.network().name, self.block, self.own_settings))

    def inference_executable(self, usual: Mapping[str, int] | None = None) -> Executable:
        """What computes the outputs. usual: the sizes that it is tuned for, if it is."""
        program = partial(self.forward, [o.name for o in self.network().outputs])
        return self._once(("outputs",), lambda: self._bound(program(), None, True, usual))

    def training_executable(self) -> Executable:
        """What computes the loss and its gradients by all trained parameters."""
        trained = [v.path for v in self.network(True).parameters if v.trained]
        key = ("gradients", True, tuple(trained))
        return self._once(key, lambda: self._bound(self.gradient(trained), None, False))

    def show(
        self, stage: str = "layers", layer: str | None = None, format: str = "text", depth: int = 1, diff: bool = False
    ) -> str:
        """A stage of the compiler: layers, forward, gradient, optimized, kernels, source, memory. `layer` keeps what belongs
        to a layer. format: text, json, svg, html or dot, boxes open down to `depth`. diff: what the last pass changed."""
        from diffgraph.inspect.stages import shown

        return shown(self, stage, layer, format, depth, diff)

    def _repr_html_(self) -> str:
        """The picture, and the table of layers below it: what a notebook shows."""
        return f"{self.show(format='svg')}<details><summary>layers</summary><pre>{escape(self.show())}</pre></details>"

    def _repr_svg_(self) -> str:
        return self.show(format="svg")

    def __reduce__(self):
        return _again, (self._made_of(), self.sizes, self._weights())

    def __deepcopy__(self, memo) -> Net:
        return _again(self._made_of(), self.sizes, self._weights())

    def _made_of(self) -> tuple:
        return (
            self.module, self.net, self.settings, self.block, self.target, self.precision, self._seed, self.threads,
            self.positional, self.memory, self.fast, self.tune,
        )  # fmt: skip

    def _weights(self) -> dict[str, np.ndarray] | None:
        """Copies of parameters and states; None where they are still the initial ones that nobody has seen."""
        return copies(self.storage) if "storage" in self.__dict__ else None

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

    def _given(self, arrays: Sequence, named: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Arrays by name: those without one are in the order of inputs and targets."""
        return values.by_name([p.name for p in (*self.declared.inputs, *self.declared.targets)], arrays, named)

    def _paths(self, wanted: Iterable[str]) -> list[str]:
        """The parameters and inputs that names and patterns stand for."""
        network = self.network()
        known = [v.path for v in network.parameters] + [p.name for p in (*network.inputs, *network.targets)]
        return named_paths(wanted, known)

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


def _again(made_of: tuple, sizes: Mapping[str, int], weights: Mapping[str, np.ndarray] | None) -> Net:
    """A copy of a net: what `copy` and `pickle` make."""
    net = Net(*made_of)
    net.set_sizes(sizes)
    if weights is not None:
        net.storage = Storage.of(weights)
    return net


def net_of_block(module: Module, block, settings: Mapping[str, Any] | None = None, **options) -> Net:
    """The net that a train or expect block is about, with the block's settings, and others in their place."""
    with computing(module) as session:
        positional, keywords = arguments_of(block.arguments, module, session)
    return Net(module, block.net, {**keywords, **(settings or {})}, positional=tuple(positional), **options)
