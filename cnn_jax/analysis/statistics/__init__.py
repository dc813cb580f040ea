"""What numbers measured on examples and over seeds say: intervals, comparisons, verdicts."""
# fmt: off

from cnn_jax.analysis.statistics._family import (
    all_pairs, dunnett_level, dunnett_p, sidak, step_down, tukey_level, tukey_p,
)
from cnn_jax.analysis.statistics._means import LEVEL, SeedMean, mean_over_seeds
from cnn_jax.analysis.statistics._proportions import mean_interval, wilson_interval
from cnn_jax.analysis.statistics._replication import replication, seeds_to_detect
from cnn_jax.analysis.statistics._seeds import FEWEST_SEEDS, MOST_SEEDS, POWER
from cnn_jax.analysis.statistics._sequential import (
    REPLICATES, Sequential, compare_sequentially, look_level, looks,
)
from cnn_jax.analysis.statistics._sign_flips import sign_flip_p, smallest_exact_p
from cnn_jax.analysis.statistics._spread import (
    Rows, Spread, half_width, moderate, two_sided_p,
)
from cnn_jax.analysis.statistics._verdicts import (
    BETTER, EQUIVALENT, UNDECIDED, WORSE, Comparison, compare_all, compare_each,
    compare_to_baseline,
)

__all__ = [
    "BETTER", "Comparison", "EQUIVALENT", "FEWEST_SEEDS", "LEVEL", "MOST_SEEDS", "POWER",
    "REPLICATES", "Rows", "SeedMean", "Sequential", "Spread", "UNDECIDED", "WORSE", "all_pairs",
    "compare_all", "compare_each", "compare_sequentially", "compare_to_baseline",
    "dunnett_level", "dunnett_p", "half_width", "look_level", "looks", "mean_interval",
    "mean_over_seeds", "moderate", "replication", "seeds_to_detect", "sidak", "sign_flip_p",
    "smallest_exact_p", "step_down", "tukey_level", "tukey_p", "two_sided_p", "wilson_interval",
]
