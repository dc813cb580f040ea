"""Drawn faces with several labels each: smiling, eyes open, glasses, hat.

A small multi-label set that needs no download. Every face is drawn from formulas: distances to
discs, rings, arcs and boxes become strokes whose edges are smooth. Place, size, tilt, stroke width,
brightness, proportions and noise differ from face to face, and hair and noses are drawn that no
label speaks of.
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from cnn_jax.data.cache import cached, fingerprint
from cnn_jax.data.dataset import Dataset, Split

LABELS = ("smiling", "eyes open", "glasses", "hat")
# How often each label is there; they are independent of each other.
PREVALENCE = (0.5, 0.7, 0.4, 0.3)
TRAIN_EXAMPLES = 12_000
TEST_EXAMPLES = 2_000
SIDE = 28

# Small enough for the intermediate arrays to stay in the processor's cache.
_CHUNK = 250

Field = Float32[np.ndarray, "n h w"]
Number = Float32[np.ndarray, "n 1 1"]


def load_faces(cache_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Draws the set, or reads it from the cache.

    Args:
        cache_dir: see `cnn_jax.data.cache.cached`.

    Returns:
        12,000 training and 2,000 test images of shape 28 x 28 x 1 with multi-hot labels.
    """
    # The text of this file is part of the key, so that faces drawn otherwise are another set.
    key = fingerprint("faces", Path(__file__).read_text(encoding="utf-8"))
    return cached(make_faces, name="faces", key=key, cache_dir=cache_dir)


def make_faces(
    train_examples: int = TRAIN_EXAMPLES, test_examples: int = TEST_EXAMPLES, seed: int = 0
) -> Dataset:
    """Draws a set of faces.

    Args:
        train_examples: size of the training split.
        test_examples: size of the test split, which is drawn from a stream of its own.
        seed: which faces, 0 or more.

    Returns:
        The data set; the same seed gives the same faces.
    """
    train, test = (
        _draw_split(np.random.default_rng([seed, stream]), examples)
        for stream, examples in enumerate((train_examples, test_examples))
    )
    return Dataset("faces", train, test, LABELS)


def _draw_split(rng: np.random.Generator, examples: int) -> Split:
    labels = (rng.random((examples, len(LABELS))) < PREVALENCE).astype(np.uint8)
    images = np.empty((examples, SIDE, SIDE, 1), np.uint8)
    for start in range(0, examples, _CHUNK):
        chosen = slice(start, start + _CHUNK)
        images[chosen] = draw_faces(rng, labels[chosen])
    return Split(images, labels)


def draw_faces(
    rng: np.random.Generator, labels: UInt8[np.ndarray, "n 4"]
) -> UInt8[np.ndarray, "n 28 28 1"]:
    """Draws one face for each row of labels.

    Args:
        rng: draws all that the labels leave open.
        labels: multi-hot, in the order of `LABELS`.

    Returns:
        Gray images, strokes light on a dark ground.
    """
    smiling, eyes_open, glasses, hat = (labels.T > 0)[..., None, None]

    def between(low: float, high: float) -> Number:
        return rng.uniform(low, high, (len(labels), 1, 1)).astype(np.float32)

    # Coordinates of the face: its center is the origin, its half height 1, and v points down.
    row, column = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    x, y = column - 13.5 - between(-2, 2), row - 15.5 - between(-1.5, 1.5)
    size, tilt = between(6.5, 9.5), between(-0.2, 0.2)
    u = (x * np.cos(tilt) + y * np.sin(tilt)) / size
    v = (y * np.cos(tilt) - x * np.sin(tilt)) / size
    width = between(0.9, 1.6)

    def stroke(distance: Field) -> Field:
        return np.clip((width + 1) / 2 - size * distance, 0, 1)

    def fill(distance: Field) -> Field:
        return np.clip(0.5 - size * distance, 0, 1)

    head = np.hypot(u / between(0.82, 0.98), v) - 1
    hair = fill(np.maximum(head, v + between(0.5, 0.75))) * (between(0, 1) < 0.5)
    canvas = hair * between(0.4, 0.9)
    canvas = np.maximum(canvas, stroke(np.abs(head)))
    nose = stroke(np.hypot(u, np.maximum(np.abs(v - 0.08) - between(0, 0.1), 0)))
    canvas = np.maximum(canvas, nose * between(0, 0.8))

    mouth_bend = np.where(smiling, between(0.1, 0.32), between(-0.24, 0.06))
    mouth = _arc(u, v - between(0.42, 0.5) + mouth_bend / 2, between(0.28, 0.44), mouth_bend)
    canvas = np.maximum(canvas, stroke(mouth))

    # Both halves of a face are alike, so one eye and one glass are drawn into each.
    side, eye_v = np.abs(u) - between(0.37, 0.45), v + between(0.15, 0.28)
    iris = fill((np.hypot(side / between(0.6, 0.8), eye_v) - between(0.18, 0.25)) * 0.8)
    lid = stroke(_arc(side, eye_v, between(0.13, 0.19), between(-0.06, 0.06)))
    canvas = np.maximum(canvas, np.where(eyes_open, iris, lid))
    lens = between(0.29, 0.34)
    frame = np.abs(np.hypot(side, eye_v) - lens)
    # Outside of the lenses it goes on: as the bridge inwards, as the temple out to the ear.
    bar = np.where(np.hypot(side, eye_v) < lens, 9, np.abs(eye_v) + 9 * (np.abs(u) > 0.95))
    canvas = np.maximum(canvas, stroke(np.minimum(frame, bar)) * glasses)

    brim = -between(0.62, 0.75)
    height = between(0.45, 0.7) / 2
    crown = np.maximum(np.abs(u) - between(0.5, 0.72), np.abs(v - brim + height) - height)
    cloth = fill(crown) * hat
    canvas = canvas * (1 - cloth) + cloth * between(0.45, 1)
    edge = stroke(_arc(u, v - brim, between(0.85, 1.1), between(0, 0.08)))
    canvas = np.maximum(canvas, edge * hat)

    ground = between(10, 70) + between(-2, 2) * x + between(-2, 2) * y
    image = ground + canvas * between(70, 200)
    noise = rng.standard_normal(image.shape, np.float32) * between(4, 28)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)[..., None]


def _arc(u: Field, v: Field, half: Number, bend: Number) -> Field:
    """Nearly the distance to the parabola from (-half, 0) over (0, bend) to (half, 0)."""
    inside = np.clip(u, -half, half)
    curve = bend * (1 - np.square(inside / half))
    slope = -2 * bend * inside / np.square(half)
    return np.hypot(u - inside, (v - curve) / np.sqrt(1 + np.square(slope)))
