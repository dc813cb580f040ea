"""Training on one accelerator: one command, one file of numbers, one table for each question.

    python -m benchmarks.accelerator --json=accelerator.json

* speed: images per second of every network in every precision, beside PyTorch, eager and compiled,
  and with the options of XLA that --xla_options gives.
* trials: networks that train together, mapped, vmapped and vmapped as products.
* recipe: the preset cifar10-airbench from end to end, beside PyTorch's version of it.

Everything is compiled first; then the contenders take turns, round after round.
"""
