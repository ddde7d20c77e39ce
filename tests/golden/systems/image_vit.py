"""ViT with and without its pooler and head: pictures that are not square, that leave pixels over, and of other sizes than the configuration's."""

from pathlib import Path

import torch
from transformers import ViTConfig, ViTForImageClassification, ViTModel

import weights

from .case import write

SIZES = dict(
    image_size=8,
    patch_size=2,
    num_channels=3,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=36,
    attn_implementation="sdpa",
)
STATES = ["last_hidden_state", "hidden_states"]


def picture(name: str, height: int, width: int, channels: int = 3, count: int = 2) -> dict[str, torch.Tensor]:
    return {"pixel_values": weights.tensor(name, (count, channels, height, width), 2.0)}


def interpolated(model, inputs):
    return model(**inputs, interpolate_pos_encoding=True, output_hidden_states=True)


def case_of(family: str, configuration, usual: dict = SIZES):
    """What writes a family's cases: of a model of `kind`, called as `call` says."""

    def case(folder: Path, name: str, kind, given: dict, outputs: list[str], call=None, **settings) -> None:
        make = lambda: kind(configuration(**(usual | settings)))  # noqa: E731
        write(folder, f"image_{family}_{name}", make, given, outputs, **({"call": call} if call else {}))

    return case


case = case_of("vit", ViTConfig)


def model(folder: Path) -> None:
    outputs = [*STATES, "pooler_output"]
    settings = dict(image_size=[7, 10], layer_norm_eps=1e-3, pooler_output_size=20)
    case(folder, "model", ViTModel, picture("vit.picture", 7, 10), outputs, **settings)
    bare = lambda: ViTModel(ViTConfig(**(SIZES | {"qkv_bias": False, "hidden_act": "relu"})), add_pooling_layer=False)  # noqa: E731
    write(folder, "image_vit_bare", bare, picture("vit.square", 8, 8), STATES)


def one(folder: Path) -> None:
    """One patch of one channel."""
    settings = dict(image_size=2, num_channels=1, pooler_act="silu")
    case(folder, "one", ViTModel, picture("vit.one", 2, 2, 1), ["last_hidden_state", "pooler_output"], **settings)


def other_sizes(folder: Path) -> None:
    """More rows and fewer columns than there are positions for, and as many patches in another shape."""
    outputs = [*STATES, "pooler_output"]
    case(folder, "resized", ViTModel, picture("vit.larger", 14, 6), outputs, interpolated)
    case(folder, "reshaped", ViTModel, picture("vit.wide", 4, 17), STATES, interpolated)


def classification(folder: Path) -> None:
    given = picture("vit.square", 8, 8) | {"labels": torch.tensor([4, 1])}
    case(folder, "classification", ViTForImageClassification, given, ["loss", "logits", "hidden_states"], num_labels=5)
    given = picture("vit.larger", 10, 14) | {"labels": torch.tensor([0, 2])}
    case(folder, "classification_resized", ViTForImageClassification, given, ["loss", "logits"], interpolated, num_labels=3)


CASES = [model, one, other_sizes, classification]
