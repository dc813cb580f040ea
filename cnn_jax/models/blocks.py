"""What several networks do alike: convolve, normalise, and refuse images that are too small."""

from flax import nnx

from cnn_jax.errors import UsageError
from cnn_jax.models.architecture import Architecture, ImageShape
from cnn_jax.models.layers import Convolution, Normalization


def require_size(architecture: Architecture, image_shape: ImageShape, pixels: int) -> None:
    """Refuses images that are smaller than `pixels` in height or width.

    Raises:
      UsageError: if they are.
    """
    height, width, _ = image_shape
    if min(height, width) < pixels:
        raise UsageError(
            f"{architecture.model} needs images of at least {pixels}x{pixels} pixels, "
            f"got {height}x{width}"
        )


def scaled(architecture: Architecture, filters: int) -> int:
    """`filters` times the architecture's width, at least one."""
    return max(1, round(filters * architecture.width))


def convolution(
    architecture: Architecture,
    channels: int,
    filters: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    rngs: nnx.Rngs,
) -> Convolution:
    """A convolution of odd kernel size that keeps the size of the image, or divides it by `stride`.

    It has a bias if the network is not normalised: else the next normalisation has one.
    """
    return Convolution(
        channels,
        filters,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        use_bias=architecture.normalization == "none",
        lowering=architecture.convolution,
        rngs=rngs,
    )


def normalization(
    architecture: Architecture, name: str, channels: int, rngs: nnx.Rngs
) -> dict[str, nnx.Module]:
    """The normalisation as a layer of that name, or no layer if the network is not normalised."""
    if architecture.normalization == "none":
        return {}
    return {name: Normalization(architecture.normalization, channels, rngs=rngs)}
