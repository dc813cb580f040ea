"""Side-by-side timings against PyTorch and stock Flax, one command each."""
