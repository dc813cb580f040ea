"""The networks that are timed."""

from benchmarks.contenders import NETWORKS, Network
from cnn_jax.models import Architecture

TIMED = {
    "lenet5": NETWORKS["lenet5"],
    "cnn": NETWORKS["flax-mnist-cnn"],
    "resnet20": NETWORKS["resnet20"],
    "resnet18": Network(
        (32, 32, 3), Architecture(model="resnet18", normalization="batch"), None, "ResNet18", 100
    ),
    "airnet": NETWORKS["airnet"],
}
