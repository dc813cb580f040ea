"""Training on one accelerator: one command, one file of numbers, one table for each question.

    python -m benchmarks.accelerator --json=accelerator.json

* speed: images per second of every network in every precision, beside PyTorch, eager and compiled;
  with convolutions of few channels as products and all by the library (--lowerings), and with
  options of XLA (--xla_options).
* trials: networks that train together, mapped, vmapped and vmapped as products.
* recipe: the preset cifar10-airbench from end to end, beside PyTorch's version of it.

Each network has a process of its own, PyTorch's another. All compile at the same time, and nothing
is timed before everything is ready; then the contenders take turns, round after round.
"""
