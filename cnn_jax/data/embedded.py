"""The MNIST that is part of the package (see MNIST.md beside this file)."""

from importlib import resources

import numpy as np

from cnn_jax.data.dataset import Dataset, Split


def read_embedded_mnist() -> Dataset:
    """Reads all of MNIST, in its original order, with no download.

    Returns:
        60,000 training and 10,000 test images of shape 28 x 28 x 1, classes "0" to "9".

    References:
        LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition,
        Proceedings of the IEEE 86(11), 1998.
    """
    packed = resources.files("cnn_jax.data").joinpath("mnist.npz")
    with packed.open("rb") as file, np.load(file) as arrays:
        train, test = (
            Split(arrays[f"x_{split}"][..., None], arrays[f"y_{split}"].astype(np.int32))
            for split in ("train", "test")
        )
    return Dataset("mnist", train, test, tuple("0123456789"))
