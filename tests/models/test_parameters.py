"""The parameter table: the lecture's formulas, worked out by hand, and the arrays counted."""

import jax
import pytest
from flax import nnx

from cnn_jax.models import MODELS, Architecture, ParameterRow, build, count_parameters
from cnn_jax.ops import ACTIVATIONS, PARAMETRIC_ACTIVATIONS

SMALL = {"filters": (4, 6), "hidden": (5,)}


def table(architecture: Architecture, image_shape: tuple[int, int, int]) -> list[ParameterRow]:
    """The table of a network built abstractly; formulas, their values and arrays must agree."""
    found = {}

    def trace(key: jax.Array) -> None:
        model = build(architecture, image_shape, 10, key)
        found["rows"] = count_parameters(model, image_shape)
        found["arrays"] = jax.tree.leaves(nnx.state(model, nnx.Param))

    jax.eval_shape(trace, jax.random.key(0))
    rows = found["rows"]
    for row in rows:
        assert eval(row.formula) == row.count == row.counted, row
    assert sum(row.count for row in rows) == sum(array.size for array in found["arrays"])
    return rows


def test_lenet5_has_the_counts_of_the_lecture():
    rows = table(Architecture(model="lenet5"), (28, 28, 1))
    assert [(row.name, row.count) for row in rows if row.count] == [
        ("conv1", 156),  # (5 * 5 * 1 + 1) * 6
        ("conv2", 2_416),  # (5 * 5 * 6 + 1) * 16
        ("dense1", 48_120),  # 120 * (5 * 5 * 16) + 1 * 120
        ("dense2", 10_164),  # 84 * 120 + 1 * 84
        ("output", 850),  # 10 * 84 + 1 * 10
    ]
    assert sum(row.count for row in rows) == 61_706
    assert [row.formula for row in rows if row.kind == "max pooling"] == ["0", "0"]


def test_default_is_the_mnist_cnn_of_flax():
    rows = table(Architecture(), (28, 28, 1))
    assert [(row.name, row.output_shape, row.formula) for row in rows if row.count] == [
        ("conv1", (28, 28, 32), "(3 * 3 * 1 + 1) * 32"),
        ("conv2", (14, 14, 64), "(3 * 3 * 32 + 1) * 64"),
        ("dense1", (256,), "256 * 3136 + 1 * 256"),
        ("output", (10,), "10 * 256 + 1 * 10"),
    ]
    assert sum(row.counted for row in rows) == 320 + 18_496 + 803_072 + 2_570 == 824_458


def test_resnet20_has_the_count_of_the_paper():
    rows = table(Architecture(model="resnet20", normalization="batch"), (32, 32, 3))
    weights = 9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64)
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    dense = 10 * 64 + 10
    assert sum(row.count for row in rows) == weights + norms + dense == 269_722
    # Twenty layers with weights, as the name says.
    assert sum(row.kind in ("convolution", "dense") for row in rows) == 20


@pytest.mark.parametrize(
    "model, total, layers",
    [
        ("resnet8", 75_290, 8),  # three blocks of the same function
        ("resnet32", 464_154, 32),  # 0.46M, He et al. 2016, table 6
        ("resnet56", 853_018, 56),  # 0.85M, the same
        ("resnet18", 11_173_962, 18 + 3),  # as is usual for CIFAR; 3 projections
        ("wide_resnet", 2_748_890, 16 + 1),  # 2.7M; the paper's 16 are convolutions only
    ],
)
def test_residual_networks_have_the_counts_of_the_literature(model: str, total: int, layers: int):
    rows = table(Architecture(model=model, normalization="batch"), (32, 32, 3))
    assert sum(row.count for row in rows) == total
    assert sum(row.kind in ("convolution", "dense") for row in rows) == layers


def test_vgg_has_the_kernels_of_column_a():
    rows = table(Architecture(model="vgg", normalization="batch"), (32, 32, 3))
    widths = [64, 128, 256, 256, 512, 512, 512, 512]
    weights = 9 * sum(a * b for a, b in zip([3, *widths], widths, strict=False))
    assert [row.output_shape[-1] for row in rows if row.kind == "convolution"] == widths
    assert sum(row.count for row in rows) == weights + 2 * sum(widths) + 5_130 == 9_228_362


def test_airnet_has_the_count_of_the_paper():
    rows = table(
        Architecture(model="airnet", normalization="batch", activation="gelu"), (32, 32, 3)
    )
    widths = [24, 64, 64, 256, 256, 256, 256]
    weights = 9 * sum(a * b for a, b in zip(widths, widths[1:], strict=False))
    assert weights == 1_967_616
    # With the 288 numbers of the frozen kernel, and 1 152 scales of one, about 1.97M.
    trained = 24 + weights + sum(widths[1:]) + 10 * 256
    assert sum(row.count for row in rows) == trained == 1_971_352
    assert [row.formula for row in rows if row.name in ("whitening", "norm1_1", "output")] == [
        "1 * 24",
        "1 * 64",
        "10 * 256 + 0 * 10",
    ]


# Deeper networks of the function that resnet8 is from are left out: they take long to trace.
@pytest.mark.parametrize(
    "normalization, activation", [("none", "prelu"), ("batch", "relu"), ("group", "prelu")]
)
@pytest.mark.parametrize("model", sorted(MODELS.keys() - {"resnet20", "resnet32", "resnet56"}))
def test_table_counts_every_parameter(model: str, normalization: str, activation: str):
    architecture = Architecture(
        model=model,
        normalization=normalization,
        activation=activation,
        dropout=True,
        **(SMALL if model == "cnn" else {}),
    )
    assert table(architecture, (16, 18, 3))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS | PARAMETRIC_ACTIVATIONS))
def test_only_a_parametric_activation_has_a_parameter(activation: str):
    rows = table(Architecture(activation=activation, **SMALL), (12, 14, 3))
    expected = int(activation in PARAMETRIC_ACTIVATIONS)
    counts = [row.count for row in rows if row.kind == activation]
    assert counts == [expected] * 3


@pytest.mark.parametrize("kernel_size, repeats, hidden", [(2, 2, (5, 5)), (5, 1, ())])
def test_shape_options_of_the_cnn_are_in_the_table(kernel_size: int, repeats: int, hidden: tuple):
    architecture = Architecture(
        filters=(4, 6), kernel_size=kernel_size, convolutions_per_block=repeats, hidden=hidden
    )
    rows = table(architecture, (12, 14, 3))
    kinds = [row.kind for row in rows]
    assert kinds.count("convolution") == 2 * repeats
    assert kinds.count("dense") == len(hidden) + 1
    assert next(row for row in rows if row.name == "flatten").output_shape == (3 * 3 * 6,)
