"""CLIP as open_clip has it, by its configuration and, in OpenAI's layout, by its tensors alone."""

from pathlib import Path

import open_clip
import torch

from .case import write
from .pair_clip import PAIR, pictures, texts

SIZES = {
    "embed_dim": 10,
    "vision_cfg": {"image_size": 7, "layers": 2, "width": 16, "head_width": 8, "patch_size": 2, "mlp_ratio": 1.75},
    "text_cfg": {"context_length": 7, "vocab_size": 40, "width": 24, "heads": 3, "layers": 2},
}
# OpenAI's heads are 64 wide, and nothing says so.
OPENAI = {
    "embed_dim": 6,
    "vision_cfg": {"image_size": 6, "layers": 1, "width": 128, "patch_size": 3},
    "text_cfg": {"context_length": 5, "vocab_size": 20, "width": 64, "heads": 1, "layers": 2},
}


def call(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    image, text, scale = model(inputs["pixel_values"], inputs["input_ids"])
    logits = scale * text @ image.T
    found = {"logits_per_text": logits, "logits_per_image": logits.T, "text_embeds": text, "image_embeds": image}
    return found | {"loss": open_clip.ClipLoss()(image, text, scale)}


def make(sizes: dict, quick_gelu: bool = False) -> torch.nn.Module:
    return open_clip.model.CLIP(**sizes, quick_gelu=quick_gelu)


def given(name: str, lengths: list[int], seq: int, end: int, side: int) -> dict[str, torch.Tensor]:
    """open_clip has no mask: what follows the end of text is not seen by what stands before it."""
    words = texts(f"{name}.ids", lengths, seq, end)
    return {"input_ids": words["input_ids"]} | pictures(f"{name}.pixels", len(lengths), side)


def pair(folder: Path) -> None:
    inputs = given("open_clip", [7, 4, 2], 7, 39, 7)
    write(folder, "pair_open_clip", lambda: make(SIZES), inputs, PAIR, call, {"model_cfg": SIZES})
    config = {"model_cfg": SIZES | {"quick_gelu": True}}
    write(folder, "pair_open_clip_quick_gelu", lambda: make(SIZES, True), inputs, PAIR, call, config)
    inputs = given("openai", [5, 3], 5, 19, 6)
    write(folder, "pair_openai_clip", lambda: make(OPENAI, True), inputs, PAIR, call, {})


CASES = [pair]
