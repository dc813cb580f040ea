"""What is registered from outside, and the one line that refuses what cannot work."""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import cnn_jax
from cnn_jax import data
from cnn_jax.errors import UsageError
from cnn_jax.extend import EXTENSIONS, ExtensionError
from cnn_jax.models import (
    MODELS,
    Architecture,
    Mode,
    Structure,
    build,
    check_logits,
    count_parameters,
    split_variables,
)
from cnn_jax.ops import ACTIVATIONS, CALIBRATED, LOSSES, PER_LABEL, Interval, OneOf
from cnn_jax.training import Config, Task, hyperparameters, known_hyperparameters, make_run

TASK = Task((8, 8, 1), 3, (0.5,), (0.25,))


def wave(x, *, frequency=1.0):
    return x * jnp.sin(frequency * x)


def test_a_decorator_is_bare_has_arguments_or_is_called():
    assert cnn_jax.activation(wave) is wave
    assert cnn_jax.activation(name="wave2")(wave) is wave
    assert cnn_jax.activation(wave, name="wave3") is wave
    assert {"wave", "wave2", "wave3"} <= ACTIVATIONS.keys()
    assert known_hyperparameters()["frequency"].default == 1.0


def test_a_function_of_python_may_be_registered_anew():
    cnn_jax.activation(wave)

    def other(x):
        return jnp.sin(x)

    cnn_jax.activation(other, name="wave")
    assert ACTIVATIONS["wave"] is other
    assert "frequency" not in known_hyperparameters()


def test_what_is_taken_back_is_gone():
    cnn_jax.loss(lambda z, y: -z[jnp.arange(len(z)), y], name="mine", calibrated=True)
    assert "mine" in LOSSES and "mine" in CALIBRATED and "mine" not in PER_LABEL
    EXTENSIONS["loss", "mine"].remove()
    assert "mine" not in LOSSES and "mine" not in CALIBRATED


def test_numbers_of_every_function_are_hyperparameters():
    cnn_jax.activation(wave)
    cnn_jax.normalization(lambda x, *, shift=0.5: x - shift, name="shifted")
    cnn_jax.pooling(
        lambda x, window, *, power=2.0: cnn_jax.ops.avg_pool(x**2, window) ** (1 / power), name="lp"
    )
    cnn_jax.schedule(lambda t, *, steepness=1.0: jnp.exp(-steepness * t), name="fall")
    architecture = Architecture(activation="wave", normalization="shifted", pooling="lp")
    found = hyperparameters(Config(architecture, schedule="fall"), {"frequency": 2.0})
    assert {"frequency": 2.0, "shift": 0.5, "power": 2.0, "steepness": 1.0}.items() <= found.items()
    with pytest.raises(UsageError, match="frequency has no effect"):
        hyperparameters(Config(), {"frequency": 2.0})


def test_a_number_is_kept_in_the_network():
    cnn_jax.activation(wave)
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    architecture = Architecture("cnn", "wave", filters=(4,), hidden=())
    one, two = (
        build(architecture, (8, 8, 1), 3, jax.random.key(0), {"frequency": number})(images)
        for number in (1.0, 2.0)
    )
    assert not np.allclose(one, two)
    layers = build(architecture, (8, 8, 1), 3, jax.random.key(0), {"frequency": 2.0}).network
    np.testing.assert_allclose(
        layers.activation1(images, None), wave(images, frequency=2.0), rtol=1e-6
    )


def far(x, *, k: Annotated[float, Interval("[0, 1]")] = 3.0):
    return k * x


def unread(x, *, k: Annotated[float, Interval("0..1")] = 0.5):
    return k * x


def softly(logits, targets):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], 1)[:, 0]


def in_an_if(x):
    return x if x.sum() > 0 else -x


def changing_state(learning_rate):
    return optax.GradientTransformation(lambda p: 0.0, lambda g, s, p: (g, (s, s)))


def mixing(x):
    return x - x.mean()


