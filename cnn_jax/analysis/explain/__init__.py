"""Explanations of a trained network: pure functions of it and its images, and a page of them.

`attribution` says what in an image speaks for an output, `internals` what is inside of a network,
and `network` what a trained one is and which examples are worth a look. `charts` draw, `sections`
make the parts of the page, and `page` puts them together.
"""
# fmt: off

from cnn_jax.analysis.explain.attribution import (
    LogitsOf, Occlusion, Target, difference, evidence, first_seen, grad_cam, integrated_gradients,
    occlusion, output, saliency, smooth_grad, strength,
)
from cnn_jax.analysis.explain.charts import (
    ambiguous_card, colors, evidence_grid, explanation_rows, feature_map_strips, filter_grid,
    heat_over_image, heat_scale, image_grid, neighbor_rows,
)
from cnn_jax.analysis.explain.internals import (
    METRICS, Metric, Neighbors, Network, Tap, feature_maps, features, filter_activations,
    filter_images, first_kernel, in_chunks, layer_outputs, maximize, nearest_neighbors, roughness,
)
from cnn_jax.analysis.explain.network import (
    Contributions, Evidence, Noteworthy, TrainedNetwork, contributions, least_sure, surest_mistakes,
    trained_network,
)
from cnn_jax.analysis.explain.page import make_sections, render_explanations
from cnn_jax.analysis.explain.sections import Chosen, Depth, Labeled, Picture, Section, Subject

__all__ = [
    "METRICS", "Chosen", "Contributions", "Depth", "Evidence", "Labeled", "LogitsOf", "Metric",
    "Neighbors", "Network", "Noteworthy", "Occlusion", "Picture", "Section", "Subject", "Tap",
    "Target", "TrainedNetwork", "ambiguous_card", "colors", "contributions", "difference",
    "evidence", "evidence_grid", "explanation_rows", "feature_map_strips", "feature_maps",
    "features", "filter_activations", "filter_grid", "filter_images", "first_kernel", "first_seen",
    "grad_cam", "heat_over_image", "heat_scale", "image_grid", "in_chunks", "integrated_gradients",
    "layer_outputs", "least_sure", "make_sections", "maximize", "nearest_neighbors",
    "neighbor_rows", "occlusion", "output", "render_explanations", "roughness", "saliency",
    "smooth_grad", "strength", "surest_mistakes", "trained_network",
]
