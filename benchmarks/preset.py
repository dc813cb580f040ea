"""A preset as the programs read it."""

from pathlib import Path

import experiments
from cnn_jax.studies.choices import read_config, read_hparams
from cnn_jax.training import Config
from experiments.flags import options

PRESETS = Path(experiments.__path__[0]) / "presets"


def read_preset(name: str) -> tuple[Config, dict[str, float]]:
    """The static choices and the numbers of a preset."""
    choices = {}
    for line in (PRESETS / f"{name}.flags").read_text().splitlines():
        if line.startswith("--"):
            flag, _, text = line[2:].partition("=")
            choices[flag] = options.FLAGS[flag].parser.parse(text)
    config = read_config(choices)
    return config, read_hparams(config, choices)
