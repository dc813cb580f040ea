"""Pure functions: layers, activations, losses, updates, augmentations."""
