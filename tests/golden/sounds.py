"""Writes the compressed sounds that `crates/florin-data/src/sound.rs` is tested with: one drawn tone in each format.

    python sounds.py ../../crates/florin-data/src/sound
"""

import sys
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def main() -> None:
    folder = Path(sys.argv[1])
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    channels = np.stack([tone, 0.5 * tone], 1).astype(np.float32)
    soundfile.write(folder / "tone.flac", channels, RATE, subtype="PCM_16")
    soundfile.write(folder / "tone.ogg", channels, RATE, format="OGG", subtype="VORBIS")
    soundfile.write(folder / "tone.mp3", channels, RATE, format="MP3")


if __name__ == "__main__":
    main()
