"""Activation maximization: the image that a unit of a network answers to most."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cnn_jax.analysis.explain.feature_maps import Network, layer_output

Activations = Callable[[Float[Array, "n h w c"]], Float[Array, " n"]]


def filter_activations(
    network: Network, layer: str, filters: Int[Array, " n"] | int
) -> Activations:
    """The function from images to the mean of one feature map, the same or another for each image.

    Raises:
        UsageError: when it is called, if there is no layer of that name.
    """

    def activations(images: Float[Array, "n h w c"]) -> Float[Array, " n"]:
        maps = layer_output(network, layer, images)
        return jnp.mean(maps, axis=(1, 2))[jnp.arange(images.shape[0]), jnp.asarray(filters)]

    return activations


def maximize(
    activations: Activations,
    shape: tuple[int, int, int, int],
    key: PRNGKeyArray,
    *,
    steps: int = 256,
    step_size: float = 0.1,
    l2: float = 0.1,
    total_variation: float = 0.3,
    jitter: int = 2,
    low: Float[Array, "*c"] | float = -jnp.inf,
    high: Float[Array, "*c"] | float = jnp.inf,
) -> Float[Array, "n h w c"]:
    """Images found by gradient ascent, one for each activation.

    From weak noise, x += step * (g / rms(g) - l2 * x - total_variation * dV/dx), where g = da/dx,
    V is `roughness` and the step shrinks to nothing. Because g is scaled, the same penalties serve
    a logit and a filter. At every step the image is first rolled by a random shift, so that no
    place of it is special.
    Erhan et al., "Visualizing Higher-Layer Features of a Deep Network", 2009 (the ascent);
    Simonyan et al. 2013, equation 1 (l2); Mahendran and Vedaldi, "Understanding Deep Image
    Representations by Inverting Them", 2015, equation 3 (total variation); Mordvintsev, Olah and
    Tyka, "Inceptionism", 2015 (scaled gradients, jitter).

    Args:
        activations: what is to become large, one number for each image: `filter_activations(...)`,
            or `lambda images: output(jnp.arange(10))(logits_of(images))` for ten classes at once.
        shape: of the images, with as many images as activations.
        key: of the first image and of the shifts.
        steps: steps of the ascent.
        step_size: how far the first step takes a pixel, in units of the network's input.
        l2: how strongly values are drawn to 0.
        total_variation: how strongly neighbors are drawn together; a class takes more of it
            than a filter of an early layer, whose pattern is fine.
        jitter: the largest shift, in pixels.
        low: least value of a pixel, or of each channel.
        high: greatest value of a pixel, or of each channel.
    """

    def ascent(images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        gradient = jax.grad(lambda images: jnp.sum(activations(images)))(images)
        rms = jnp.sqrt(jnp.mean(gradient**2, axis=(1, 2, 3), keepdims=True))
        rough = jax.grad(lambda images: jnp.sum(roughness(images)))(images)
        # Where a unit is dead its gradient is 0, and stays 0.
        return gradient / jnp.maximum(rms, 1e-12) - l2 * images - total_variation * rough

    def step(images: Array, item: tuple[Array, Array]) -> tuple[Array, None]:
        shift, size = item
        moved = jnp.roll(images, shift, axis=(1, 2))
        images = images + size * jnp.roll(ascent(moved), -shift, axis=(1, 2))
        return jnp.clip(images, low, high), None

    start_key, shift_key = jax.random.split(key)
    start = jnp.clip(0.1 * jax.random.normal(start_key, shape), low, high)
    shifts = jax.random.randint(shift_key, (steps, 2), -jitter, jitter + 1)
    sizes = step_size * (1 - jnp.arange(steps) / steps)
    return lax.scan(step, start, (shifts, sizes))[0]


def roughness(images: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    """Total variation of an image: the sum of sqrt(dx^2 + dy^2) over its pixels and channels.

    dx and dy are the differences to the next pixel, 0 at the last.
    Rudin, Osher and Fatemi, "Nonlinear total variation based noise removal algorithms", 1992.
    """
    down = jnp.diff(images, axis=1, append=images[:, -1:])
    right = jnp.diff(images, axis=2, append=images[:, :, -1:])
    # The small number keeps the gradient finite where the image is flat.
    return jnp.sum(jnp.sqrt(down**2 + right**2 + 1e-8), axis=(1, 2, 3))
