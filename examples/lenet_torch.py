"""LeNet in PyTorch, for `diffgraph bench examples/lenet.net --against torch`: the function of the net's name."""

import torch
import torch.nn.functional as F
from torch import nn


def lenet(case):
    """A function that makes one step of `case.mode`, from our weights, on our samples."""
    torch.set_num_threads(case.threads)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    ).to(memory_format=torch.channels_last)  # fmt: skip
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), case.parameters.values()):
            parameter.copy_(torch.from_numpy(array))
    image = torch.from_numpy(case.inputs["image"])
    label = torch.from_numpy(case.inputs["label"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01, fused=True)

    def infer():
        with torch.inference_mode():
            return model(image).softmax(1).numpy()

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(image), label)
        loss.backward()
        optimizer.step()
        return loss.item()

    return infer if case.mode == "inference" else train
