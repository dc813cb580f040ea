"""Any Flax module as a network.

cnn_jax train --extend=examples/my_network.py --model=my_network --network_width=64
"""

from flax import nnx

import cnn_jax


class MyNetwork(nnx.Module):
    def __init__(self, channels: int, width: int, classes: int, rngs: nnx.Rngs):
        self.conv = nnx.Conv(channels, width, (5, 5), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.output = nnx.Linear(width, classes, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, images):
        return self.output(self.dropout(nnx.gelu(self.norm(self.conv(images))).mean((1, 2))))


@cnn_jax.network
def my_network(image_shape, num_classes, rngs, *, network_width=32):
    return MyNetwork(image_shape[-1], network_width, num_classes, rngs)
