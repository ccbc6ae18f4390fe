"""The paper's network: four convolutions of 32, 64, 128 and 256 filters, each followed by 2x2 max-pooling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

FILTERS = (32, 64, 128, 256)
SIDE = 32
CHANNELS = 3


class Cnn(nn.Module):
    """Classify images of 3x32x32; four poolings leave 256x2x2 features for the linear head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = CHANNELS
        for filters in FILTERS:
            layers += [nn.Conv2d(width, filters, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            width = filters
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(width * (SIDE // 2 ** len(FILTERS)) ** 2, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map Nx3x32x32 to Nxnum_classes logits."""
        return self.head(self.features(images).flatten(1))  # type: ignore[no-any-return]


def build(name: str, num_classes: int, seed: int) -> nn.Module:
    """Return the named model with weights drawn from ``seed``, leaving torch's global generator alone.

    Raises:
        ValueError: no such model.
    """
    if name != "cnn":
        raise ValueError(f"model {name!r}: allowed: cnn")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Cnn(num_classes)


def to_input(images: npt.NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Bring released images to the model's input.

    Grey images are repeated over the three channels and sides other than 32 are resized to the nearest pixel: both are
    functions of the release alone, hence post-processing that costs no epsilon.

    Args:
        images: NxCxHxW, C being 1 or 3.
        device: where the result lives.

    Returns:
        Nx3x32x32 in [-1, 1].
    """
    tensor = torch.from_numpy(np.ascontiguousarray(images)).to(device).float().div_(127.5).sub_(1)
    if tensor.shape[2:] != (SIDE, SIDE):
        tensor = nn.functional.interpolate(tensor, size=(SIDE, SIDE), mode="nearest")
    return tensor.expand(-1, CHANNELS, -1, -1)
