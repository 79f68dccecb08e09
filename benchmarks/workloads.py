"""The table: what is measured, with which data, against whom, and how far ahead it should be.

A workload is a net of a `.net` file, the shapes of a sample, and its twins in PyTorch and JAX by name. Everything else
follows from its kind:

    train     a step of training: loss, derivatives, update of weights, optimizer state and running statistics
    infer     the outputs of a batch, in inference mode
    gradient  a loss and its derivatives by inputs and parameters
    start     a new process, from nothing to the first result, with an empty cache and with a full one
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import diffgraph

@dataclass(frozen=True)
class Tokens:
    """A sample of so many ints below a bound."""

    count: int
    below: int


#: A shape of a sample, how many classes an int label has, or the tokens of a sample.
Column = tuple[int, ...] | int | Tokens


@dataclass(frozen=True)
class Goal:
    """Time of the fastest rival whose name begins so, over ours: what must be reached, and what is aimed at."""

    rival: str
    must: float
    aim: float


@dataclass(frozen=True)
class Twin:
    """A PyTorch twin: what makes a module in `torch_models`, with its keywords, or else a plain function there. exact:
    it computes the same numbers, which is checked before anything is timed. compiled: torch.compile is asked too; it
    writes loops out, of a thousand steps for minutes."""

    model: str
    options: Mapping[str, object] = field(default_factory=dict)
    label: str = ""
    exact: bool = True
    is_module: bool = True
    compiled: bool = True


@dataclass(frozen=True)
class Workload:
    """A row of the table.

    file: from the root of the repository. train: a train block that is added to it. steps: how many steps one call
    makes. columns: inputs, then targets. loss: PyTorch's, by name. jax: a function of `jax_models`. optimizer: of the
    twins, with the settings of the train block. images: the twins may choose where channels are.
    """

    name: str
    title: str
    kind: str
    file: str
    net: str
    batch: int
    columns: Mapping[str, Column]
    torch: tuple[Twin, ...]
    goals: tuple[Goal, ...]
    train: str = ""
    loss: str = "cross_entropy"
    optimizer: tuple[str, Mapping[str, float]] = ("Adam", {"lr": 1e-3})
    jax: str = ""
    steps: int = 1
    images: bool = False
    onnx: bool = False
    memory: tuple[float, float] | None = None


def ahead(must: float, aim: float) -> tuple[Goal, ...]:
    """A goal against everybody."""
    return (Goal("", must, aim),)


PERCEPTRONS, CIFAR = "benchmarks/nets/perceptrons.net", "benchmarks/nets/cifar.net"
PIECES = "benchmarks/nets/pieces.net"
#: Where the installed package has them.
VISION = (Path(diffgraph.__file__).parent / "std" / "vision").as_posix()
MNIST = {"image": (1, 28, 28), "label": 10}
COLOUR = {"image": (3, 32, 32), "label": 10}


def imagenet(name: str, title: str, family: str, net: str, batch: int, goals: tuple[Goal, ...]) -> Workload:
    """Inference on images of 224 by 224."""
    twin = (Twin("probability", {"make": net}),)
    columns = {"image": (3, 224, 224)}
    file = f"{VISION}/{family}.net"
    return Workload(name, title, "infer", file, net, batch, columns, twin, goals, images=True, onnx=True)


WORKLOADS = (
    Workload(
        "mlp-small", "2-8-8-1, Adam, batch 32", "train", PERCEPTRONS, "small", 32, {"x": (2,), "y": (1,)},
        (Twin("small"),),
        (Goal("torch eager", 150, 300), Goal("jax jit", 20, 50), Goal("jax scan", 3, 6)),
        "train small as bench { optimizer adam(lr = 1e-3) }", "mean_square", jax="small", steps=500,
    ),
    Workload(
        "mlp-128", "784-128-10, Adam, batch 64", "train", PERCEPTRONS, "wide", 64, {"x": (784,), "y": 10},
        (Twin("wide"),), (Goal("torch", 3.5, 5), Goal("jax", 2, 3)),
        "train wide as bench { optimizer adam(lr = 1e-3) }", jax="wide", steps=50,
    ),
    Workload(
        "mlp-512", "784-512-512-10, Adam, batch 128", "train", PERCEPTRONS, "wide", 128, {"x": (784,), "y": 10},
        (Twin("wide", {"hidden": (512, 512)}),), ahead(1.3, 1.6),
        "train wide(hidden = [512, 512]) as bench { optimizer adam(lr = 1e-3) }", jax="wide", steps=10,
    ),
    Workload(
        "lenet-train", "LeNet training, AdamW, batch 64", "train", "examples/lenet.net", "lenet", 64, MNIST,
        (Twin("lenet"),), ahead(3, 5), "train lenet as bench { optimizer adamw(lr = 1e-3) }",
        optimizer=("AdamW", {"lr": 1e-3, "weight_decay": 0.01}), jax="lenet", steps=10, images=True, memory=(1, 0.6),
    ),
    Workload(
        "lenet-infer", "LeNet inference, batch 64", "infer", "examples/lenet.net", "lenet", 64, {"image": (1, 28, 28)},
        (Twin("probability", {"make": "lenet"}),), ahead(2, 4), jax="lenet", images=True, onnx=True,
    ),
    Workload(
        "resnet20-train", "ResNet-20 (CIFAR) training, batch 32", "train", CIFAR, "resnet20", 32, COLOUR,
        (Twin("resnet20"),), ahead(1.25, 1.8),
        "train resnet20 as bench { optimizer sgd(lr = 0.01, momentum = 0.9, weight_decay = 1e-4) }",
        optimizer=("SGD", {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}), images=True,
    ),
    Workload(
        "resnet18-train", "ResNet-18 (64 wide, CIFAR) training, batch 32", "train", CIFAR, "resnet18", 32, COLOUR,
        (Twin("resnet18_cifar"),), ahead(1.2, 1.7),
        "train resnet18 as bench { optimizer sgd(lr = 0.01, momentum = 0.9, weight_decay = 5e-4) }",
        optimizer=("SGD", {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}), images=True, memory=(1, 0.6),
    ),
    imagenet("resnet50-1", "ResNet-50 inference, 224, batch 1", "resnet", "resnet50", 1, ahead(1.1, 1.3)),
    imagenet("resnet50-8", "ResNet-50 inference, 224, batch 8", "resnet", "resnet50", 8, ahead(1.1, 1.3)),
    imagenet("vgg16", "VGG-16 inference, 224, batch 1", "plain", "vgg16", 1, ahead(1.3, 2)),
    imagenet("mobilenet", "MobileNet-v2 inference, 224, batch 1", "mobilenet", "mobilenet_v2", 1, ahead(1.3, 2)),
    imagenet(
        "efficientnet", "EfficientNet-B0 inference, 224, batch 1", "efficientnet", "efficientnet_b0", 1, ahead(1.3, 2)
    ),
    Workload(
        "unet-train", "U-Net (the example) training, Adam, batch 32", "train", "examples/unet.net", "unet", 32,
        {"noisy": (1, 28, 28), "clean": (1, 28, 28)}, (Twin("UNet"),), ahead(1.3, 2),
        "train unet as bench { optimizer adam(lr = 1e-3) }", "mean_square", images=True,
    ),
    Workload(
        "vit-train", "ViT (the example) training, AdamW, batch 128", "train", "examples/vit.net", "vit", 128, MNIST,
        (Twin("ViT"),), ahead(1.3, 2), "train vit as bench { optimizer adamw(lr = 1e-3, weight_decay = 0.05) }",
        "smoothed_cross_entropy", ("AdamW", {"lr": 1e-3, "weight_decay": 0.05}), jax="vit",
    ),
    Workload(
        "gpt-train", "A causal transformer (256 wide, 4 blocks, 128 tokens of 4,096) training, AdamW, batch 8", "train",
        "benchmarks/nets/transformers.net", "gpt", 8, {"token": Tokens(128, 4096), "following": Tokens(128, 4096)},
        (Twin("GPT"),), ahead(1.1, 1.5), "train gpt as bench { optimizer adamw(lr = 1e-3, weight_decay = 0.05) }",
        "token_cross_entropy", ("AdamW", {"lr": 1e-3, "weight_decay": 0.05}),
    ),
    Workload(
        "gru-train", "GRU over rows (the example) training, Adam, batch 32", "train", "examples/rows.net", "rows", 32,
        MNIST, (Twin("Rows"), Twin("LibraryRows", label="nn.GRU", exact=False)), ahead(5, 20),
        "train rows as bench { optimizer adam(lr = 1e-3) }", jax="rows", steps=5,
    ),
    Workload(
        "scan-train", "A scan of 1,000 steps (GRU cell, 32 wide) training, Adam, batch 32", "train", PIECES, "recurrence", 32,
        {"x": (1000, 32), "y": (32,)},
        (Twin("Recurrence", compiled=False), Twin("LibraryRecurrence", label="nn.GRU", compiled=False)),
        (Goal("torch eager", 20, 40), Goal("jax", 2, 5)),
        "train recurrence as bench { optimizer adam(lr = 1e-3) }", "mean_square", jax="recurrence",
    ),
    Workload(
        "radial-train", "A layer of one's own (radial basis, 256 units) training, Adam, batch 256", "train", PIECES,
        "radial_classifier", 256, {"x": (64,), "label": 10},
        (Twin("Radial"), Twin("Radial", {"expanded": True}, "as a product")), ahead(3, 10),
        "train radial_classifier as bench { optimizer adam(lr = 1e-3) }", jax="radial", steps=10,
    ),
    Workload(
        "chain", "Eight elementwise operations on 1M floats, forward and backward", "gradient", PIECES, "chain", 1024,
        {"x": (1024,), "weight": (1024,)}, (Twin("chain_loss", is_module=False),), ahead(2, 4), jax="chain",
    ),
    Workload(
        "chain-infer", "Eight elementwise operations on 1M floats", "infer", PIECES, "chain", 1024,
        {"x": (1024,)}, (Twin("chain", is_module=False),), ahead(2, 4), jax="chain_forward", onnx=True,
    ),
    Workload(
        "layernorm", "Layer norm of 1024 x 1024, forward and backward", "gradient", PIECES, "normalized", 1024,
        {"x": (1024,), "weight": (1024,)}, (Twin("Normalized"),), ahead(2, 4), jax="normalized",
    ),
    Workload(
        "softmax", "Softmax cross-entropy of 1024 x 1000, forward and backward", "gradient", PIECES, "classified", 1024,
        {"x": (1000,), "label": 1000}, (Twin("cross_entropy", is_module=False),), ahead(2, 4), jax="classified",
    ),
    Workload(
        "resnet50-start", "ResNet-50 from a new process to a result", "start", f"{VISION}/resnet.net", "resnet50",
        1, {"image": (3, 224, 224)}, (Twin("probability", {"make": "resnet50"}),),
        (Goal("cold", 15, 4), Goal("second", 1.5, 0.8)), onnx=True,
    ),
)  # fmt: skip


def named(names: tuple[str, ...]) -> tuple[Workload, ...]:
    """The workloads of some names (or beginnings of names), in the order of the table; all for none. KeyError for a
    name that none has."""
    for name in names:
        if not any(w.name.startswith(name) for w in WORKLOADS):
            raise KeyError(name)
    return tuple(w for w in WORKLOADS if not names or w.name.startswith(names))
