"""Scaling on paper: the arithmetic by hand, and the document that shows it."""

from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.scaling_programs import Network, filled

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"
NETWORK = Network(
    name="hand",
    parameters=250_000,
    devices=8,
    flops=98_500_000,
    traffic=819_000,
    filled=0.5,
    trial_bytes=12_800_000,
    exchanges=3,
    exchanged=1_000_000,
    trial_exchanges=0,
)


def test_arithmetic_of_a_step():
    # 98.5 MFLOP at 197 TFLOP/s * 0.5 * 0.5 are 2 us; 0.4095 MB at 409.5 GB/s are 1 us.
    assert scaling.compute_seconds(NETWORK, 10) == pytest.approx(20e-6)
    slow = NETWORK._replace(traffic=10 * NETWORK.traffic)
    assert scaling.compute_seconds(slow, 10) == pytest.approx(100e-6)


def test_exchanges_within_and_between_pods():
    assert [scaling.hops(count) for count in (1, 2, 8, 64, 256)] == [0, 1, 4, 14, 30]
    assert scaling.exchange_parts(NETWORK, 1) == (0, 0)
    # 2 * 7/8 of a megabyte at 100 GB/s; three sums that go 4 hops there and back.
    moving, length = scaling.exchange_parts(NETWORK, 8)
    assert moving == pytest.approx(17.5e-6)
    assert length == pytest.approx(24e-6)
    # Four pods of 256: beside 2 * 255/256 MB within, 2 * 3/4 MB / 256 at 3.125 GB/s between them;
    # 30 hops and 3 hops between pods, there and back.
    moving, length = scaling.exchange_parts(NETWORK, 1024)
    assert moving == pytest.approx(19.921875e-6 + 1.875e-6)
    assert length == pytest.approx(3 * (60e-6 + 300e-6))


def test_efficiency():
    # 41.5 us of exchange beside 2 us an image.
    assert scaling.efficiency(NETWORK, 20, 8) == pytest.approx(40 / 81.5)
    needed = scaling.images_needed(NETWORK, 8)
    assert needed == 187
    assert scaling.efficiency(NETWORK, needed, 8) >= 0.9 > scaling.efficiency(NETWORK, 186, 8)
    # The exchange takes 27 us over 4, 41.5 over 8 and 54.75 over 16.
    assert scaling.most_accelerators(NETWORK, lambda count: 187) == 8
    assert scaling.most_accelerators(NETWORK, lambda count: 800 / count) == 4
    assert scaling.most_accelerators(NETWORK, lambda count: 1e6) == 1024


def test_a_sweep():
    # A million networks are 976.6 for each of 1,024: 977 times 500,000 images of 2 us, and 2,000 s.
    assert scaling.sweep_seconds(NETWORK, 1_000_000, 1024) == pytest.approx(977 + 2000)
    assert scaling.trials_together(NETWORK) == 1000


def test_share_of_the_matrix_units():
    # 128 x 64 fills half of one; 9 * 16 x 128 fills 144 of 256 rows.
    assert filled([(128 * 64, (64,))]) == 0.5
    assert filled([(144 * 128, (7, 7, 128))]) == pytest.approx(144 / 256)
    both = [(128 * 64, (64,)), (144 * 128, (2, 1, 128)), (0, (2, 2, 5))]
    assert filled(both) == pytest.approx((128 * 64 + 2 * 144 * 128) / (128**2 + 2 * 256 * 128))


def rows_of_the_document() -> list[Network]:
    """The rows of the table that is read from programs."""
    lines = DOCUMENT.read_text().splitlines()
    begin = next(
        index for index, line in enumerate(lines) if line.startswith("| network | parameters")
    )
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        kinds = list(Network.__annotations__.values())[1:]
        numbers = [kind(cell.replace(",", "")) for kind, cell in zip(kinds, cells, strict=True)]
        rows.append(Network(name, *numbers))
    return rows


def test_the_document_has_what_the_command_prints():
    rows = rows_of_the_document()
    assert {(row.name, row.devices) for row in rows} == {
        (name, count) for name in ("cnn", "resnet20", "airnet") for count in scaling.SIMULATED
    }
    for table in scaling.tables(rows).split("\n\n"):
        assert table in DOCUMENT.read_text()
    assert "python -m benchmarks.scaling" in DOCUMENT.read_text()
