"""Training steps in PyTorch on a GPU, one network in every form, in a process of its own.

See `worker`. Importing this needs PyTorch only.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.accelerator.worker import serve
from benchmarks.torch_worker import define_arguments, make_step

WAYS = ("eager", "compiled")
WARM_STEPS = 3


def main() -> None:
    """Serves what the arguments say."""
    parser = argparse.ArgumentParser()
    define_arguments(parser)
    parser.add_argument("--precisions", required=True, help="with commas between")
    arguments = parser.parse_args()
    serve(lambda: _prepare(arguments))


def _prepare(arguments: argparse.Namespace) -> tuple[dict[str, Any], Callable[..., None]]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    built, seconds, parameters = {}, {}, 0
    for precision in arguments.precisions.split(","):
        for way in WAYS:
            form = json.dumps([precision, way])
            start = time.perf_counter()
            _allow(precision)
            step, parameters = make_step(arguments, precision, way == "compiled", device)
            for _ in range(WARM_STEPS):
                step()
            _wait(device)
            built[form], seconds[form] = step, time.perf_counter() - start

    def advance(form: str, calls: int) -> None:
        _allow(json.loads(form)[0])
        for _ in range(calls):
            built[form]()
        _wait(device)

    return {"parameters": parameters, "compile_seconds": seconds, "steps": 1}, advance


def _allow(precision: str) -> None:
    rounded = precision == "tensorfloat32"
    torch.backends.cuda.matmul.allow_tf32 = rounded
    torch.backends.cudnn.allow_tf32 = rounded


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
