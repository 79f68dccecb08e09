"""The networks of the table in PyTorch, as its users write them. Parameters stand in the order of the `.net` texts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

# ---------------------------------------------------------------------------------------------- perceptrons, LeNet


def small() -> nn.Module:
    """2-8-8-1."""
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))


def wide(hidden: tuple[int, ...] = (128,)) -> nn.Module:
    """784-...-10."""
    sizes = (784, *hidden)
    layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 10))


def lenet() -> nn.Module:
    """LeNet-5."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- residual networks


def conv(a: int, b: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size where its stride is 1."""
    return nn.Conv2d(a, b, kernel, stride, padding=(kernel - 1) // 2, groups=groups, bias=False)


class BasicBlock(nn.Module):
    """Two 3 by 3 convolutions beside a shortcut; `padded`: the shortcut has no parameters."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int, padded: bool = False):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels), nn.BatchNorm2d(channels)
        self.padding = (channels - inputs) // 2 if padded else 0
        self.downsample = None
        if not padded and (stride != 1 or inputs != channels):
            self.downsample = nn.Sequential(conv(inputs, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.padding:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        elif self.downsample is not None:
            x = self.downsample(x)
        return F.relu(x + y)


class Bottleneck(nn.Module):
    """Three convolutions, the middle one narrow, beside a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, channels, 1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = conv(channels, 4 * channels, 1), nn.BatchNorm2d(4 * channels)
        self.downsample = None
        if stride != 1 or inputs != 4 * channels:
            self.downsample = nn.Sequential(conv(inputs, 4 * channels, 1, stride), nn.BatchNorm2d(4 * channels))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu((x if self.downsample is None else self.downsample(x)) + y)


def stages(block, inputs: int, widths, depths, **options) -> list[nn.Module]:
    """The blocks of a residual network, all stages but the first with a stride of 2."""
    blocks = []
    for s, (width, depth) in enumerate(zip(widths, depths)):
        for b in range(depth):
            blocks.append(block(inputs, width, 2 if s and not b else 1, **options))
            inputs = width * block.expansion
    return blocks


def pooled(channels: int, classes: int) -> list[nn.Module]:
    """What ends a residual network."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def resnet20() -> nn.Module:
    """For CIFAR, shortcuts without parameters."""
    blocks = stages(BasicBlock, 16, (16, 32, 64), (3, 3, 3), padded=True)
    return nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), *blocks, *pooled(64, 10))


def resnet18_cifar() -> nn.Module:
    """64 wide, with a 3 by 3 stem."""
    blocks = stages(BasicBlock, 64, (64, 128, 256, 512), (2, 2, 2, 2))
    return nn.Sequential(conv(3, 64), nn.BatchNorm2d(64), nn.ReLU(), *blocks, *pooled(512, 10))


def resnet50() -> nn.Module:
    """For ImageNet."""
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks = stages(Bottleneck, 64, (64, 128, 256, 512), (3, 4, 6, 3))
    return nn.Sequential(*stem, *blocks, *pooled(2048, 1000))


# ---------------------------------------------------------------------------------------------- other image networks


def vgg16() -> nn.Module:
    """Without batch normalization."""
    layers: list[nn.Module] = []
    channels = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(25088, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *head, nn.Linear(4096, 1000))


def conv_norm(a: int, b: int, kernel: int = 3, stride: int = 1, groups: int = 1, activation=nn.ReLU6) -> nn.Sequential:
    """A convolution, batch normalization and an activation."""
    return nn.Sequential(conv(a, b, kernel, stride, groups), nn.BatchNorm2d(b), activation())


class InvertedResidual(nn.Module):
    """MobileNetV2's block; with `squeeze`, EfficientNet's."""

    def __init__(self, a: int, b: int, stride: int, expand: int, kernel: int = 3, activation=nn.ReLU6, squeeze=False):
        super().__init__()
        middle = expand * a
        layers = [conv_norm(a, middle, 1, activation=activation)] if expand != 1 else []
        layers.append(conv_norm(middle, middle, kernel, stride, middle, activation))
        if squeeze:
            layers.append(SqueezeExcitation(middle, max(a // 4, 1)))
        self.body = nn.Sequential(*layers, conv(middle, b, 1), nn.BatchNorm2d(b))
        self.adds = stride == 1 and a == b

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


class SqueezeExcitation(nn.Module):
    """Scales each channel by what a small network makes of the means of all."""

    def __init__(self, channels: int, squeeze: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, squeeze, 1), nn.Conv2d(squeeze, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(F.silu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


def mobilenet_v2() -> nn.Module:
    """For ImageNet."""
    layers: list[nn.Module] = [conv_norm(3, 32, 3, 2)]
    channels = 32
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expand, width, count, stride in rows:
        for b in range(count):
            layers.append(InvertedResidual(channels, width, 1 if b else stride, expand))
            channels = width
    head = [conv_norm(320, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, *head)


def efficientnet_b0() -> nn.Module:
    """For ImageNet; what training drops is left out."""
    layers: list[nn.Module] = [conv_norm(3, 32, 3, 2, activation=nn.SiLU)]
    channels = 32
    rows = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
            (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))  # fmt: skip
    for expand, kernel, stride, width, count in rows:
        for b in range(count):
            layers.append(InvertedResidual(channels, width, 1 if b else stride, expand, kernel, nn.SiLU, squeeze=True))
            channels = width
    head = [conv_norm(320, 1280, 1, activation=nn.SiLU), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, *head)


def probability(make) -> nn.Module:
    """A network of classes with a softmax behind it."""
    return nn.Sequential(make(), nn.Softmax(1))


def double_conv(a: int, b: int) -> nn.Sequential:
    """U-Net's block."""
    return nn.Sequential(conv(a, b), nn.BatchNorm2d(b), nn.ReLU(), conv(b, b), nn.BatchNorm2d(b), nn.ReLU())


class UNet(nn.Module):
    """examples/unet.net: three levels, 16 wide."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.down = nn.ModuleList([double_conv(1, width), double_conv(width, 2 * width)])
        self.bottom = double_conv(2 * width, 4 * width)
        self.up1, self.merge1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), double_conv(4 * width, 2 * width)
        self.up0, self.merge0 = nn.ConvTranspose2d(2 * width, width, 2, 2), double_conv(2 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        a = self.down[0](x)
        b = self.down[1](F.max_pool2d(a, 2))
        x = self.bottom(F.max_pool2d(b, 2))
        x = self.merge1(torch.cat((self.up1(x), b), 1))
        x = self.merge0(torch.cat((self.up0(x), a), 1))
        return self.head(x)


# ---------------------------------------------------------------------------------------------- attention, recurrence


class Block(nn.Module):
    """A block of a transformer, attention by PyTorch's own function."""

    def __init__(self, width: int, heads: int, causal: bool = False):
        super().__init__()
        self.causal = causal
        self.norm1, self.qkv, self.mix = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.mix(mixed.transpose(1, 2).reshape(n, t, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    """examples/vit.net."""

    def __init__(self, patch: int = 7, width: int = 64, depth: int = 4, heads: int = 4, classes: int = 10):
        super().__init__()
        self.patches = nn.Conv2d(1, width, patch, patch)
        self.position = nn.Parameter(torch.zeros(1, (28 // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(x)).mean(1))

    def parameters_in_order(self):
        """The position stands after the patches, though `Module.parameters` puts it first."""
        rest = [p for m in (self.blocks, self.norm, self.head) for p in m.parameters()]
        return [self.patches.weight, self.patches.bias, self.position, *rest]


class GPT(nn.Module):
    """gpt of nets/transformers.net."""

    def __init__(self, length: int = 128, vocabulary: int = 4096, width: int = 256, depth: int = 4, heads: int = 4):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, token):
        return self.head(self.norm(self.blocks(self.embed(token) + self.position)))

    def parameters_in_order(self):
        """The position stands after the embedding, though `Module.parameters` puts it first."""
        rest = [p for m in (self.blocks, self.norm, self.head) for p in m.parameters()]
        return [self.embed.weight, self.position, *rest]


class Rows(nn.Module):
    """examples/rows.net, with the products of the inputs made for all steps at once and the gates' joined."""

    def __init__(self, units: int = 64, classes: int = 10):
        super().__init__()
        self.given = nn.Linear(28, 3 * units)
        self.gates = nn.Linear(units, 2 * units)
        self.candidate = nn.Linear(units, units)
        self.head = nn.Linear(units, classes)
        self.units = units

    def forward(self, image):
        given = self.given(image[:, 0])
        h = image.new_zeros(len(image), self.units)
        for t in range(28):
            of_input, of_candidate = given[:, t].split((2 * self.units, self.units), 1)
            z, r = torch.sigmoid(of_input + self.gates(h)).chunk(2, 1)
            candidate = torch.tanh(of_candidate + self.candidate(r * h))
            h = (1 - z) * h + z * candidate
        return self.head(h)

    def take(self, arrays) -> None:
        """z's two layers, r's, the candidate's, the head: weight and bias of each."""
        z, zh, r, rh, c, ch, head = (arrays[k : k + 2] for k in range(0, 14, 2))
        for layer, parts in (
            (self.given, (z, r, c)),
            (self.gates, (zh, rh)),
            (self.candidate, (ch,)),
            (self.head, (head,)),
        ):
            layer.weight.copy_(torch.cat([p[0] for p in parts]))
            layer.bias.copy_(torch.cat([p[1] for p in parts]))


class LibraryRows(nn.Module):
    """PyTorch's own GRU in its place: the same work, but its reset gate comes after the product."""

    def __init__(self, units: int = 64, classes: int = 10):
        super().__init__()
        self.gru = nn.GRU(28, units, batch_first=True)
        self.head = nn.Linear(units, classes)

    def forward(self, image):
        return self.head(self.gru(image[:, 0])[1][0])

    def take(self, arrays) -> None:
        """Keeps the weights that PyTorch draws."""


class Recurrence(nn.Module):
    """A cell of PyTorch's in a loop of Python."""

    def __init__(self, units: int = 32):
        super().__init__()
        self.cell = nn.GRUCell(32, units)

    def forward(self, x):
        h = x.new_zeros(len(x), self.cell.hidden_size)
        for now in x.unbind(1):
            h = self.cell(now, h)
        return h


class LibraryRecurrence(nn.Module):
    """The same as one call of PyTorch's own GRU."""

    def __init__(self, units: int = 32):
        super().__init__()
        self.gru = nn.GRU(32, units, batch_first=True)

    def forward(self, x):
        return self.gru(x)[1][0]


# ---------------------------------------------------------------------------------------------- pieces


class Radial(nn.Module):
    """exp(-|x - center|^2 width^2) and a linear layer. expanded: the square of a difference as a product of matrices,
    as who knows about speed writes it."""

    def __init__(self, units: int = 256, inputs: int = 64, classes: int = 10, expanded: bool = False):
        super().__init__()
        self.center = nn.Parameter(torch.zeros(units, inputs))
        self.width = nn.Parameter(torch.zeros(units))
        self.head = nn.Linear(units, classes)
        self.expanded = expanded

    def forward(self, x):
        if self.expanded:
            products = x @ self.center.T
            distance = (x * x).sum(1, keepdim=True) - 2 * products + (self.center * self.center).sum(1)
        else:
            distance = ((x[:, None] - self.center) ** 2).sum(2)
        return self.head(torch.exp(-distance * self.width**2))


def chain(x):
    """Eight operations, element by element."""
    return torch.tanh(torch.relu(x * 0.9 + 0.1) * torch.sigmoid(x) - x**2)


def chain_loss(x, weight):
    """The chain under a weighted mean."""
    return (chain(x) * weight).mean()


class Normalized(nn.Module):
    """A layer norm under a weighted mean."""

    def __init__(self, units: int = 1024):
        super().__init__()
        self.norm = nn.LayerNorm(units)

    def forward(self, x, weight):
        return (self.norm(x) * weight).mean()


def mean_square(p, y):
    """The loss of regressions."""
    return ((p - y) ** 2).mean()


def smoothed_cross_entropy(logits, label):
    """ViT's loss."""
    return F.cross_entropy(logits, label, label_smoothing=0.1)


def token_cross_entropy(logits, token):
    """The loss of language models."""
    return F.cross_entropy(logits.flatten(0, 1), token.flatten())


cross_entropy = F.cross_entropy
