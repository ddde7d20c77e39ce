"""How far our JPEG decoder's pixels are from Pillow's (libjpeg-turbo), over every JPEG in $FLORIN_DATA.

Build first: `cargo build --release -p florin-data --example decode_jpeg`; then `python tests/peers/jpeg_decoders.py PATH_OF_THE_EXAMPLE`.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy
from PIL import Image


def main() -> None:
    files = sorted(path for path in Path(os.environ["FLORIN_DATA"]).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    ours = subprocess.Popen([sys.argv[1], *map(str, files)], stdout=subprocess.PIPE)
    counts = numpy.zeros(256, dtype=numpy.int64)
    worst, means = {}, []
    for file in files:
        width, height = map(int, ours.stdout.readline().split())
        found = numpy.frombuffer(ours.stdout.read(width * height * 3), dtype=numpy.uint8).reshape(height, width, 3)
        picture = Image.open(file)
        mode = picture.mode
        expected = numpy.asarray(picture.convert("RGB"))
        assert expected.shape == found.shape, file
        difference = numpy.abs(expected.astype(numpy.int16) - found)
        counts += numpy.bincount(difference.ravel(), minlength=256)
        worst[(mode, str(file))] = int(difference.max())
        means.append(float(difference.mean()))
    total = counts.sum()
    print(f"{len(files)} pictures, {total} values; modes {sorted({mode for mode, _ in worst})}")
    for level in range(4):
        print(f"  apart by {level}: {counts[level] / total:.6%}")
    print(f"  apart by more: {counts[4:].sum() / total:.6%}")
    print(f"  largest {max(worst.values())}, mean {numpy.mean(means):.5f}, largest mean of a picture {max(means):.5f}")


if __name__ == "__main__":
    main()
