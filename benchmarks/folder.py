"""Times how a folder of pictures is read, and measures the memory that it takes.

`python -m benchmarks.folder`: 60,000 PNGs of 32 x 32, decoded (cold) and from the cache (warm),
then photos of 12 megapixels at 64 x 64, whose number must not show in the memory. Each
reading is a process of its own; a photo is a link to one of a few files, decoded every time.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

FLAGS = flags.FLAGS
flags.DEFINE_integer("pictures", 60_000, "Small pictures.", lower_bound=20)
flags.DEFINE_list("photos", ["100", "400"], "Large pictures, in one folder after the other.")

_CLASSES = 10
_FILES = 8
_PHOTO = (3000, 4000)
# Peak memory of the process beyond what it had with everything imported.
_READ = """
import json, resource, sys, time
from cnn_jax import data
import PIL.Image, rich.progress
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, start = peak(), time.perf_counter()
read = data.load(sys.argv[1], image_size=int(sys.argv[2]) or None, cache_dir=sys.argv[3])
seconds = time.perf_counter() - start
print(json.dumps([seconds, peak() - before, read.train.images.nbytes + read.test.images.nbytes]))
"""


def main(arguments: list[str]) -> None:
    """Prints a line for each reading."""
    print(f"{os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as place:
        small = Path(place) / "small"
        _write_small(small, FLAGS.pictures)
        for state in ("cold", "warm"):
            _report(f"{FLAGS.pictures:,} of 32 x 32, {state}", small, 0, place)
        sources = _write_photos(Path(place) / "sources")
        for count in map(int, FLAGS.photos):
            folder = Path(place) / f"photos-{count}"
            _link_photos(folder, sources, count)
            _report(f"{count:,} of 12 megapixels at 64 x 64, cold", folder, 64, place)


def _write_small(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(count):
        split = "test" if index % 6 == 0 else "train"
        path = folder / split / str(index // 6 % _CLASSES)
        path.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        image.save(path / f"{index}.png", compress_level=1)


def _write_photos(folder: Path) -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for index in range(_FILES):
        coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        paths.append(folder / f"{index}.jpg")
        coarse.resize(_PHOTO[::-1], Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def _link_photos(folder: Path, sources: list[Path], count: int) -> None:
    for index in range(count):
        path = folder / ("cat", "dog")[index % 2]
        path.mkdir(parents=True, exist_ok=True)
        os.link(sources[index % len(sources)], path / f"{index}.jpg")


def _report(what: str, folder: Path, image_size: int, place: str) -> None:
    cache = Path(place) / "cache"
    command = [sys.executable, "-c", _READ, str(folder), str(image_size), str(cache)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, megabytes, size = json.loads(output)
    print(
        f"{what}: {seconds:.1f} s, {megabytes:,.0f} MiB at its peak for a set of "
        f"{size / 2**20:,.1f} MiB",
        flush=True,
    )


if __name__ == "__main__":
    app.run(main)
