"""The networks of `std/vision.net`: published parameter counts, and names and shapes as in torchvision's state_dict."""

import math

import pytest

from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text

#: Net -> published number of parameters, and some of its paths with their shapes.
NETS = {
    "alexnet": (61_100_840, {"features.10.bias": [256], "classifier.1.weight": [4096, 9216]}),
    "vgg11": (132_863_336, {"features.18.weight": [512, 512, 3, 3], "classifier.0.weight": [4096, 25088]}),
    "vgg13": (133_047_848, {"features.22.weight": [512, 512, 3, 3]}),
    "vgg16": (138_357_544, {"features.28.weight": [512, 512, 3, 3], "classifier.6.weight": [1000, 4096]}),
    "vgg19": (143_667_240, {"features.34.weight": [512, 512, 3, 3]}),
    "vgg11_bn": (132_868_840, {"features.26.weight": [512]}),
    "vgg13_bn": (133_053_736, {"features.32.running_mean": [512]}),
    "vgg16_bn": (138_365_992, {"features.40.weight": [512, 512, 3, 3], "features.41.running_var": [512]}),
    "vgg19_bn": (143_678_248, {"features.50.weight": [512]}),
    "resnet18": (11_689_512, {"layer2.0.downsample.0.weight": [128, 64, 1, 1], "fc.weight": [1000, 512]}),
    "resnet34": (21_797_672, {"layer3.5.bn2.running_mean": [256]}),
    "resnet50": (25_557_032, {"layer1.0.downsample.0.weight": [256, 64, 1, 1], "layer4.2.bn3.weight": [2048]}),
    "resnet101": (44_549_160, {"layer3.22.conv2.weight": [256, 256, 3, 3]}),
    "resnet152": (60_192_808, {"layer3.35.bn3.running_var": [1024]}),
    "squeezenet1_1": (1_235_496, {"features.12.expand3x3.weight": [256, 64, 3, 3], "classifier.1.bias": [1000]}),
    "mobilenet_v2": (3_504_872, {"features.1.conv.0.0.weight": [32, 1, 3, 3], "features.18.1.running_mean": [1280]}),
    "densenet121": (7_978_856, {"features.denseblock1.denselayer1.norm1.weight": [64], "features.norm5.bias": [1024]}),
    "densenet169": (14_149_480, {"features.transition3.conv.weight": [640, 1280, 1, 1]}),
    "densenet201": (20_013_928, {"features.denseblock3.denselayer48.conv2.weight": [32, 128, 3, 3]}),
    "googlenet": (6_624_904, {"inception4a.branch3.1.conv.weight": [48, 16, 3, 3]}),
    "inception_v3": (23_834_568, {"Mixed_6b.branch7x7dbl_5.conv.weight": [192, 128, 1, 7]}),
    "efficientnet_b0": (5_288_548, {"features.1.0.block.1.fc1.weight": [8, 32, 1, 1], "features.8.1.bias": [1280]}),
}


@pytest.mark.parametrize("name", NETS)
def test_is_as_published(name):
    count, paths = NETS[name]
    network = elaborate(load_text(f'from "std/vision.net" import {name}'), name)
    assert sum(math.prod(map(int, p.tensor.shape)) for p in network.parameters) == count
    shapes = {v.path: [int(d) for d in v.tensor.shape] for v in (*network.parameters, *network.states)}
    assert {path: shapes.get(path) for path in paths} == paths
