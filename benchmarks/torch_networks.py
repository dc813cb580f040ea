"""The networks of the benchmarks in PyTorch. Importing this needs the extra `bench`.

Each classifies normalized float32 images, n c h w, into 10 classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MnistCnn(nn.Module):
    """The CNN of Flax's MNIST example."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.dense1 = nn.Linear(64 * 7 * 7, 256)
        self.output = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.relu(self.conv1(x)), 2)
        x = F.avg_pool2d(F.relu(self.conv2(x)), 2)
        return self.output(F.relu(self.dense1(x.flatten(1))))


class LeNet5(nn.Module):
    """LeNet-5 with tanh and average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.dense1 = nn.Linear(16 * 5 * 5, 120)
        self.dense2 = nn.Linear(120, 84)
        self.output = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.tanh(self.dense1(x.flatten(1)))
        return self.output(torch.tanh(self.dense2(x)))


class Block(nn.Module):
    """Two normalized convolutions and a shortcut: without parameters, or projected."""

    def __init__(self, channels: int, filters: int, projection: bool = False) -> None:
        super().__init__()
        self.stride = 1 if channels == filters else 2
        self.missing = filters - channels
        self.conv1 = _convolution(channels, filters, self.stride)
        self.norm1 = nn.BatchNorm2d(filters)
        self.conv2 = _convolution(filters, filters, 1)
        self.norm2 = nn.BatchNorm2d(filters)
        self.projection = None
        if projection and self.missing:
            convolution = nn.Conv2d(channels, filters, 1, self.stride, bias=False)
            self.projection = nn.Sequential(convolution, nn.BatchNorm2d(filters))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.projection is not None:
            x = self.projection(x)
        elif self.missing:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
        return F.relu(y + x)


class ResNet(nn.Module):
    """Blocks between a convolution and the mean of the maps, with batch norm.

    Args:
        widths: the filters of the first convolution and of each block.
        projection: whether shortcuts between widths are projected.
    """

    def __init__(self, widths: Sequence[int], projection: bool) -> None:
        super().__init__()
        self.conv = _convolution(3, widths[0], 1)
        self.norm = nn.BatchNorm2d(widths[0])
        self.blocks = nn.Sequential(
            *(
                Block(channels, filters, projection)
                for channels, filters in zip(widths, widths[1:], strict=False)
            )
        )
        self.output = nn.Linear(widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.norm(self.conv(x))))
        return self.output(x.mean((2, 3)))


class ResNet20(ResNet):
    """ResNet-20."""

    def __init__(self) -> None:
        super().__init__((16, 16, 16, 16, 32, 32, 32, 64, 64, 64), projection=False)


class ResNet18(ResNet):
    """ResNet-18 as it is used on CIFAR."""

    def __init__(self) -> None:
        super().__init__((64, 64, 64, 128, 128, 256, 256, 512, 512), projection=True)


def _convolution(channels: int, filters: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
