"""A study from its choices by name to its folder: what the programs stand on."""
