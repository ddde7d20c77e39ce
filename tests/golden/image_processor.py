"""What transformers' PIL-backed image processors make of drawn pictures, as digests.

    python image_processor.py > ../../crates/florin-data/src/image_processor_cases.in
"""

import json
import warnings

import numpy as np
import transformers
from PIL import Image

from resample import digest, drawn

warnings.filterwarnings("ignore")
SMALL = {"size": {"shortest_edge": 12}, "crop_size": {"height": 12, "width": 12}}
# Class, settings, sizes of pictures.
CASES = [
    ("CLIP", SMALL, [(20, 30), (31, 17), (12, 12), (5, 9), (457, 1000)]),
    # A crop larger than the picture, with an odd difference along one side or both.
    ("CLIP", {"size": {"shortest_edge": 7}, "crop_size": {"height": 12, "width": 9}}, [(20, 30), (31, 17)]),
    ("ChineseCLIP", SMALL | {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.8, 0.7]}, [(20, 30)]),
    ("Bit", {"size": {"shortest_edge": 16}, "crop_size": {"height": 14, "width": 14}}, [(40, 23)]),
    ("ViT", {"size": {"height": 10, "width": 14}}, [(40, 23), (6, 5)]),
    ("DeiT", {"size": {"height": 16, "width": 16}, "crop_size": {"height": 13, "width": 12}}, [(40, 23)]),
    ("Beit", {"size": {"height": 9, "width": 9}, "resample": 1}, [(40, 23)]),
    ("Siglip", {"size": {"height": 12, "width": 12}, "do_normalize": False}, [(40, 23)]),
    ("Siglip", {"size": {"height": 12, "width": 12}, "do_rescale": False}, [(40, 23)]),
    ("CLIP", SMALL | {"do_resize": False}, [(20, 30)]),
    # What the class does where the file says nothing.
    ("CLIP", {}, [(300, 260)]),
    ("ViT", {}, [(230, 200)]),
    ("DeiT", {}, [(230, 300)]),
    ("VideoMAE", {}, [(300, 260)]),
]


def main() -> None:
    print("[")
    for name, settings, sizes in CASES:
        processor = getattr(transformers, f"{name}ImageProcessorPil")(**settings)
        config = json.dumps({"image_processor_type": f"{name}ImageProcessor"} | settings)
        for width, height in sizes:
            picture = Image.fromarray(drawn(width, height, 3))
            given = [[picture]] if name == "VideoMAE" else picture
            found = np.asarray(processor(given, return_tensors="np")["pixel_values"], dtype=np.float32)
            found = found.reshape(found.shape[-3:])
            print(f'    (r#"{config}"#, {width}, {height}, {found.shape[1]}, {found.shape[2]}, {digest(found)}),')
    print("]")


if __name__ == "__main__":
    main()
