"""The page that explains a network: a section for each way to look into it."""

from collections.abc import Iterator, Sequence

from cnn_jax.analysis.explain.examples import (
    confident_mistakes_of,
    nearest_training_images,
    torn_between_two,
)
from cnn_jax.analysis.explain.sections import (
    Section,
    Subject,
    best_of_each_class,
    evidence_in_images,
    first_filters,
    maps_of_one_image,
)
from cnn_jax.analysis.pages import page_template

_SECTIONS = (
    first_filters,
    maps_of_one_image,
    evidence_in_images,
    best_of_each_class,
    nearest_training_images,
    confident_mistakes_of,
    torn_between_two,
)


def make_sections(subject: Subject) -> Iterator[Section]:
    """The parts of the page, each made when it is asked for."""
    for make in _SECTIONS:
        yield make(subject)


def render_explanations(
    parts: Sequence[Section], *, title: tuple[str, str], facts: dict[str, str]
) -> str:
    """The page, self-contained.

    Args:
        parts: its sections.
        title: what was explained, and on what.
        facts: what to say of it, by heading.
    """
    return page_template("explain/page.html").render(parts=parts, title=title, facts=facts)
