"""Every reader of foreign bytes, sound examples of each, and how they are mutated.

`python tests/fuzz/readers.py FORMAT SECONDS` looks for what is neither read nor refused in a line,
by mutations of the examples; `guided.py` beside it, by what reaches code that nothing has reached.
What was found once is in `corpus/`.
"""

import gzip
import io
import os
import random
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from cnn_jax import data
from cnn_jax.data.folders import decode, is_picture
from cnn_jax.errors import UsageError

CORPUS = Path(__file__).parent / "corpus"
# Numbers that sizes and counts are often wrong with.
_NUMBERS = (0, 1, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        name: under which it is written; in a folder of sound files where there are others.
        example: a sound one.
        read: reads it, with all that belongs to it.
        others: the sound files beside it.
    """

    name: str
    example: bytes
    read: Callable[[Path], object]
    others: dict[str, bytes] = {}


def _idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def _picture(kind: str, mode: str = "RGB", **options: object) -> bytes:
    rng, file = np.random.default_rng(1), io.BytesIO()
    pixels = rng.integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def _of_folder(path: Path) -> object:
    return data.load(path.parent, on_error="skip", image_size=4)


def _of_file(path: Path) -> object:
    return data.load(path, image_size=4)


def _of_picture(path: Path) -> object:
    """As training and predict read pictures, which take any exception for a reason."""
    is_picture(path)
    try:
        return decode(path, 3)
    except Exception as error:
        return str(error)


def _arrays(**more: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **{f"x_{s}": _IMAGES[:8] for s in ("train", "test")}, **more)
    return file.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def _tar(files: dict[str, bytes], mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _mat() -> bytes:
    from scipy.io import savemat

    file = io.BytesIO()
    images = np.random.default_rng(3).integers(0, 256, (32, 32, 3, 8), np.uint8)
    savemat(file, {"X": images, "y": np.arange(1, 9) % 4 + 1}, do_compression=True)
    return file.getvalue()


def _cifar(labels: int) -> bytes:
    rng = np.random.default_rng(4)
    return b"".join(
        bytes([index % 4] * labels) + rng.integers(0, 256, 3072, np.uint8).tobytes()
        for index in range(8)
    )


_IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 4), np.uint8)
_LABELS = np.arange(12, dtype=np.uint8) % 3
_SET = {
    "train-images-idx3-ubyte": _idx(_IMAGES),
    "train-labels-idx1-ubyte": _idx(_LABELS),
    "t10k-images-idx3-ubyte": _idx(_IMAGES[::-1].copy()),
    "t10k-labels-idx1-ubyte": _idx(_LABELS[::-1].copy()),
}
_ALBUM = {f"{name}/{index}.png": _picture("PNG") for name in ("cat", "dog") for index in range(3)}
_FLAT = {f"{index}.png": _picture("PNG") for index in range(6)}
_TABLE = b"file,label\n" + b"".join(b"%d.png,%s\n" % (i, (b"cat", b"dog")[i % 2]) for i in range(6))
_PIXELS = b"label," + b",".join(b"p%d" % i for i in range(16)) + b"\n"
_PIXELS += b"".join(b"%d," % (i % 3) + b",".join([b"%d" % i] * 16) + b"\n" for i in range(9))
_Y = {f"y_{split}": _LABELS[:8] for split in ("train", "test")}


def _without(name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {other: content for other, content in files.items() if other != name}


FORMATS: dict[str, Format] = {
    "idx": Format(
        "train-images-idx3-ubyte", _SET["train-images-idx3-ubyte"], _of_folder,
        _without("train-images-idx3-ubyte", _SET),
    ),
    "idx_gz": Format(
        "train-labels-idx1-ubyte.gz", gzip.compress(_SET["train-labels-idx1-ubyte"]), _of_folder,
        _without("train-labels-idx1-ubyte", _SET),
    ),
    "npz": Format("set.npz", _arrays(**_Y), _of_file),
    "mat": Format("train_32x32.mat", _mat(), _of_folder),
    "cifar10": Format("data_batch_1.bin", _cifar(1), _of_folder, {"test_batch.bin": _cifar(1)}),
    "cifar100": Format(
        "train.bin", _cifar(2), _of_folder,
        {"test.bin": _cifar(2), "fine_label_names.txt": b"ant\nbee\ncat\ndog\n"},
    ),
    "names": Format(
        "batches.meta.txt", b"ant\nbee\ncat\ndog\n", _of_folder,
        {"test_batch.bin": _cifar(1), "data_batch_1.bin": _cifar(1)},
    ),
    "pixel_csv": Format("train.csv", _PIXELS, _of_folder, {"test.csv": _PIXELS}),
    "table": Format("labels.csv", _TABLE, _of_folder, _FLAT),
    "zip": Format("set.zip", _zip(_SET), _of_file),
    "tar": Format("set.tar", _tar(_SET, "w"), _of_file),
    "tar_gz": Format("set.tar.gz", _tar(_ALBUM, "w:gz"), _of_file),
    "album": Format("cat/x.png", _picture("PNG"), lambda path: _of_folder(path.parent), _ALBUM),
    "png": Format("x.png", _picture("PNG"), _of_picture),
    "png_palette": Format("x.png", _picture("PNG", "P"), _of_picture),
    "jpeg": Format("x.jpg", _picture("JPEG"), _of_picture),
    "jpeg_cmyk": Format("x.jpg", _picture("JPEG", "CMYK"), _of_picture),
    "gif": Format("x.gif", _picture("GIF"), _of_picture),
    "bmp": Format("x.bmp", _picture("BMP"), _of_picture),
    "tiff": Format("x.tif", _picture("TIFF"), _of_picture),
    "tiff_lzw": Format("x.tif", _picture("TIFF", compression="tiff_lzw"), _of_picture),
    "webp": Format("x.webp", _picture("WEBP"), _of_picture),
    "ppm": Format("x.ppm", _picture("PPM"), _of_picture),
    "ico": Format("x.ico", _picture("ICO"), _of_picture),
    "pcx": Format("x.pcx", _picture("PCX"), _of_picture),
    "sgi": Format("x.sgi", _picture("SGI"), _of_picture),
    "tga": Format("x.tga", _picture("TGA"), _of_picture),
    "jpeg2000": Format("x.jp2", _picture("JPEG2000"), _of_picture),
}  # fmt: skip


def mutations(example: bytes, seed: int) -> Iterator[bytes]:
    """Without end, what may become of a file: bits, numbers and parts of it changed."""
    rng = random.Random(seed)
    while True:
        content = bytearray(example)
        for _ in range(rng.choice((1, 1, 2, 4, 8))):
            if content:
                _mutate(rng, content)
        yield bytes(content)


def _mutate(rng: random.Random, content: bytearray) -> None:
    # What says how the rest is to be read stands at the beginning or at the end.
    place = rng.choice((rng.randrange(len(content)), rng.randrange(min(64, len(content))), -1))
    place = place % len(content)
    end = min(len(content), place + rng.choice((1, 2, 4, 8, 64)))
    kind = rng.randrange(6)
    if kind == 0:
        content[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        content[place] = rng.randrange(256)
    elif kind == 2:
        size = rng.choice((1, 2, 4, 8))
        number = rng.choice(_NUMBERS) % (1 << 8 * size)
        content[place : place + size] = number.to_bytes(size, rng.choice(("big", "little")))
    elif kind == 3:
        del content[place:end]
    elif kind == 4:
        content[place:place] = content[place:end] or rng.randbytes(4)
    else:
        del content[place:]


def try_reading(form: Format, content: bytes, folder: Path) -> object:
    """Reads a file of any content; what it is, or why it is refused.

    Args:
        form: of the file.
        content: of the file.
        folder: an empty one, or one that this has been done in.

    Raises:
        Exception: the reader does neither.
    """
    for name, sound in form.others.items():
        place = folder / name
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(sound)
    path = folder / form.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        return form.read(path)
    except UsageError as error:
        assert "\n" not in str(error).strip(), error
        return error


def look(name: str, run: Callable[[Callable[[bytes], None], bytes], None]) -> None:
    """Looks for what a reader neither reads nor refuses, and keeps it in `CORPUS`.

    Args:
        name: of the format.
        run: gives the function files that are made from the sound one.
    """
    form = FORMATS[name]
    with tempfile.TemporaryDirectory() as place:
        os.environ["CNN_JAX_CACHE"] = str(Path(place, "cache"))

        def once(content: bytes) -> None:
            try:
                try_reading(form, content, Path(place, "set"))
            except Exception as error:
                found = CORPUS / f"{name}-{type(error).__name__}"
                found.write_bytes(content)
                print(f"{found.name}: {error}"[:300], flush=True)

        run(once, form.example)


def _mutated(once: Callable[[bytes], None], example: bytes) -> None:
    end = time.monotonic() + float(sys.argv[2])
    for count, content in enumerate(mutations(example, time.time_ns()), start=1):
        once(content)
        if time.monotonic() > end:
            print(f"{sys.argv[1]}: {count:,} files")
            return


if __name__ == "__main__":
    look(sys.argv[1], _mutated)
