"""The recipe of cifar10-airbench against a PyTorch version of it, on the same batches.

Both start with the same parameters and see the same images, without augmentation. Step by step
the losses are compared; then, after one epoch and two, the accuracy on the test images. An epoch is
25 steps, as in the recipe, whose batches are of 2000 images; of fewer training examples they are
smaller. A step this large amplifies rounding, so a second PyTorch training starts a rounding error
away from the first one: what those two differ by, no two programs can agree closer than.

    python -m benchmarks.airnet_recipe --data_dir=... --train_examples=12500

In the middle of the recipe's eight epochs learning rates are high, and accuracy is a draw. With
--annealed the recipe is shortened instead, to trainings of one epoch, two, and so on, each with the
whole schedule down to a learning rate of zero, where accuracy has settled; --seeds repeats them.

With --alone PyTorch's version trains by itself, all eight epochs on augmented images, and is
measured as the preset is: what the recipe is worth on the data at hand.
"""

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice, product
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import torch
from absl import flags
from jaxtyping import Array, Float
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import torch_recipe
from benchmarks.preset import read_preset
from benchmarks.torch_airnet import AirNet, copy_parameters
from cnn_jax import data
from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture, build
from cnn_jax.ops import augment
from cnn_jax.ops.augment import TEST_TIME
from cnn_jax.studies.choices import read_task
from cnn_jax.training import Examples, Task, TrainState, make_run
from cnn_jax.training.config import AUGMENT_PREFIX
from cnn_jax.training.task import normalize
from experiments.flags import options
from experiments.launch import launch

EPOCHS = 8
PRESET = "cifar10-airbench"
STEPS_PER_EPOCH = torch_recipe.STEPS // EPOCHS
FLAGS = flags.FLAGS


class Pair:
    """One training in cnn_jax and in PyTorch, from the same parameters.

    Args:
        task: the shape of the problem.
        first: images that the whitening is made from.
        batch_size: of every step.
        epochs: of the whole training, in which the learning rates fall to zero.
        seed: of the parameters.
        beside: whether a second PyTorch training starts a rounding error away.
    """

    def __init__(
        self,
        task: Task,
        first: Examples,
        batch_size: int,
        epochs: int = EPOCHS,
        seed: int = 0,
        beside: bool = True,
    ) -> None:
        config, numbers = read_preset(PRESET)
        steps = epochs * STEPS_PER_EPOCH
        # A batch is an epoch of one step here, so that its loss is the epoch's.
        config = replace(config, batch_size=batch_size, epochs=steps, augment=(), tta="none")
        self.task = task
        self.run = make_run(config, task)
        self.hparams = {name: jnp.float32(value) for name, value in numbers.items()}
        self.key = jax.random.key(seed)
        self.state: TrainState = jax.jit(self.run.init)(self.hparams, self.key, first)
        self.epoch = jax.jit(self.run.epoch, donate_argnums=0)
        self.predict = jax.jit(self.run.predict)
        self.network = AirNet(task.image_shape[2], task.num_classes, torch_recipe.SCALE)
        copy_parameters(self.state.params, self.state.statistics, self.network)
        networks = [self.network, _beside(self.network)] if beside else [self.network]
        self.recipes = [torch_recipe.Recipe(network, steps) for network in networks]

    def step(self, batch: Examples) -> list[float]:
        """One update each; before it our loss, PyTorch's, and its from a rounding error away."""
        self.state, metrics = self.epoch(self.state, self.hparams, self.key, batch)
        theirs = [self.torch_step(recipe, batch) for recipe in self.recipes]
        return [float(metrics["train_loss"]), *theirs]

    def torch_step(self, recipe: torch_recipe.Recipe, batch: Examples) -> float:
        """One update of a PyTorch training; its loss before."""
        labels = torch.tensor(np.asarray(batch.labels)).long()
        return recipe.step(self._tensor(batch.images), labels).item()

    def accuracies(self, examples: Examples) -> list[float]:
        """The fractions of right guesses, in the same order."""
        ours = np.asarray(self.predict(self.state, examples.images)).argmax(-1)
        theirs = [self.torch_logits(r.network, examples.images).argmax(-1) for r in self.recipes]
        return [float(np.mean(each == np.asarray(examples.labels))) for each in (ours, *theirs)]

    @torch.no_grad()
    def torch_logits(self, network: AirNet, images: Any) -> np.ndarray:
        """What a PyTorch network says of images, in evaluation."""
        network.eval()
        logits = torch.cat([network(part) for part in self._tensor(images).split(500)])
        network.train()
        return logits.numpy()

    def _tensor(self, images: Any) -> torch.Tensor:
        values = np.asarray(normalize(self.task, images)).transpose(0, 3, 1, 2)
        return torch.tensor(values).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _beside(network: AirNet) -> AirNet:
    """A copy whose trained parameters are each off by the last bit of a float32, up or down."""
    copied = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(0)
    for parameter in copied.parameters():
        if parameter.requires_grad:
            signs = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
            parameter.mul_(1 + signs * torch.finfo(torch.float32).eps)
    return copied


