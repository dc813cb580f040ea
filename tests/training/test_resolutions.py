"""Training on smaller images first: what is done to them, and that a run goes on as it should."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture
from cnn_jax.training import Config, Examples, Task, Trainer, fit, hyperparameters, make_run
from cnn_jax.training.grid import Trial
from cnn_jax.training.task import shrink

Draw = Callable[[int], Examples]
KEY = jax.random.key(0)
AIRNET = Architecture(model="airnet", normalization="batch", width=0.05)
CONFIG = Config(AIRNET, batch_size=16, epochs=2, resolutions=((10, 1),))
HPARAMS = {name: jnp.float32(value) for name, value in hyperparameters(CONFIG).items()}


@pytest.fixture(scope="module")
def examples(enlarged: Draw) -> Examples:
    return enlarged(48)


def test_images_are_shrunk_as_pillow_does():
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 24, 1)).astype(np.float32)
    ours = np.asarray(shrink(jnp.asarray(images), (10, 15)))
    for image, small in zip(images, ours, strict=True):
        theirs = Image.fromarray(image[..., 0]).resize((15, 10), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(small[..., 0], np.asarray(theirs), atol=1e-2)
    assert shrink(images, (16, 24)) is images


def test_an_epoch_on_small_images_is_one_on_images_made_small(
    enlarged_task: Task, examples: Examples
):
    small = Examples(shrink(examples.images, (10, 10)), examples.labels)
    run = make_run(CONFIG, enlarged_task)
    other = make_run(
        replace(CONFIG, resolutions=()), enlarged_task._replace(image_shape=(10, 10, 1))
    )
    assert run.sizes == ((10, 10), (16, 16))
    state = run.init(HPARAMS, KEY)
    ours, _ = jax.jit(run.epoch, static_argnums=4)(state, HPARAMS, KEY, examples, (10, 10))
    theirs, _ = jax.jit(other.epoch)(state, HPARAMS, KEY, small)
    for mine, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-5)


def test_a_run_goes_on_after_any_stage_and_is_a_trial_of_a_sweep(
    enlarged_task: Task, examples: Examples
):
    ends = list(fit(CONFIG, enlarged_task, examples))
    trainer = Trainer(make_run(CONFIG, enlarged_task), examples, None)
    trial = Trial(0, {}, 0, hyperparameters(CONFIG), history=(ends[0].metrics,))
    resumed = trainer.resume(ends[0].state, trial)
    trainer.compile(resumed[1])
    assert trainer.programs == 1
    (again,) = trainer.fit(*resumed, CONFIG.epochs)
    assert trainer.programs == 1
    assert again.standing.trials[0].history == tuple(end.metrics for end in ends)
    trainer = Trainer(make_run(CONFIG, enlarged_task), examples, None)
    trials = [Trial(0, {}, seed, hyperparameters(CONFIG)) for seed in (1, 0)]
    *_, end = trainer.fit(*trainer.start(trials), CONFIG.epochs)
    assert trainer.programs == 2
    for ours, alone in zip(end.standing.trials[1].history, ends, strict=True):
        np.testing.assert_allclose(ours["train_loss"], alone.metrics["train_loss"], rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolutions": ((10, 2), (12, 1))}, "are of 3 epochs, and epochs=2"),
        ({"resolutions": ((16, 1),)}, "16 pixels are no smaller"),
        ({"architecture": Architecture()}, "model=cnn flattens its feature maps"),
        ({"resolutions": ((5, 1),)}, "airnet needs images of at least 9x9"),
    ],
)
def test_what_cannot_be_is_one_clear_line(enlarged_task: Task, changes: dict, message: str):
    with pytest.raises(UsageError, match=f"^[^\n]*{message}"):
        make_run(replace(CONFIG, **changes), enlarged_task)
