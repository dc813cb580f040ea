"""cnn_jax: train, ablate and understand convolutional image classifiers in JAX."""

__version__ = "0.1.0"