def our_flops(architecture: Architecture, task: Task, batch: int) -> int:
    """Of the convolutions and products of a forward pass: two for a multiplication and addition."""
    plain = replace(architecture, convolution="lax")
    images = jax.ShapeDtypeStruct((batch, *task.image_shape), jnp.float32)

    def forward(images: Float[jax.Array, "n h w c"]) -> jax.Array:
        return build(plain, task.image_shape, task.num_classes, jax.random.key(0))(images)

    return _flops(jax.make_jaxpr(forward)(images).jaxpr)


def _flops(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            total += (
                2 * equation.outvars[0].aval.size * int(np.prod(equation.invars[1].aval.shape[:-1]))
            )
        elif equation.primitive.name == "dot_general":
            ((contracted, _), _) = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += (
                2 * equation.outvars[0].aval.size * int(np.prod([shape[i] for i in contracted]))
            )
        total += sum(_flops(inner) for inner in jax.extend.core.jaxprs_in_params(equation.params))
    return total


def torch_flops(network: AirNet, task: Task, batch: int) -> int:
    """The same, counted by PyTorch."""
    height, width, channels = task.image_shape
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.zeros(batch, channels, height, width))
    return counter.get_total_flops()


def define_flags() -> None:
    """The command line of the benchmark."""
    flags.DEFINE_integer("steps", 10, "Steps whose losses are shown.", lower_bound=1)
    flags.DEFINE_integer(
        "compared_epochs", 2, "Epochs of training, 0 for only the steps.", lower_bound=0
    )
    flags.DEFINE_bool(
        "annealed", False, "Compare trainings whose learning rates end at zero after these epochs."
    )
    flags.DEFINE_integer(
        "seeds",
        3,
        "Annealed trainings of each length, with --seed and the seeds after it.",
        lower_bound=1,
    )
    flags.DEFINE_bool("alone", False, "Train PyTorch's version only, augmented, to the end.")
    flags.mark_bool_flags_as_mutual_exclusive(["annealed", "alone"])
    flags.register_multi_flags_validator(
        ["annealed", "compared_epochs"],
        lambda values: not values["annealed"] or values["compared_epochs"] > 0,
        "--annealed needs --compared_epochs of 1 or more.",
    )
    flags.DEFINE_integer("test_examples", 10_000, "Test images of the accuracies.", lower_bound=1)


def main() -> None:
    """Trains both and prints what they agree on."""
    console = Console()
    dataset = data.load("cifar10", data_dir=FLAGS.data_dir)
    count = FLAGS.train_examples or len(dataset.train)
    if count < STEPS_PER_EPOCH:
        raise UsageError(
            f"--train_examples={count}: an epoch of {STEPS_PER_EPOCH} steps needs as many or more"
        )
    train = data.take(dataset.train, count, FLAGS.split_seed)
    batch_size = count // STEPS_PER_EPOCH
    task = read_task(dataset)
    examples = Examples(jnp.asarray(train.images), jnp.asarray(train.labels))
    new_pair = partial(Pair, task, examples, batch_size)
    pair = new_pair(seed=FLAGS.seed, beside=not (FLAGS.alone or FLAGS.annealed))
    test = Examples(
        jnp.asarray(dataset.test.images[: FLAGS.test_examples]),
        jnp.asarray(dataset.test.labels[: FLAGS.test_examples]),
    )
    _print_counts(console, pair)
    if FLAGS.alone:
        train_alone(console, pair, examples, test)
    elif FLAGS.annealed:
        train_annealed(console, new_pair, examples, test)
    else:
        train_both(console, pair, examples, test)


