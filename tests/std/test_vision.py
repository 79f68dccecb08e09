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

#: Nets that others are made from by settings, nets that torchvision does not have, and pairs of settings and keywords
#: that make the two equal.
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

#: One of each family: the smallest image it takes, our settings, torchvision's keywords.
FAMILIES = {
    "alexnet": (63, {}, {}),
    "squeezenet1_1": (33, {}, {}),
    "resnet18": (32, {}, {}),
    "resnext50_32x4d": (32, {}, {}),
    "mobilenet_v2": (32, {}, {}),
    "mobilenet_v3_small": (32, {}, {}),
    "mnasnet0_5": (32, {}, {}),
    "shufflenet_v2_x0_5": (32, {}, {}),
    "densenet121": (32, {}, {}),
    "googlenet": (32, {"transform_input": True}, {"transform_input": True}),
    "inception_v3": (75, {}, {}),
    "efficientnet_b0": (32, {}, {}),
    "convnext_tiny": (32, {}, {}),
    "vit_b_32": (64, {}, {"image_size": 64}),
}


def pair(name, torchvision_models, size, settings, keywords, target="reference", precision="f64"):
    """Our net and torchvision's, with the same weights and running statistics, none of them zero or one."""
    import torch

    with torch.device("meta"):
        model = getattr(torchvision_models, name)(num_classes=10, **THEIRS.get(name, {}), **keywords)
    model = model.to(torch.float64 if precision == "f64" else torch.float32).to_empty(device="cpu")
    net = dg.loads(
        f'from "std/vision.net" import {name}', settings={"classes": 10, "size": size, **settings}, target=target,
        precision=precision,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for path, tensor in learned_by_torch(model).items():
        fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
        spread = 0.5 if tensor.ndim < 2 else math.sqrt(3 / fan_in)
        middle = 1 if path.endswith("running_var") or tensor.ndim < 2 and path.endswith("weight") else 0
        with torch.no_grad():
            tensor.uniform_(middle - spread, middle + spread, generator=generator)
        (net.state if "running_" in path else net.parameters)[path] = tensor.numpy()
    for counted in (t for path, t in model.state_dict().items() if path.endswith("num_batches_tracked")):
        counted.zero_()
    return net, model


@pytest.mark.parametrize("name", FAMILIES)
def test_gives_the_logits_of_torchvision(name, torchvision_models):
    import torch

    size, settings, keywords = FAMILIES[name]
    net, model = pair(name, torchvision_models, size, settings, keywords)
    image = np.random.default_rng(0).normal(size=(2, 3, size, size))
    with torch.no_grad():
        theirs = torch.softmax(model.eval()(torch.from_numpy(image)), -1).numpy()
    ours = net(image=image)["probability"]
    assert theirs.std() > 1e-3, "the comparison is of something that depends on the weights"
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)
