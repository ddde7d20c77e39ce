"""What Pillow makes of drawn pictures under every filter, as digests: writes crates/florin-data/src/resample_cases.in.

    python resample.py > ../../crates/florin-data/src/resample_cases.in
"""

import numpy as np
from PIL import Image

SIZES = [
    (7, 5, 3, 4, 3),
    (7, 5, 3, 13, 11),
    (7, 5, 1, 3, 9),
    (64, 48, 3, 24, 24),
    (33, 57, 3, 224, 17),
    (1, 1, 3, 5, 4),
    (50, 1, 3, 7, 3),
    (1, 40, 1, 2, 13),
    (301, 203, 3, 10, 7),
    (16, 16, 3, 16, 8),
    (16, 16, 3, 9, 16),
    (500, 3, 3, 2, 2),
    # Taller than wide: where the order of the passes changes, and just not.
    (40, 101, 3, 14, 48),
    (40, 100, 3, 14, 48),
    (23, 50, 3, 30, 49),
]


def drawn(width: int, height: int, channels: int) -> np.ndarray:
    state, found = 12345, []
    for _ in range(width * height * channels):
        state = (state * 1664525 + 1013904223) % 2**32
        found.append(state >> 24)
    return np.array(found, dtype=np.uint8).reshape(height, width, channels)


def digest(pixels: np.ndarray) -> int:
    found = 2166136261
    for byte in pixels.tobytes():
        found = ((found ^ byte) * 16777619) % 2**32
    return found


def main() -> None:
    print("[")
    for width, height, channels, to_width, to_height in SIZES:
        pixels = drawn(width, height, channels)
        picture = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
        for number in range(6):
            found = np.array(picture.resize((to_width, to_height), resample=number))
            print(f"    ({width}, {height}, {channels}, {to_width}, {to_height}, {number}, {digest(found)}),")
    print("]")


if __name__ == "__main__":
    main()
