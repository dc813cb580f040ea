"""Registries that are as they were after every test."""

import pytest

from cnn_jax.extend import EXTENSIONS, forget, loaded_files


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    forget(loaded_files())
    for extension in list(EXTENSIONS.values()):
        extension.remove()
