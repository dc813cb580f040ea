"""Augmentation inside the run: numbers traced, targets mixed, views averaged."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture
from cnn_jax.training import Config, Examples, Task, augmentations, hyperparameters, make_run
from cnn_jax.training.step import Setting, prepare

Draw = Callable[[int], Examples]
TINY = Architecture(filters=(4,), hidden=())
KEY = jax.random.key(0)


def train(task: Task, examples: Examples, text: str, optimizer: str = "adam", **static) -> tuple:
    """The state and metrics after one epoch with an augmentation."""
    calls, strengths = augmentations(text)
    config = Config(TINY, optimizer=optimizer, batch_size=16, augment=calls, **static)
    run = make_run(config, task)
    numbers = hyperparameters(config, strengths)
    hparams = {name: jnp.float32(value) for name, value in numbers.items()}
    return jax.jit(run.epoch)(run.init(hparams, KEY, examples), hparams, KEY, examples)


def assert_same(ours: tuple, theirs: tuple) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_texts_that_differ_in_numbers_share_a_config():
    two, strengths = augmentations("flip, translate:2")
    four, others = augmentations("flip+translate:4")
    assert two == four
    assert strengths == {"augment_flip": 0.5, "augment_translate": 2.0}
    assert others == {"augment_flip": 0.5, "augment_translate": 4.0}
    assert augmentations("translate:2:reflect")[0] != augmentations("translate:2")[0]
    assert augmentations("none") == ((), {})
    with pytest.raises(UsageError, match="augment: unknown augmentation 'flop': did you mean"):
        augmentations("flop")


@pytest.mark.parametrize("optimizer", ["adam", "gradient_descent"])
def test_strength_zero_trains_as_without_and_more_does_not(task: Task, draw: Draw, optimizer: str):
    plain = train(task, draw(70), "none", optimizer)
    assert_same(train(task, draw(70), "translate:0, rotate:0", optimizer), plain)
    assert_same(train(task, draw(70), "mixup:0", optimizer), plain)
    state, _ = train(task, draw(70), "translate:2", optimizer)
    moved = jax.tree.leaves(jax.tree.map(jnp.subtract, state.params, plain[0].params))
    assert max(float(jnp.max(jnp.abs(leaf))) for leaf in moved) > 1e-4


def test_augmenting_disturbs_no_other_stream(task: Task, draw: Draw):
    hard, soft = (train(task, draw(70), text)[1] for text in ("none", "cutout:0"))
    assert float(hard["train_loss"]) == pytest.approx(float(soft["train_loss"]), rel=1e-6)


def test_views_average_their_logits(task: Task, draw: Draw):
    examples = draw(30)
    for tta, views in (("none", lambda x: [x]), ("flip", lambda x: [x, x[:, :, ::-1]])):
        config = Config(TINY, tta=tta)
        run, plain = make_run(config, task), make_run(Config(TINY), task)
        hparams = {name: jnp.float32(v) for name, v in hyperparameters(config).items()}
        state = run.init(hparams, KEY, examples)
        expected = np.mean([plain.predict(state, v) for v in views(examples.images)], axis=0)
        np.testing.assert_allclose(run.predict(state, examples.images), expected, atol=1e-5)


def test_colors_are_needed_for_some():
    with pytest.raises(UsageError, match="augment: saturation needs color images"):
        make_run(
            Config(TINY, augment=augmentations("saturation")[0]), Task((8, 8, 1), 4, (0,), (1,))
        )


def test_an_augmentation_has_no_number_of_anothers(task: Task, draw: Draw):
    """A loss or an activation may call a number of its own as an augmentation calls one."""
    examples, (calls, strengths) = draw(8), augmentations("scale:1")
    setting = Setting(Config(TINY, augment=calls), task, None)
    hparams = {name: jnp.float32(value) for name, value in strengths.items()}
    size = task.image_shape[:2]
    alone, beside = (
        jax.jit(prepare, static_argnums=(0, 6))(
            setting, examples, jnp.arange(8), jnp.int32(0), hparams | more, KEY, size
        )
        for more in ({}, {"scale": jnp.float32(5)})
    )
    assert_same(beside, alone)
