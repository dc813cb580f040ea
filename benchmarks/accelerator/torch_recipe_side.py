"""The whole recipe of cifar10-airbench in PyTorch, in a process of its own.

As the original trains: images and network in half precision (norms in float32), channels last,
compiled, all images on the GPU. Importing this needs PyTorch and NumPy only.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.accelerator.worker import serve
from benchmarks.torch_airnet import AirNet
from benchmarks.torch_recipe import BATCH_SIZE, SCALE, STEPS, Recipe

SHIFT = 2
WHITENING_IMAGES = 5000
WHITENING_EPSILON = 5e-4
EVALUATED = 2000


def main() -> None:
    """Serves what the argument says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="train and test images and labels, mean and std, as .npz")
    arguments = parser.parse_args()
    serve(lambda: _prepare(arguments.data))


def _prepare(path: str) -> tuple[float, Callable[..., dict[str, Any]]]:
    torch.backends.cudnn.benchmark = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with np.load(path) as arrays:
        train, test = (_split(arrays, name, device) for name in ("train", "test"))
    network = AirNet(scale=SCALE).to(device).to(memory_format=torch.channels_last)
    network = network.half()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.float()
    forward = torch.compile(network, mode="max-autotune" if device == "cuda" else "default")
    start = time.perf_counter()
    _train(network, forward, train)
    _accuracy(network, forward, *test)
    _synchronize(device)
    compiling = time.perf_counter() - start

    def answer(*seeds: int) -> dict[str, Any]:
        seconds, accuracies = [], []
        for seed in seeds:
            torch.manual_seed(seed)
            _synchronize(device)
            start = time.perf_counter()
            _train(network, forward, train)
            accuracies.append(_accuracy(network, forward, *test))
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "accuracies": accuracies}

    return compiling, answer


def _split(arrays: np.lib.npyio.NpzFile, name: str, device: str) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(arrays[f"{name}_images"]).to(device).permute(0, 3, 1, 2)
    mean, std = (
        torch.from_numpy(arrays[part]).to(device, torch.float32).view(1, 3, 1, 1)
        for part in ("mean", "std")
    )
    normalized = ((images / 255 - mean) / std).half()
    labels = torch.from_numpy(arrays[f"{name}_labels"]).to(device).long()
    return normalized.contiguous(memory_format=torch.channels_last), labels


def _train(
    network: AirNet, forward: torch.nn.Module, train: tuple[Tensor, Tensor]
) -> None:  # fmt: skip
    """All steps of the recipe from new weights."""
    images, labels = train
    _initialize(network, images[:WHITENING_IMAGES])
    recipe = Recipe(network, STEPS, forward)
    flipped = torch.rand(len(images), device=images.device) < 0.5
    epoch = 0
    while recipe.done < STEPS:
        given = _augmented(images, flipped ^ (epoch % 2 == 1))
        order = torch.randperm(len(images), device=images.device)
        for chosen in order.split(BATCH_SIZE):
            if len(chosen) == BATCH_SIZE and recipe.done < STEPS:
                recipe.step(given[chosen], labels[chosen])
        epoch += 1


@torch.no_grad()
def _initialize(network: AirNet, first: Tensor) -> None:
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear, torch.nn.BatchNorm2d)):
            module.reset_parameters()
    for group in network.groups:
        for kernel in (group.conv1.weight, group.conv2.weight):
            torch.nn.init.dirac_(kernel[: kernel.shape[1]])
    network.output.weight /= network.output.weight.std()
    patches = first.float().unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5)
    patches = patches.reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    whitening = (vectors / (values + WHITENING_EPSILON).sqrt()).T.reshape(-1, 3, 2, 2)
    network.whitening.weight.copy_(torch.cat([whitening, -whitening]))


def _augmented(images: Tensor, flipped: Tensor) -> Tensor:
    """Every image mirrored where it is to be, and shifted by up to `SHIFT` pixels each way."""
    images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)
    padded = F.pad(images, (SHIFT,) * 4, "reflect")
    count, _, height, width = images.shape
    rows, columns = torch.randint(0, 2 * SHIFT + 1, (2, count, 1), device=images.device)
    every = torch.arange(count, device=images.device).view(-1, 1, 1)
    rows = (rows + torch.arange(height, device=images.device)).unsqueeze(2)
    columns = (columns + torch.arange(width, device=images.device)).unsqueeze(1)
    shifted = padded.permute(0, 2, 3, 1)[every, rows, columns]
    return shifted.permute(0, 3, 1, 2)


@torch.no_grad()
def _accuracy(network: AirNet, forward: torch.nn.Module, images: Tensor, labels: Tensor) -> float:
    """Of views averaged: mirrored, and shifted by a pixel up and left and down and right."""
    network.eval()
    right = torch.zeros((), device=images.device)
    for batch, answers in zip(images.split(EVALUATED), labels.split(EVALUATED), strict=True):
        size = batch.shape[-1]
        padded = F.pad(batch, (1,) * 4, "reflect")
        views = (batch, padded[..., :size, :size], padded[..., 2:, 2:])
        logits = sum(
            weight * forward(given.contiguous(memory_format=torch.channels_last)).float()
            for weight, view in zip((0.5, 0.25, 0.25), views, strict=True)
            for given in (view, view.flip(-1))
        )
        right += (logits.argmax(1) == answers).sum()
    network.train()
    return float(right / len(labels))


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
