"""CLIP: both towers with their loss, more pictures than texts, and each tower alone, with both activations and both rules of the end of text."""

from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)

import weights

from .case import write

END = 37
TEXT = dict(
    vocab_size=40,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    max_position_embeddings=9,
    projection_dim=12,
    bos_token_id=1,
    eos_token_id=END,
    pad_token_id=END,
)
# Seven pixels, of which the last row and column are beyond the last whole patch.
IMAGE = dict(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=28,
    projection_dim=12,
    image_size=7,
    patch_size=2,
)
PAIR = ["loss", "logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]


def texts(name: str, lengths: list[int], seq: int, end: int = END) -> dict[str, torch.Tensor]:
    """Ids below the end of text, which closes each row and then pads it."""
    ids = torch.from_numpy(weights.whole_numbers(name, (len(lengths), seq), end - 1)) + 1
    places = torch.arange(seq).expand(len(lengths), seq)
    last = torch.tensor(lengths).unsqueeze(1) - 1
    return {"input_ids": ids.masked_fill(places >= last, end), "attention_mask": (places <= last).long()}


def pictures(name: str, count: int, side: int = 7, channels: int = 3) -> dict[str, torch.Tensor]:
    return {"pixel_values": weights.tensor(name, (count, channels, side, side), 2.0)}


def both(text: dict, image: dict) -> CLIPModel:
    config = CLIPConfig(text_config=TEXT | text, vision_config=IMAGE | image, projection_dim=10, attn_implementation="sdpa")
    return CLIPModel(config)


def pair(folder: Path) -> None:
    given = texts("clip.ids", [7, 4, 1], 7) | pictures("clip.pixels", 3)
    call = lambda model, inputs: model(**inputs, return_loss=True)  # noqa: E731
    write(folder, "pair_clip", lambda: both({}, {}), given, PAIR, call)
    # GELU, an epsilon of its own, and the rule of OpenAI's own checkpoints: the end of text is the largest id.
    settings = dict(hidden_act="gelu", layer_norm_eps=1e-3)
    given = texts("clip.other", [5, 3], 5, 39) | pictures("clip.more", 3)
    make = lambda: both(settings | {"eos_token_id": 2}, settings)  # noqa: E731
    write(folder, "pair_clip_largest", make, given, PAIR[1:], lambda model, inputs: model(**inputs))


def text(folder: Path) -> None:
    config = lambda: CLIPTextConfig(**TEXT, attn_implementation="sdpa")  # noqa: E731
    outputs = ["last_hidden_state", "hidden_states"]
    given = texts("clip.ids", [7, 4, 2], 7)
    write(folder, "pair_clip_text", lambda: CLIPTextModel(config()), given, [*outputs, "pooler_output"])
    write(folder, "pair_clip_text_projected", lambda: CLIPTextModelWithProjection(config()), given, [*outputs, "text_embeds"])
    for name, seq in [("one", 1), ("full", 9)]:
        make = lambda: CLIPTextModelWithProjection(config())  # noqa: E731
        write(folder, f"pair_clip_text_{name}", make, texts(f"clip.{name}", [seq], seq), ["text_embeds"])


def image(folder: Path) -> None:
    config = lambda: CLIPVisionConfig(**IMAGE, attn_implementation="sdpa")  # noqa: E731
    outputs = ["last_hidden_state", "hidden_states"]
    given = pictures("clip.pixels", 2)
    write(folder, "pair_clip_image", lambda: CLIPVisionModel(config()), given, [*outputs, "pooler_output"])
    write(folder, "pair_clip_image_projected", lambda: CLIPVisionModelWithProjection(config()), given, [*outputs, "image_embeds"])


CASES = [pair, text, image]
