"""Pages that run: a trained network carried by its page, and the scripts that show what it does."""

from cnn_jax.analysis.live.network import MOST_BYTES, Live, describe, in_page, rounded

__all__ = ["MOST_BYTES", "Live", "describe", "in_page", "rounded"]
