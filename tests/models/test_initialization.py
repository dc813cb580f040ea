"""How kernels begin: gains by the activation, and that what passes through keeps its size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import integrate, stats

import cnn_jax
from cnn_jax import compilation
from cnn_jax.errors import FieldError
from cnn_jax.models import Architecture, build, split_variables
from cnn_jax.models.initialization import INITIALIZATIONS, gain, relative_gain
from cnn_jax.ops import ACTIVATIONS, PARAMETRIC_ACTIVATIONS


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_a_gain_is_the_root_of_the_mean_square_of_normal_inputs(name: str):
    def mean_square(z: float) -> float:
        return float(ACTIVATIONS[name](jnp.float32(z))) ** 2 * stats.norm.pdf(z)

    expected = integrate.quad(mean_square, -8, 8, points=[0.0], epsabs=1e-6)[0] ** -0.5
    np.testing.assert_allclose(gain(name), expected, rtol=5e-3)


def test_known_gains():
    # PyTorch's calculate_gain; of tanh it says 5/3, for a fixed point of many layers.
    np.testing.assert_allclose(gain("relu"), np.sqrt(2), rtol=5e-3)
    np.testing.assert_allclose(gain("leaky_relu"), np.sqrt(2 / (1 + 0.01**2)), rtol=5e-3)
    np.testing.assert_allclose(gain("prelu"), np.sqrt(2 / (1 + 0.25**2)), rtol=5e-3)
    np.testing.assert_allclose(gain("identity"), 1, rtol=1e-5)
    # Self-normalizing by design (Klambauer et al. 2017).
    np.testing.assert_allclose(gain("selu"), 1, rtol=1e-3)


@pytest.mark.parametrize("name", ["relu", "tanh", "silu", "prelu", "step"])
@pytest.mark.parametrize("init", ["auto", "orthogonal"])
def test_layers_keep_the_size_of_what_passes_through(name: str, init: str):
    x = jax.random.normal(jax.random.key(0), (64, 256))
    function = ACTIVATIONS.get(name)
    if function is None:
        found = PARAMETRIC_ACTIVATIONS[name]
        function = lambda z: found.function(z, jnp.float32(found.initial))  # noqa: E731
    for key in jax.random.split(jax.random.key(1), 5):
        x = function(x @ INITIALIZATIONS[init](name)(key, (256, 256)))
    assert 0.4 < float(jnp.sqrt(jnp.mean(x**2))) < 2.5


@pytest.mark.parametrize(("init", "deviation"), [("lecun", 1.0), ("he", 2**0.5), ("auto", 2**0.5)])
def test_hidden_kernels_begin_as_asked_and_the_output_as_always(init: str, deviation: float):
    architecture = Architecture("cnn", filters=(64, 64), hidden=(64,), init=init)
    model = build(architecture, (8, 8, 1), 10, jax.random.key(0))
    kernels = {
        "/".join(map(str, path)): value
        for path, value in nnx.to_flat_state(nnx.state(model, nnx.Param))
        if value[...].ndim > 1
    }
    for path, kernel in kernels.items():
        inputs = np.prod(kernel[...].shape[:-1])
        expected = 1.0 if "output" in path else deviation
        np.testing.assert_allclose(np.std(kernel[...]) * np.sqrt(inputs), expected, rtol=0.15)


def test_airnet_begins_as_its_recipe_says():
    with pytest.raises(FieldError, match="init"):
        Architecture("airnet", init="he")


def test_gains_are_found_inside_of_a_compiled_program():
    found = jax.jit(lambda key: INITIALIZATIONS["auto"]("mish")(key, (8, 8)))(jax.random.key(0))
    plain = INITIALIZATIONS["auto"]("mish")(jax.random.key(0), (8, 8))
    np.testing.assert_allclose(found, plain, rtol=1e-5)


@pytest.fixture
def leaky(no_extensions) -> str:
    """An activation with a number; and the same without, at the default of the number."""

    def leak(x, *, negative=0.1):
        return jnp.where(x > 0, x, negative * x)

    def fixed(x):
        return leak(x)

    def learned(x, slope, *, scale=1.0):
        return scale * jnp.where(x > 0, x, slope * x)

    cnn_jax.activation(leak)
    cnn_jax.activation(fixed)
    cnn_jax.activation(learned, initial=0.25)
    return "leak"


def kernels(activation: str, init: str, numbers: dict) -> list[np.ndarray]:
    """Of a network built in a compiled program, to which its numbers are traced."""
    architecture = Architecture("cnn", activation, filters=(8,), hidden=(16,), init=init)

    @jax.jit
    def build_from(numbers: dict):
        return nnx.state(build(architecture, (8, 8, 1), 3, jax.random.key(0), numbers), nnx.Param)

    return [np.asarray(leaf) for leaf in jax.tree.leaves(build_from(numbers)) if leaf.ndim > 1]


@pytest.mark.parametrize("init", ["auto", "orthogonal"])
def test_the_numbers_of_an_activation_are_in_its_gain(leaky: str, init: str):
    np.testing.assert_allclose(relative_gain(leaky, {"negative": 1.0}) * gain(leaky), 1, rtol=1e-3)
    scaled = relative_gain("learned", {"scale": 4.0, "negative": 3.0})
    np.testing.assert_allclose(scaled, 1 / 4, rtol=1e-5)
    default, other = (kernels(leaky, init, {"negative": number}) for number in (0.1, 1.0))
    for before, after in zip(default[:-1], other[:-1], strict=True):
        np.testing.assert_allclose(after * gain(leaky), before, rtol=1e-3)
    # No activation follows the output.
    np.testing.assert_array_equal(default[-1], other[-1])
    default, other = (kernels(leaky, "he", {"negative": number}) for number in (0.1, 1.0))
    for before, after in zip(default, other, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("init", ["auto", "orthogonal"])
def test_with_the_default_numbers_kernels_are_the_same_bytes(leaky: str, init: str):
    given, none, fixed = (
        kernels(leaky, init, {"negative": 0.1, "weight_decay": 0.0}),
        kernels(leaky, init, {}),
        kernels("fixed", init, {}),
    )
    for one, two, three in zip(given, none, fixed, strict=True):
        assert one.tobytes() == two.tobytes() == three.tobytes()


def test_trials_with_numbers_of_their_own_begin_by_their_own_gains(leaky: str):
    found = jax.vmap(lambda n: relative_gain(leaky, {"negative": n}))(jnp.float32([0.1, 0.5, 1.0]))
    assert found[0] == 1 > found[1] > found[2]


@pytest.mark.parametrize("shape", [(5, 5, 1, 6), (3, 3, 16, 16), (400, 120), (7, 3)])
def test_auto_is_the_variance_scaling_of_flax_to_the_bit(shape: tuple[int, ...]):
    key = jax.random.key(3)
    for name in ("relu", "tanh"):
        expected = nnx.initializers.variance_scaling(gain(name) ** 2, "fan_in", "truncated_normal")
        found = INITIALIZATIONS["auto"](name)
        np.testing.assert_array_equal(found(key, shape), expected(key, shape))
        jitted = jax.jit(found, static_argnums=1)(key, shape)
        np.testing.assert_array_equal(jitted, jax.jit(expected, static_argnums=1)(key, shape))


def test_networks_of_all_activations_begin_by_one_program():
    def program(activation: str) -> str:
        architecture = Architecture("cnn", activation, filters=(4,), hidden=(8,), init="auto")

        def variables(key: jax.Array) -> tuple:
            return split_variables(build(architecture, (8, 8, 1), 10, key))

        key = jax.random.key(0)
        converted, constants = compilation.closure_converted(variables, key)
        return jax.jit(converted).lower(constants, key).as_text()

    assert len({program(name) for name in ("relu", "tanh", "mish")}) == 1
