"""Chinese-CLIP: a BERT beside CLIP's image tower."""

from pathlib import Path

import torch
from transformers import ChineseCLIPConfig, ChineseCLIPModel

import weights

from .case import write
from .pair_clip import IMAGE, PAIR, pictures
from .text_bert import SIDES, SIZES, ids


def pair(folder: Path) -> None:
    segments = torch.from_numpy(weights.whole_numbers("chinese_clip.segments", (3, 7), 2))
    given = ids("chinese_clip.ids", SIDES) | {"token_type_ids": segments} | pictures("chinese_clip.pixels", 3)
    # The only one whose first token may be hidden: its vector is read all the same.
    text = {name: value for name, value in SIZES.items() if name != "attn_implementation"}
    make = lambda: ChineseCLIPModel(  # noqa: E731
        ChineseCLIPConfig(text_config=text, vision_config=IMAGE, projection_dim=10, attn_implementation="sdpa")
    )
    write(folder, "pair_chinese_clip", make, given, PAIR, lambda model, inputs: model(**inputs, return_loss=True))


CASES = [pair]
