"""Runs and sweeps as folders, and how they are prepared."""
