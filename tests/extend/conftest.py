"""Registries that are as they were after every test."""

import pytest


@pytest.fixture(autouse=True)
def nothing_left(no_extensions: None) -> None:
    """For every test here."""