BAD = {
    "another shape": (cnn_jax.activation, lambda x: x.sum(-1), "its result has shape"),
    "no array": (cnn_jax.activation, lambda x: None, "its result is NoneType, expected an array"),
    "not traceable": (cnn_jax.activation, in_an_if, "cannot be traced by JAX"),
    "numpy": (cnn_jax.activation, lambda x: np.sin(x), "cannot be traced by JAX"),
    "infinite gradient": (cnn_jax.activation, lambda x: jnp.sqrt(jnp.abs(x)), "its gradient"),
    "infinite value": (cnn_jax.activation, lambda x: jnp.log(jnp.abs(x)), "is not finite"),
    "two arguments": (cnn_jax.activation, lambda x, y: x, "for a learned parameter give initial"),
    "integers": (cnn_jax.activation, lambda x: jnp.int32(x), "expected floating-point"),
    "an error inside": (cnn_jax.activation, lambda x: x @ jnp.ones((9, 9)), "TypeError: "),
    "a word for a number": (
        cnn_jax.activation, lambda x, *, mode="fast": x, "its keyword mode='fast' is no number"
    ),
    "the name of a choice": (
        cnn_jax.activation, lambda x, *, epochs=3: x, "its number epochs has the name of another"
    ),
    "a default out of range": (cnn_jax.activation, far, "k=3 is by default not a number in [0, 1]"),
    "no interval": (cnn_jax.activation, unread, "the interval '0..1' of its number k is none"),
    "an infinite default": (cnn_jax.activation, lambda x, *, k=np.inf: x, "k=inf is by default"),
    "a mean loss": (cnn_jax.loss, lambda z, y: jnp.mean(softly(z, y)), "expected (5,)"),
    "an unlabeled loss": (
        lambda f, name: cnn_jax.loss(f, name=name, per_label=True), softly, "Error"
    ),
    "a wrong output": (
        lambda f, name: cnn_jax.loss(f, name=name, output="tanh"), softly, "is not one of sigmoid"
    ),
    "a schedule of vectors": (cnn_jax.schedule, lambda t: jnp.ones(3) * t, "expected ()"),
    "a schedule without end": (cnn_jax.schedule, lambda t: 1 / (1 - t), "at t=1 is not finite"),
    "no transformation": (cnn_jax.optimizer, lambda rate: rate, "expected an optax.Gradient"),
    "a value asked for": (
        cnn_jax.optimizer, lambda r: optax.sgd(r, momentum=0.9 if r > 0 else None), "be traced"
    ),
    "a rate below 0": (
        lambda f, name: cnn_jax.optimizer(f, name=name, learning_rate=-1.0), optax.sgd, "positive"
    ),
    "a changing state": (cnn_jax.optimizer, changing_state, "changes the structure of its state"),
    "a smaller image": (cnn_jax.augmentation, lambda key, image: image[1:], "the image has shape"),
    "a mixed batch": (cnn_jax.normalization, mixing, "it mixes the images of a batch"),
    "a pooling of one size": (
        cnn_jax.pooling, lambda x, window: x[:, ::2, ::2], "its result for 5x5 maps and window 2"
    ),
    "no function": (cnn_jax.activation, 3, "expected a function, got int"),
    "a network of two": (cnn_jax.network, lambda shape, classes: None, "it is called as"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work_is_refused_in_one_line(case: str):
    register, function, message = BAD[case]
    with pytest.raises(ExtensionError) as refused:
        register(function, name="mine")
    text = str(refused.value)
    assert message in text
    assert "\n" not in text
    assert case == "no function" or " mine: " in text
    assert not EXTENSIONS


@pytest.mark.parametrize("name", ["relu", "none", "my wave", ""])
def test_names_that_cannot_be(name: str):
    with pytest.raises(ExtensionError, match="its name"):
        cnn_jax.activation(lambda x: x, name=name or "1")


def test_a_number_is_declared_in_one_way():
    from typing import Annotated

    from cnn_jax.ops import Interval

    Margin = Annotated[float, Interval("[0, 1]"), "of mine"]  # noqa: N806

    def mine(z, y, *, margin: Margin = 0.5):
        return softly(z, y) * margin

    mine.__annotations__["margin"] = Margin
    with pytest.raises(ExtensionError, match="loss mine: margin is declared in two ways"):
        cnn_jax.loss(mine)
    assert "mine" not in LOSSES
    cnn_jax.loss(lambda z, y, *, margin=0.5: softly(z, y) * margin, name="mine")
    assert str(known_hyperparameters()["margin"].interval) != ""


def test_words_of_an_augmentation_are_declared():
    with pytest.raises(ExtensionError, match="annotate it with cnn_jax.ops.OneOf"):
        cnn_jax.augmentation(lambda key, image, *, fill="mean": image, name="mine")

    def mine(key, image, *, strength=0.5, fill=None):
        return image * strength

    from typing import Annotated

    mine.__annotations__["fill"] = Annotated[str, OneOf(("mean", "zero"))]
    mine.__kwdefaults__["fill"] = "mean"
    cnn_jax.augmentation(mine)
    from cnn_jax.ops.augment import parse

    assert parse("mine:0.3:zero")[0].values == (0.3, "zero")


class Module(nnx.Module):
    def __init__(self, classes: int, rngs: nnx.Rngs, width: int = 4):
        self.conv = nnx.Conv(1, width, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(self.norm(self.conv(x))).mean((1, 2)))


class Told(Module):
    """The same, told of training and of random streams."""

    def __call__(self, x, *, train, rngs):
        x = self.norm(self.conv(x), use_running_average=not train)
        return self.out(self.drop(x, deterministic=not train, rngs=rngs).mean((1, 2)))


@pytest.mark.parametrize("kind", [Module, Told])
def test_a_module_trains_with_statistics_and_dropout(kind):
    cnn_jax.network(lambda shape, classes, rngs: kind(classes, rngs), name="mine")
    config = Config(Architecture("mine"), batch_size=8, epochs=2, optimizer="sgd")
    run = make_run(config, TASK)
    hparams = jax.tree.map(jnp.float32, hyperparameters(config))
    rng = np.random.default_rng(0)
    examples = cnn_jax.training.Examples(
        jnp.asarray(rng.integers(0, 256, (16, 8, 8, 1)), jnp.uint8), jnp.arange(16) % 3
    )
    start = run.init(hparams, jax.random.key(0), examples)
    assert not any(
        jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(start)
    )
    one, first = jax.jit(run.epoch)(start, hparams, jax.random.key(0), examples)
    same, again = jax.jit(run.epoch)(start, hparams, jax.random.key(0), examples)
    assert first["train_loss"] == again["train_loss"]
    assert not np.allclose(
        one.statistics["network"]["module"]["norm"]["mean"],
        start.statistics["network"]["module"]["norm"]["mean"],
    )
    logits = jax.jit(run.predict)(one, examples.images)
    np.testing.assert_array_equal(logits, jax.jit(run.predict)(one, examples.images))
    # Dropout makes an epoch from another key another.
    _, other = jax.jit(run.epoch)(one, hparams, jax.random.key(1), examples)
    assert other["train_loss"] != first["train_loss"]


def test_layers_that_are_stacked_drop_apart():
    def stacked(rngs):
        return nnx.vmap(lambda rngs: nnx.Dropout(0.5, rngs=rngs))(rngs.fork(split=3))

    network = nnx.eval_shape(lambda: stacked(nnx.Rngs(0)))
    params, statistics = split_variables(network)
    model = Structure.of(network).merge(params, statistics, Mode(True, jax.random.key(0)))
    keys = [
        leaf
        for leaf in jax.tree.leaves(nnx.state(model, nnx.RngKey))
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    ]
    assert keys and all(len(np.unique(jax.random.key_data(key), axis=0)) == 3 for key in keys)


@pytest.mark.parametrize("name", ["patience", "init_seed", "labels", "learning_rate"])
def test_a_number_is_called_as_no_choice_is(name: str):
    namespace: dict = {}
    exec(f"def mine(x, *, {name}=1.0):\n    return x * {name}", namespace)
    with pytest.raises(ExtensionError, match=name):
        cnn_jax.activation(namespace["mine"])


def test_parameters_of_a_module_are_counted():
    cnn_jax.network(
        lambda shape, classes, rngs, *, own_width=4: Module(classes, rngs, own_width), name="mine"
    )
    for numbers, width in (((), 4), ((("own_width", 6),), 6)):
        model = build(Architecture("mine", numbers=numbers), (8, 8, 1), 3, jax.random.key(0))
        rows = count_parameters(model, (8, 8, 1))
        expected = {"conv": 10 * width, "norm": 2 * width, "out": 3 * (width + 1)}
        assert {row.name: row.counted for row in rows} == expected
        # The convolution at every place, and the output once.
        assert cnn_jax.models.multiplications(model, (8, 8, 1)) == 64 * 9 * width + 3 * width


def test_layers_have_no_effect_on_a_module():
    cnn_jax.network(lambda shape, classes, rngs: Module(classes, rngs), name="mine")
    with pytest.raises(UsageError, match="activation has no effect with model=mine, which is a ne"):
        Architecture("mine", activation="tanh")
    with pytest.raises(
        UsageError, match="filters has no effect with model=mine; it is for model=cnn"
    ):
        Architecture("mine", filters=(3,))


def test_layers_by_name_are_a_network_too():
    from cnn_jax.models.layers import Activation, Convolution, Dense, GlobalAveragePooling

    def mine(architecture, image_shape, num_classes, rngs):
        return {
            "conv1": Convolution(architecture, image_shape[2], 4, rngs=rngs),
            "activation1": Activation(architecture.activation),
            "pool": GlobalAveragePooling(),
            "output": Dense(4, num_classes, rngs=rngs),
        }

    cnn_jax.network(mine)
    model = build(Architecture("mine", activation="tanh"), (8, 8, 1), 3, jax.random.key(0))
    assert [row.name for row in count_parameters(model, (8, 8, 1))] == [
        "conv1", "activation1", "pool", "output"
    ]  # fmt: skip


class Rounded(nnx.Module):
    def __init__(self, classes, rngs):
        self.out = nnx.Linear(64, classes, rngs=rngs)

    def __call__(self, images):
        return jnp.int32(self.out(images.reshape(len(images), -1)))


@pytest.mark.parametrize(
    "build_it, message",
    [
        (lambda s, c, r: Module(c + 1, r), "returns shape (2, 4) for 2 images, expected logits"),
        (lambda s, c, r: 3, "returns int, expected an nnx.Module"),
        (lambda s, c, r: nnx.Linear(9, c, rngs=r), "cannot be called on images of 8x8x1"),
        (lambda s, c, r: nnx.Dropout(0.5), "has no nnx.Param, so nothing to train"),
        (lambda s, c, r: Rounded(c, r), "returns int32, expected logits of floating-point"),
        (lambda architecture, s, c, r: {1: Rounded(c, r)}, "has a layer 1, expected a name"),
        (lambda s, c, r: 1 / 0, "cannot be built for images of 8x8x1: ZeroDivisionError"),
    ],
)
def test_networks_that_fit_no_images(build_it, message: str):
    cnn_jax.network(build_it, name="mine")
    with pytest.raises(UsageError) as refused:
        check_logits(Architecture("mine"), (8, 8, 1), 3)
    assert message in str(refused.value)
    assert "network mine" in str(refused.value)
    assert "mine" in MODELS


def test_mixed_examples_need_a_loss_of_soft_targets():
    cnn_jax.loss(softly, name="mine")
    config = Config(loss="mine", augment=cnn_jax.training.augmentations("mixup")[0])
    with pytest.raises(UsageError, match="loss=mine takes no soft targets"):
        make_run(config, TASK)


def arrays(count: int = 12):
    images = np.arange(count * 16, dtype=np.uint8).reshape(count, 4, 4)
    return images, np.arange(count) % 2, ["even", "odd"]


def test_a_data_set_of_arrays():
    cnn_jax.dataset(lambda: arrays(), name="mine")
    found = data.load("mine")
    assert (len(found.train), len(found.test), found.image_shape) == (10, 2, (4, 4, 1))
    assert found.class_names == ("even", "odd")
    images, labels, names = arrays()
    cnn_jax.dataset(lambda: ((images, labels), (images[:3], labels[:3]), names), name="split")
    assert len(data.load("split", image_size=2).test) == 3
    several = np.eye(2, dtype=int)[labels]
    cnn_jax.dataset(lambda: (images, several, names), name="several", multi_label=True)
    assert data.is_multi_label("several")
    assert data.load("several").multi_label


@pytest.mark.parametrize(
    "returned, message",
    [
        (lambda i, y, n: (i, y), "must be (images, labels, class_names)"),
        (lambda i, y, n: (i / 255, y, n), "images are of float64, expected uint8"),
        (lambda i, y, n: (i, y[1:], n), "12 images have 11 labels"),
        (lambda i, y, n: (i, y + 0.5, n), "labels are of float64"),
        (lambda i, y, n: (i, y + 1, n), "labels run from 1 to 2, expected 0 to 1"),
        (lambda i, y, n: (i, y, ["a", "a"]), "class names are not all different"),
        (lambda i, y, n: (i, y, "ab"), "class names must be a list of words"),
        (lambda i, y, n: (i, np.eye(2, dtype=int)[y], n), "registered with multi_label=False"),
        (lambda i, y, n: 1 / 0, "cannot be read: ZeroDivisionError"),
    ],
)
def test_arrays_that_are_no_data_set(returned, message: str):
    cnn_jax.dataset(lambda: returned(*arrays()), name="mine")
    with pytest.raises(UsageError) as refused:
        data.load("mine")
    assert message in str(refused.value)
    assert "mine" in str(refused.value)
