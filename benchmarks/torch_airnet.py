"""The network of the fastest CIFAR-10 recipe in PyTorch (Jordan 2024, arXiv:2404.00498).

Importing this needs the extra `bench`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (64, 256, 256)
SCALE = 1 / 9


class Group(nn.Module):
    """Two convolutions, the first one pooled, each normalized without a scale."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
        self.norm1 = _batch_norm(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.norm2 = _batch_norm(filters)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class AirNet(nn.Module):
    """Normalized float32 images, n c 32 32, to logits. The whitening's kernel is not trained.

    Args:
        channels: of the images.
        num_classes: of the logits.
        scale: factor of the logits. `copy_parameters` makes up for another one than ours in the
            dense layer before it, so that the logits are ours in any case.
    """

    def __init__(self, channels: int = 3, num_classes: int = 10, scale: float = SCALE) -> None:
        super().__init__()
        self.scale = scale
        self.whitening = nn.Conv2d(channels, 8 * channels, 2)
        self.whitening.weight.requires_grad = False
        widths = (8 * channels, *WIDTHS)
        self.groups = nn.ModuleList(
            Group(before, after) for before, after in zip(widths, WIDTHS, strict=False)
        )
        self.output = nn.Linear(WIDTHS[-1], num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.whitening(x))
        for group in self.groups:
            x = group(x)
        return self.output(F.max_pool2d(x, 3).flatten(1)) * self.scale


def copy_parameters(
    params: Mapping[str, Any], statistics: Mapping[str, Any], network: AirNet
) -> None:
    """Gives `network` the arrays of `airnet` with batch norm, its frozen kernel included.

    Args:
        params: what is trained, as nested dicts by layer.
        statistics: the rest, likewise: the whitening's kernel and the running statistics.
        network: changed in place.
    """
    trained, rest = params["network"], statistics["network"]
    _set(network.whitening.weight, _kernel(rest["whitening"]["kernel"]))
    _set(network.whitening.bias, trained["whitening"]["bias"])
    for index, group in enumerate(network.groups, start=1):
        for repeat in (1, 2):
            suffix = f"{index}_{repeat}"
            conv, norm = getattr(group, f"conv{repeat}"), getattr(group, f"norm{repeat}")
            _set(conv.weight, _kernel(trained[f"conv{suffix}"]["conv"]["kernel"]))
            _set(norm.bias, trained[f"norm{suffix}"]["norm"]["bias"])
            _set(norm.running_mean, rest[f"norm{suffix}"]["norm"]["mean"])
            _set(norm.running_var, rest[f"norm{suffix}"]["norm"]["var"])
    _set(network.output.weight, np.asarray(trained["output"]["kernel"]).T * SCALE / network.scale)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    # PyTorch's momentum is the weight of what is new.
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=1 - 0.6)
    norm.weight.requires_grad = False
    return norm


def _kernel(kernel: Any) -> np.ndarray:
    return np.transpose(kernel, (3, 2, 0, 1))


def _set(target: Tensor | None, values: Any) -> None:
    assert target is not None and target.shape == values.shape
    with torch.no_grad():
        target.copy_(torch.tensor(np.asarray(values)))
