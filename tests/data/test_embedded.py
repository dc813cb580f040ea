"""The MNIST in the package: these tests never skip."""

import hashlib
from importlib import resources

import numpy as np

from cnn_jax import data


def test_mnist_is_whole_and_in_its_original_order():
    mnist = data.load("mnist")
    assert mnist.name == "mnist"
    assert mnist.class_names == tuple("0123456789")
    assert mnist.image_shape == (28, 28, 1)
    assert mnist.train.images.shape == (60000, 28, 28, 1)
    assert mnist.test.images.shape == (10000, 28, 28, 1)
    assert mnist.train.images.dtype == np.uint8
    assert mnist.train.labels.dtype == np.int32
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    # The published numbers of examples per digit.
    assert np.bincount(mnist.train.labels).tolist() == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    ]
    mean, std = data.channel_statistics(mnist.train.images)
    np.testing.assert_allclose([mean[0], std[0]], [0.1307, 0.3081], atol=5e-5)


def test_the_file_is_the_one_that_its_note_describes():
    folder = resources.files("cnn_jax.data")
    digest = hashlib.sha256(folder.joinpath("mnist.npz").read_bytes()).hexdigest()
    assert digest in folder.joinpath("MNIST.md").read_text()
    assert digest == "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64"
