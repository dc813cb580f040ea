"""What a config asks that cannot be is refused before anything is compiled."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from cnn_jax import ops
from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture
from cnn_jax.training import Config, Task, make_run

LINEAR = Config(Architecture(filters=(), hidden=()), optimizer="sgd", batch_size=10, epochs=1)
TASK = Task((4, 4, 1), 10, (0.5,), (0.3,))


def test_a_loss_that_is_none_of_so_many_classes(monkeypatch: pytest.MonkeyPatch):
    weights = jnp.array([1.0, 2.0, 3.0])
    monkeypatch.setitem(
        ops.LOSSES, "of_three", lambda logits, targets: ops.cross_entropy(logits * weights, targets)
    )
    config = replace(LINEAR, loss="of_three")
    with pytest.raises(UsageError, match="loss=of_three cannot be computed of 10 classes: "):
        make_run(config, TASK)
    make_run(config, TASK._replace(num_classes=3))


def test_training_is_in_32_bits():
    with jax.enable_x64(True), pytest.raises(UsageError, match="JAX is set to 64: unset"):
        make_run(LINEAR, TASK)
