"""The networks of `std/vision.net`: published parameter counts, torchvision's names and shapes, and its numbers."""

import math
from functools import lru_cache

import numpy as np
import pytest

import diffgraph as dg
from diffgraph.language import library
from diffgraph.language.claims import judge
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text

#: The files of the networks, and what is asked for by `from "std/vision.net" import ...`.
FILES = [path for path in library.paths() if path.startswith("std/vision/")]
VISION = load_text('import "std/vision.net"').imported["vision"][0]

#: Nets that others are made from by settings, nets that torchvision does not have, and what its own are made with.
GENERAL = {"vgg", "resnet", "densenet", "efficientnet", "mobilenet_v3", "mnasnet", "shufflenet_v2", "convnext",
           "vision_transformer"}  # fmt: skip
ELSEWHERE = {"lenet", "unet", "mobilenet_v1", "inception_resnet_v2"}
THEIRS = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}


@lru_cache(maxsize=None)
def network(name: str, **settings):
    return elaborate(load_text(f'from "std/vision.net" import {name}'), name, settings, training=True)


def learned_by_torch(model) -> dict:
    """What `state_dict` holds, without the counts of batches, which nothing but a momentum of None reads."""
    return {name: t for name, t in model.state_dict().items() if not name.endswith("num_batches_tracked")}


class Count:
    """The one fact that the expect blocks of the networks ask for."""

    def __init__(self, found):
        self.found = found

    def number(self, name: str) -> int:
        assert name == "parameters"
        return sum(math.prod(map(int, p.tensor.shape)) for p in self.found.parameters)


def claims():
    for path in FILES:
        source = library.source(path)
        for place in library.places(source):
            if place.word == "expect":
                block = library.read(place)
                yield pytest.param(source, block, id=block.net + "".join(f"({a.span.text})" for a in block.arguments))


@pytest.mark.parametrize("source, block", list(claims()))
def test_has_as_many_parameters_as_is_published(source, block):
    settings = tuple((a.name, a.value.span.text) for a in block.arguments)
    found = network(block.net, **dict(settings))
    for claim in block.claims:
        verdict = judge(claim, VISION, found, Count(found))
        assert verdict.holds, verdict.measured


def test_every_network_states_its_count():
    stated = {library.read(p).net for path in FILES for p in library.places(library.source(path)) if p.word == "expect"}
    assert set(VISION.nets) == stated | GENERAL


def test_everything_is_brought_by_one_file():
    """Layers and functions that a user may want as well; the tables of settings stay where they are."""
    for path in FILES:
        for place in library.places(library.source(path)):
            if place.word == "net":
                assert VISION.knows(place.name), f"{path}: {place.name}"


@pytest.mark.parametrize("name", [n for n in VISION.nets if n not in GENERAL | ELSEWHERE])
def test_is_named_and_shaped_as_in_torchvision(name, torchvision_models):
    import torch

    with torch.device("meta"):
        model = getattr(torchvision_models, name)(**THEIRS.get(name, {}))
    found = network(name)
    theirs = {path: list(t.shape) for path, t in learned_by_torch(model).items()}
    ours = {v.path: [int(d) for d in v.tensor.shape] for v in (*found.parameters, *found.states)}
    assert ours == theirs
    assert {v.path for v in found.parameters} == {path for path, _ in model.named_parameters()}


# ---------------------------------------------------------------- the same numbers

#: One of each family, as small as it can be: (size of the image, our settings, what makes torchvision's).
FAMILIES = {
    "squeezenet1_1": (33, {}, lambda m: m.squeezenet1_1(num_classes=10)),
    "mobilenet_v3_small": (32, {}, lambda m: m.mobilenet_v3_small(num_classes=10)),
    "shufflenet_v2_x0_5": (32, {}, lambda m: m.shufflenet_v2_x0_5(num_classes=10)),
    "densenet": (
        32,
        {"depths": [2, 2, 2, 2], "growth": 8, "first": 16},
        lambda m: m.DenseNet(8, (2, 2, 2, 2), 16, num_classes=10),
    ),
    "googlenet": (
        32,
        {"transform_input": True},
        lambda m: m.googlenet(num_classes=10, transform_input=True, init_weights=False),
    ),
    "inception_v3": (75, {}, lambda m: m.inception_v3(num_classes=10, init_weights=False)),
    "efficientnet_b0": (32, {}, lambda m: m.efficientnet_b0(num_classes=10)),
    "convnext": (
        32,
        {"widths": [8, 12, 16, 20], "depths": [1, 2, 1, 1]},
        lambda m: m.ConvNeXt([m.convnext.CNBlockConfig(*b) for b in CONVNEXT], 0.1, num_classes=10),
    ),
    "vision_transformer": (
        32,
        {"patch": 8, "depth": 2, "heads": 4, "width": 32, "wide": 64},
        lambda m: m.VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=10),
    ),
}
CONVNEXT = ((8, 12, 1), (12, 16, 2), (16, 20, 1), (20, None, 1))

