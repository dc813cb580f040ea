"""An optimizer of Optax and a schedule of one's own.

cnn_jax train --extend=examples/my_optimizer.py --optimizer=my_adan --schedule=my_fall
"""

import optax

import cnn_jax


@cnn_jax.optimizer(learning_rate=3e-3)
def my_adan(learning_rate, *, adan_decay=0.02):
    """Adan (Xie et al. 2022), built anew in every step: its numbers may be traced."""
    return optax.adan(learning_rate, weight_decay=adan_decay)


@cnn_jax.schedule
def my_fall(t, *, power=2.0):
    """1 - t^power: slow at first, steep at the end."""
    return 1 - t**power
