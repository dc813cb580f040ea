"""What the programs' flags say."""