#: Nets of which a step of training is compared.
TRAINED = {
    "resnet18": (32, {}, lambda m: m.resnet18(num_classes=10)),
    "mobilenet_v2": (32, {"rate": 0}, lambda m: m.mobilenet_v2(num_classes=10, dropout=0)),
}


def pair(name, torchvision_models, size, settings, make):
    """(ours in float64 on the interpreter, torchvision's) with the same weights and statistics, none of them 0 or 1."""
    import torch

    with torch.device("meta"):
        model = make(torchvision_models)
    model = model.to(torch.float64).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for path, tensor in model.state_dict().items():
        spread = math.sqrt(3 / tensor[0].numel()) if tensor.ndim > 1 else 0.5
        middle = 1 if path.endswith("running_var") or tensor.ndim == 1 and path.endswith("weight") else 0
        if tensor.ndim == 0:
            tensor.zero_()
        else:
            with torch.no_grad():
                tensor.uniform_(middle - spread, middle + spread, generator=generator)
    about = {"classes": 10, "size": size, **settings}
    net = dg.loads(f'from "std/vision.net" import {name}', settings=about, target="reference", precision="f64")
    net.load(model.state_dict())
    return net, model


@pytest.mark.parametrize("name", FAMILIES)
def test_gives_the_numbers_of_torchvision(name, torchvision_models):
    import torch

    size = FAMILIES[name][0]
    net, model = pair(name, torchvision_models, *FAMILIES[name])
    image = np.random.default_rng(0).normal(size=(1, 3, size, size))
    with torch.no_grad():
        theirs = torch.softmax(model.eval()(torch.from_numpy(image)), -1).numpy()
    assert theirs.std() > 1e-3, "what is compared depends on the weights"
    np.testing.assert_allclose(net(image=image)["probability"], theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_of_training_is_that_of_torchvision(name, torchvision_models):
    """Gradients, which a step of plain descent at a rate of 1 subtracts, and running statistics."""
    import torch

    net, model = pair(name, torchvision_models, *TRAINED[name])
    generator = np.random.default_rng(0)
    image, label = generator.normal(size=(3, 3, 32, 32)), generator.integers(0, 10, 3)
    before = {path: array.copy() for path, array in net.parameters.items()}
    few = (image[:1], label[:1])
    net.train(data=(image, label), held_out=few, steps=1, batch=3, optimizer="sgd(lr = 1)")
    torch.nn.functional.cross_entropy(model.train()(torch.from_numpy(image)), torch.from_numpy(label)).backward()
    largest = max(float(parameter.grad.abs().max()) for parameter in model.parameters())
    for path, parameter in model.named_parameters():
        ours, theirs = before[path] - net.parameters[path], parameter.grad.numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9 * largest, err_msg=path)
    for path, state in learned_by_torch(model).items():
        if path in net.state:
            np.testing.assert_allclose(net.state[path], state.numpy(), rtol=1e-7, atol=1e-9, err_msg=path)


def test_published_weights_load(tmp_path, torchvision_models):
    """What `torch.save` makes of a state dict, the counts of batches included, and the same as safetensors."""
    import torch
    from safetensors.torch import save_file

    model = torchvision_models.mobilenet_v3_small(num_classes=4)
    torch.save(model.state_dict(), tmp_path / "published.pth")
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, tmp_path / "checkpoint.pt")
    save_file(model.state_dict(), tmp_path / "published.safetensors")
    for file in ("published.pth", "checkpoint.pt", "published.safetensors"):
        net = dg.loads('from "std/vision.net" import mobilenet_v3_small', settings={"classes": 4})
        net.load(tmp_path / file)
        for path, tensor in learned_by_torch(model).items():
            np.testing.assert_array_equal((net.state if "running_" in path else net.parameters)[path], tensor.numpy())
