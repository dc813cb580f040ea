"""The lecture's own examples, and the results it prints: the one place where numbers are typed."""

import numpy as np

HOT_PINK = (255, 105, 180)

# The sliding filter, and the first number of its feature map.
IMAGE = np.array(
    [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]],
    np.float32,
)
FILTER = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], np.float32)
PRINTED_FIRST = 4

# Pooling with a 2x2 window that moves by 2.
FEATURE_MAP = np.array([[2, 2, 7, 3], [9, 4, 6, 1], [8, 5, 2, 4], [3, 1, 2, 6]], np.float32)
PRINTED_MAXIMA = ((9, 7), (8, 6))
PRINTED_MEANS = ((4.25, 4.25), (4.25, 3.5))

# Flattening.
POOLED_MAP = np.array([[1, 1, 0], [4, 2, 1], [0, 2, 1]], np.float32)
PRINTED_COLUMN = (1, 1, 0, 4, 2, 1, 0, 2, 1)

# Sigmoid against softmax.
VEHICLES = ("bus", "car", "truck", "train")
SCORES = np.array([-0.5, 1.2, -0.1, 2.4], np.float32)
PRINTED_SIGMOID = ("0.37", "0.77", "0.48", "0.91")
PRINTED_SIGMOID_SUM = "2.53"
PRINTED_SOFTMAX = ("0.04", "0.21", "0.05", "0.70")
PRINTED_SOFTMAX_SUM = "1.00"

# "Predicting a probability of .011 when the actual observation label is 1."
CONFIDENTLY_WRONG = 0.011
