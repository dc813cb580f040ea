"""What a trained network is worth on a split: scores and calibration."""
