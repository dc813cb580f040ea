"""Records of runs that the tests of pages are made from, and a reader of pages."""

import dataclasses
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np

from cnn_jax.analysis import figures
from cnn_jax.analysis.evaluate import evaluate_classes, evaluate_labels
from cnn_jax.analysis.report import RunRecord, render_report

RNG = np.random.default_rng(0)
NAMES = ("smiling", "eyes <open>", "hat")


def record(classes=4, examples=200, channels=1, seed=0, **changes):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, examples).astype(np.int32)
    scores = rng.normal(size=(examples, classes))
    scores[np.arange(examples), labels] += 2.0
    exp = np.exp(scores)
    row = {
        "epoch": 1,
        "learning_rate": 0.1,
        "train_loss": 0.5,
        "train_accuracy": 0.75,
        "validation_loss": 0.625,
        "validation_accuracy": 0.7,
        "seconds": 2.0,
        "images_per_second": 1000.0,
    }
    values = {
        "dataset": "shapes",
        "model": "cnn",
        "class_names": tuple(f"class{index}" for index in range(classes)),
        "history": [row, row | {"epoch": 2}],
        "test_loss": 0.4321,
        "test_probabilities": (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32),
        "test_labels": labels,
        "test_images": rng.integers(0, 256, (examples, 8, 8, channels), dtype=np.uint8),
        "parameters": [
            {
                "name": "conv1",
                "kind": "conv",
                "output_shape": (28, 28, 32),
                "formula": "(3·3·1 + 1)·32",
                "count": 320,
                "counted": 320,
            }
        ],
        "flags": "python -m experiments.train --flagfile=flags.txt",
        "environment": {"jax": "0.10.2"},
        "train_seconds": 65.0,
        "compile_seconds": 1.5,
        "calibrated": True,
    }
    return RunRecord(**(values | changes))


def random_probabilities(examples, classes):
    return RNG.dirichlet(np.ones(classes), examples).astype(np.float32)


def random_images(examples, channels):
    return RNG.integers(0, 256, (examples, 8, 8, channels), dtype=np.uint8)


def texts(figure):
    """All the text of a figure, as a reader sees it."""
    root = ElementTree.fromstring(figures.to_svg(figure))
    return ["".join(node.itertext()).strip() for node in root.iter() if node.tag.endswith("}text")]


class Page(HTMLParser):
    """The tags, the tables and the text of a page, without scripts and styles."""

    VOID = {"meta", "img", "link", "br", "hr", "input"}

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.tables, self.text = [], [], [], ""
        self.feed(page)
        assert not self.open, f"tags left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data
        if not {"script", "style", "svg"} & set(self.open):
            self.text += data

    def table(self, heading):
        """The body of the table that has this column, as rows of text."""
        return next(table[1:] for table in self.tables if heading in table[0])


def scored(examples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (examples, len(NAMES)), np.uint8)
    logits = 3 * rng.normal(size=labels.shape) + 4 * (labels - 0.5)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), labels


def label_record(examples: int = 80, **changes) -> RunRecord:
    probabilities, labels = scored(examples)
    return dataclasses.replace(
        record(examples=examples),
        **{
            "class_names": NAMES,
            "test_probabilities": probabilities,
            "test_labels": labels,
            **changes,
        },
    )


def report_page(sample: RunRecord, held_out=None) -> str:
    """The page of a run, evaluated on its own test probabilities."""
    given = sample.test_probabilities, sample.test_labels, sample.class_names
    found = evaluate_classes(*given) if given[1].ndim == 1 else evaluate_labels(*given, held_out)
    return render_report(sample, found)
