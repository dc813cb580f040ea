"""Training steps in PyTorch, in a process of their own.

The process may run another Python than what it is compared with. It prints the number of trained
parameters once it is warm; then, for each line of standard input, a number, it takes so many steps
and prints the CPU seconds that the process has used. Importing this needs PyTorch and NumPy only.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import torch_airnet, torch_networks

CLASSES = 10
BATCHES = 2


def main() -> None:
    """Trains as the arguments say, for as long as there are lines to read."""
    parser = argparse.ArgumentParser()
    define_arguments(parser)
    parser.add_argument("--precision", default="float32", help="bfloat16 by autocast")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--profile", type=int, help="print where so many steps go, and end")
    arguments = parser.parse_args()
    step, parameters = make_step(arguments, arguments.precision, arguments.compile)
    step()
    if arguments.profile:
        print(_profile(step, arguments.profile))
        return
    print(parameters, flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            step()
        print(time.process_time(), flush=True)


def _profile(step: Callable[[], None], steps: int) -> str:
    """The ten operations of PyTorch that take most, in milliseconds of a step, a line each."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        for _ in range(steps):
            step()
    # Microseconds.
    times = {item.key: item.self_cpu_time_total / 1e3 / steps for item in found.key_averages()}
    largest = sorted(times.items(), key=lambda item: -item[1])[:10]
    lines = [f"{name:45} {time:8.2f} ms/step" for name, time in largest]
    return "\n".join([*lines, f"{'all':45} {sum(times.values()):8.2f} ms/step"])


def define_arguments(parser: argparse.ArgumentParser) -> None:
    """The network, its batches and its updates."""
    parser.add_argument("--network", required=True, help="a class of torch_networks, or AirNet")
    parser.add_argument("--shape", required=True, help="height,width,channels")
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--learning_rate", type=float, required=True)
    parser.add_argument("--momentum", type=float, required=True)


def make_step(
    arguments: argparse.Namespace, precision: str, compiled: bool, device: str = "cpu"
) -> tuple[Callable[[], None], int]:
    """One training step of a new network, channels last, and the number of what it trains.

    Args:
        arguments: of `define_arguments`.
        precision: "float32", "tensorfloat32" or, by autocast, "bfloat16".
        compiled: whether the network is, by `torch.compile`; on a GPU with CUDA graphs.
        device: "cpu" or "cuda".
    """
    on_gpu = device == "cuda"
    room = torch_airnet if arguments.network == "AirNet" else torch_networks
    model: nn.Module = getattr(room, arguments.network)().to(device)
    model = model.to(memory_format=torch.channels_last).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(
        trained, arguments.learning_rate, momentum=arguments.momentum, fused=on_gpu or None
    )
    height, width, channels = map(int, arguments.shape.split(","))
    random = np.random.default_rng(0)
    shape = (BATCHES, arguments.batch_size, channels, height, width)
    images = torch.from_numpy(random.normal(size=shape).astype(np.float32)).to(device)
    labels = torch.from_numpy(random.integers(0, CLASSES, shape[:2])).to(device)
    batches = itertools.cycle(
        [
            (x.contiguous(memory_format=torch.channels_last), y)
            for x, y in zip(images, labels, strict=True)
        ]
    )
    forward = model
    if compiled:
        forward = torch.compile(model, mode="reduce-overhead" if on_gpu else "default")

    def step() -> None:
        x, y = next(batches)
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = F.cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()

    return step, sum(parameter.numel() for parameter in trained)


if __name__ == "__main__":
    main()
