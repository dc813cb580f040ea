"""The cards of a report: an image, what the network says of it, and the evidence for that."""

import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn_jax.analysis import explain_plots, figures

RANDOM_EXAMPLES = 12


def drawn_at_random(examples: int) -> Int[np.ndarray, " m"]:
    """Some of so many examples; always the same, so that nobody picks the flattering ones."""
    return np.sort(np.random.default_rng(0).permutation(examples)[:RANDOM_EXAMPLES])


def heat_images(
    images: UInt8[np.ndarray, "n h w c"], heats: Float[np.ndarray, "n h w"]
) -> list[str]:
    """Evidence over its images, as addresses: blue is for an output, vermillion against it."""
    return [
        figures.image_to_png(
            np.round(
                255
                * explain_plots.heat_over_image(image, heat, True, explain_plots.heat_scale(heat))
            ).astype(np.uint8)
        )
        for image, heat in zip(images, heats, strict=True)
    ]


def filters_svg(filters: Float[np.ndarray, "f kh kw c"]) -> str:
    """The filters of the first convolution as one <svg>."""
    from cnn_jax.analysis.feature_map_plots import filter_grid

    return figures.to_svg(filter_grid(filters), "filters")
