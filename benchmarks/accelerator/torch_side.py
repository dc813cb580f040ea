"""Training steps in PyTorch on a GPU, one network in every form, in a process of its own.

Prints the number of trained parameters and the seconds to compile each form once all are warm; then
takes steps as the lines of standard input say, "form steps". Importing this needs PyTorch only.
"""

import argparse
import json
import sys
import time

import torch

from benchmarks.torch_worker import define_arguments, make_step

WARM_STEPS = 3


def main() -> None:
    """Trains as the arguments say, for as long as there are lines to read."""
    parser = argparse.ArgumentParser()
    define_arguments(parser)
    parser.add_argument("--precisions", required=True, help="with commas between")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    steps, seconds, parameters = {}, {}, 0
    for precision in arguments.precisions.split(","):
        for way in ("eager", "compiled"):
            form = f"{precision}/{way}"
            start = time.perf_counter()
            _allow(precision)
            step, parameters = make_step(arguments, precision, way == "compiled", device)
            for _ in range(WARM_STEPS):
                step()
            _wait(device)
            steps[form], seconds[form] = step, time.perf_counter() - start
    print(json.dumps({"parameters": parameters, "compile_seconds": seconds}), flush=True)
    for line in sys.stdin:
        form, count = line.split()
        _allow(form.partition("/")[0])
        for _ in range(int(count)):
            steps[form]()
        _wait(device)
        print("done", flush=True)


def _allow(precision: str) -> None:
    rounded = precision == "tensorfloat32"
    torch.backends.cuda.matmul.allow_tf32 = rounded
    torch.backends.cudnn.allow_tf32 = rounded


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