def shuffles(count: int, epochs: int, seed: int) -> Iterator[list[np.ndarray]]:
    """The examples of each step, epoch by epoch; what does not fill a batch is left out."""
    orders = np.random.default_rng(seed)
    for _ in range(epochs):
        order = orders.permutation(count)
        yield np.split(order[: count // STEPS_PER_EPOCH * STEPS_PER_EPOCH], STEPS_PER_EPOCH)


def batches(examples: Examples, epochs: int, seed: int) -> Iterator[Examples]:
    """Those of all steps, one after another."""
    for chosen in chain.from_iterable(shuffles(len(examples), epochs, seed)):
        yield Examples(examples.images[chosen], examples.labels[chosen])


def train_alone(console: Console, pair: Pair, examples: Examples, test: Examples) -> None:
    """Prints the loss of PyTorch's version epoch by epoch, and its accuracy in the end."""
    config, numbers = read_preset(PRESET)
    strengths = {name.removeprefix(AUGMENT_PREFIX): value for name, value in numbers.items()}
    key = jax.random.key(FLAGS.seed)

    @jax.jit
    def augmented(chosen: Array, epoch: int) -> Array:
        images, labels = examples.images[chosen] / 255, examples.labels[chosen]
        drawn = partial(augment.apply, config.augment, key, images, labels)
        return drawn(indices=chosen, epoch=epoch, numbers=strengths)[0] * 255

    for epoch, steps in enumerate(shuffles(len(examples), EPOCHS, FLAGS.seed)):
        losses = [
            pair.torch_step(
                pair.recipes[0], Examples(augmented(chosen, epoch), examples.labels[chosen])
            )
            for chosen in steps
        ]
        console.print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.4f}")
    views, weights = TEST_TIME[config.tta](test.images)
    logits = np.tensordot(weights, [pair.torch_logits(pair.network, view) for view in views], 1)
    right = np.mean(logits.argmax(1) == np.asarray(test.labels))
    console.print(f"PyTorch: {right:.2%} of {len(test.labels):,} test images")


def train_annealed(
    console: Console, new_pair: Callable[..., Pair], examples: Examples, test: Examples
) -> None:
    """Prints the accuracies of whole trainings of one epoch, two, and so on, and their means."""
    accuracies: dict[int, list[list[float]]] = defaultdict(list)
    lengths = range(1, FLAGS.compared_epochs + 1)
    for seed, epochs in product(range(FLAGS.seed, FLAGS.seed + FLAGS.seeds), lengths):
        pair = new_pair(epochs=epochs, seed=seed, beside=False)
        for batch in batches(examples, epochs, seed):
            pair.step(batch)
        ours, theirs = pair.accuracies(test)
        accuracies[epochs].append([ours, theirs])
        console.print(
            f"seed {seed}, epochs {epochs}, {len(examples):,} images: cnn_jax {ours:.2%}, "
            f"PyTorch {theirs:.2%} of {len(test.labels):,} test images"
        )
    for epochs in lengths:
        ours, theirs = np.mean(accuracies[epochs], axis=0)
        console.print(f"mean, epochs {epochs}: cnn_jax {ours:.2%}, PyTorch {theirs:.2%}")


def train_both(console: Console, pair: Pair, examples: Examples, test: Examples) -> None:
    """Prints the losses of the first steps and the accuracies after every epoch."""
    count = len(examples)
    table = Table(
        "step", "cnn_jax", "PyTorch", "difference", "PyTorch, a last bit off", title="Training loss"
    )
    steps = max(FLAGS.steps, FLAGS.compared_epochs * STEPS_PER_EPOCH)
    epochs = math.ceil(steps / STEPS_PER_EPOCH)
    for step, batch in enumerate(islice(batches(examples, epochs, FLAGS.seed), steps)):
        ours, theirs, beside = pair.step(batch)
        if step < FLAGS.steps:
            numbers = f"{ours:.6f}", f"{theirs:.6f}", f"{ours - theirs:+.1e}"
            table.add_row(f"{step + 1}", *numbers, f"{beside - theirs:+.1e}")
        if step + 1 == FLAGS.steps:
            console.print(table)
        if (step + 1) % STEPS_PER_EPOCH == 0:
            ours, theirs, beside = pair.accuracies(test)
            console.print(
                f"after epoch {(step + 1) // STEPS_PER_EPOCH} of {count:,} images: cnn_jax "
                f"{ours:.2%}, PyTorch {theirs:.2%}, from a last bit off {beside:.2%} of "
                f"{len(test.labels):,} test images"
            )


def _print_counts(console: Console, pair: Pair) -> None:
    architecture = read_preset(PRESET)[0].architecture
    ours = sum(leaf.size for leaf in jax.tree.leaves(pair.state.params))
    theirs = sum(p.numel() for p in pair.network.parameters() if p.requires_grad)
    console.print(f"trained parameters: cnn_jax {ours:,}, PyTorch {theirs:,}")
    ours, theirs = our_flops(architecture, pair.task, 1), torch_flops(pair.network, pair.task, 1)
    console.print(
        f"products of a forward pass of one image: cnn_jax {ours:,}, PyTorch {theirs:,} FLOP"
    )


if __name__ == "__main__":
    flags.adopt_module_key_flags(options)
    define_flags()
    launch(main)
