"""Pooling and resampling, against PyTorch."""

import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

LINE, IMAGE, SOLID = {"x": (2, 3, 11)}, {"x": (2, 3, 9, 8)}, {"x": (1, 2, 5, 4, 7)}

CASES = [
    ("maxpool(2)", LINE, lambda x, p: F.max_pool1d(x, 2)),
    ("maxpool(3, 2, 1)", IMAGE, lambda x, p: F.max_pool2d(x, 3, 2, 1)),
    ("maxpool(2)", IMAGE, lambda x, p: F.max_pool2d(x, 2)),
    ("maxpool([3, 2], [1, 2], [1, 0], [2, 1])", IMAGE, lambda x, p: F.max_pool2d(x, (3, 2), (1, 2), (1, 0), (2, 1))),
    ("maxpool(3, 2, ceil_mode = true)", IMAGE, lambda x, p: F.max_pool2d(x, 3, 2, ceil_mode=True)),
    ("maxpool(2, 3, 1, ceil_mode = true)", LINE, lambda x, p: F.max_pool1d(x, 2, 3, 1, ceil_mode=True)),
    ("maxpool(2, 1)", SOLID, lambda x, p: F.max_pool3d(x, 2, 1)),
    ("avgpool(3)", LINE, lambda x, p: F.avg_pool1d(x, 3)),
    ("avgpool(2)", IMAGE, lambda x, p: F.avg_pool2d(x, 2)),
    ("avgpool(3, 2, 1)", IMAGE, lambda x, p: F.avg_pool2d(x, 3, 2, 1)),
    ("avgpool(3, 2, 1, count_include_pad = false)", IMAGE,
     lambda x, p: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
    ("avgpool([3, 2], 2, [1, 0], true)", IMAGE, lambda x, p: F.avg_pool2d(x, (3, 2), 2, (1, 0), True)),
    ("avgpool(3, 2, 1, true, false)", IMAGE, lambda x, p: F.avg_pool2d(x, 3, 2, 1, True, False)),
    ("avgpool(3, 2, 1)", SOLID, lambda x, p: F.avg_pool3d(x, 3, 2, 1)),
    ("avgpool(3, 2, 1, true)", SOLID, lambda x, p: F.avg_pool3d(x, 3, 2, 1, True)),
    ("global_avgpool", IMAGE, lambda x, p: x.mean((2, 3))),
    ("global_maxpool", SOLID, lambda x, p: x.amax((2, 3, 4))),
    ("adaptive_avgpool(1)", IMAGE, lambda x, p: F.adaptive_avg_pool2d(x, 1)),
    ("adaptive_avgpool([4, 5])", IMAGE, lambda x, p: F.adaptive_avg_pool2d(x, (4, 5))),
    ("adaptive_avgpool([3, 4])", IMAGE, lambda x, p: F.adaptive_avg_pool2d(x, (3, 4))),
    ("adaptive_avgpool(13)", LINE, lambda x, p: F.adaptive_avg_pool1d(x, 13)),
    ("adaptive_avgpool(3)", SOLID, lambda x, p: F.adaptive_avg_pool3d(x, 3)),
    ("adaptive_maxpool([4, 3])", IMAGE, lambda x, p: F.adaptive_max_pool2d(x, (4, 3))),
    ("adaptive_maxpool(4)", LINE, lambda x, p: F.adaptive_max_pool1d(x, 4)),
    ("upsample(2)", IMAGE, lambda x, p: F.interpolate(x, scale_factor=2)),
    ("upsample([1, 3])", IMAGE, lambda x, p: F.interpolate(x, scale_factor=(1, 3))),
    ("upsample(3)", LINE, lambda x, p: F.interpolate(x, scale_factor=3)),
    ("upsample(2)", SOLID, lambda x, p: F.interpolate(x, scale_factor=2)),
    ("upsample(2, \"bilinear\")", IMAGE, lambda x, p: F.interpolate(x, scale_factor=2, mode="bilinear")),
    ("upsample(3, \"bilinear\", align_corners = true)", IMAGE,
     lambda x, p: F.interpolate(x, scale_factor=3, mode="bilinear", align_corners=True)),
    ("upsample(2, \"bilinear\")", LINE, lambda x, p: F.interpolate(x, scale_factor=2, mode="linear")),
    ("upsample(2, \"bilinear\", true)", SOLID,
     lambda x, p: F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)),
    ("resize([4, 11])", IMAGE, lambda x, p: F.interpolate(x, (4, 11))),
    ("resize([4, 11], \"bilinear\")", IMAGE, lambda x, p: F.interpolate(x, (4, 11), mode="bilinear")),
    ("resize([1, 5], \"bilinear\", true)", IMAGE,
     lambda x, p: F.interpolate(x, (1, 5), mode="bilinear", align_corners=True)),
]  # fmt: skip


@pytest.mark.parametrize("text, inputs, function", CASES, ids=[f"{t} {len(i['x'])}" for t, i, _ in CASES])
def test_pooling(agrees, text, inputs, function):
    agrees(f"x -> {text} as f", inputs, function, single=True)


@pytest.mark.parametrize("rank, text, options", [
    (1, "2", (2,)), (2, "2", (2,)), (3, "2", (2,)), (2, "[2, 3], [3, 3], [1, 0]", ((2, 3), (3, 3), (1, 0))),
])  # fmt: skip
def test_max_unpool(agrees, rank, text, options):
    shape = (2, 3, 8, 9, 4)[: rank + 2]
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
    unpool = (F.max_unpool1d, F.max_unpool2d, F.max_unpool3d)[rank - 1]
    through = f"""
    layer through()(x) {{
        y, place = x -> maxpool({text}, return_indices = true)
        return (y^2, place) -> max_unpool({text}, size = x.shape[2:])
    }}"""

    def theirs(x, p):
        y, place = pool(x, *options, return_indices=True)
        return unpool(y**2, place, *options, output_size=x.shape[2:])

    agrees("x -> through", {"x": shape}, theirs, declarations=through, single=True)


def test_ties_go_to_the_first(agrees):
    import numpy as np

    x = np.array([[[[1.0, 1.0, 0.0], [1.0, 1.0, 2.0], [2.0, 2.0, 2.0]]]])
    agrees("x -> maxpool(2, 1)", {"x": x}, lambda x, p: F.max_pool2d(x, 2, 1), second=False, differences=False)
