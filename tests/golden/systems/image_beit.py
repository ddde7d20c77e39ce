"""BEiT with each of its heads: biases by distance of each block, of all, of both and of none, patches hidden, pictures of other sizes."""

from pathlib import Path

import torch
from transformers import BeitConfig, BeitForImageClassification, BeitForMaskedImageModeling, BeitModel

import weights

from .image_dinov2 import hidden
from .image_vit import STATES, case_of, picture

OUTPUTS = [*STATES, "pooler_output"]
BOTH = dict(use_relative_position_bias=True, use_shared_relative_position_bias=True)

case = case_of("beit", BeitConfig)


def model(folder: Path) -> None:
    square = picture("beit.square", 8, 8)
    settings = dict(use_absolute_position_embeddings=True, layer_norm_eps=1e-3, hidden_act="relu")
    case(folder, "model", BeitModel, square, OUTPUTS, **settings)
    settings = dict(use_relative_position_bias=True, layer_scale_init_value=0.0, use_mean_pooling=False)
    case(folder, "block_biases", BeitModel, square, OUTPUTS, **settings)
    given = square | hidden("beit.hidden", 16)
    case(folder, "hidden", BeitModel, given, OUTPUTS, use_mask_token=True, use_shared_relative_position_bias=True)


def one(folder: Path) -> None:
    """One patch of one channel."""
    settings = dict(image_size=2, num_channels=1, use_relative_position_bias=True)
    case(folder, "one", BeitModel, picture("beit.one", 2, 2, 1), ["last_hidden_state", "pooler_output"], **settings)


def other_sizes(folder: Path) -> None:
    """More rows and fewer columns than there are biases and positions for."""
    settings = dict(use_absolute_position_embeddings=True, **BOTH)
    case(folder, "resized", BeitModel, picture("beit.larger", 14, 6), OUTPUTS, **settings)
    case(folder, "reshaped", BeitModel, picture("beit.wide", 4, 17), STATES, use_shared_relative_position_bias=True)


def masked_image(folder: Path) -> None:
    kind, outputs = BeitForMaskedImageModeling, ["loss", "logits", "hidden_states"]

    def labelled(given: dict, patches: int) -> dict:
        marks = hidden("beit.codes", patches)
        labels = torch.from_numpy(weights.whole_numbers("beit.labels", (int(marks["bool_masked_pos"].sum()),), 11))
        return given | marks | {"labels": labels}

    settings = dict(vocab_size=11, use_mask_token=True)
    given = labelled(picture("beit.square", 8, 8), 16)
    case(folder, "masked_image", kind, given, outputs, use_shared_relative_position_bias=True, **settings)
    given = labelled(picture("beit.odd", 7, 10), 15)
    case(folder, "masked_image_normed", kind, given, outputs, use_mean_pooling=False, layer_norm_eps=1e-3, **settings, **BOTH)


def classification(folder: Path) -> None:
    given = picture("beit.square", 8, 8) | {"labels": torch.tensor([4, 1])}
    kind, outputs = BeitForImageClassification, ["loss", "logits", "hidden_states"]
    case(folder, "classification", kind, given, outputs, num_labels=5, use_relative_position_bias=True)
    settings = dict(use_mean_pooling=False, use_absolute_position_embeddings=True, num_labels=3)
    given = picture("beit.larger", 14, 6) | {"labels": torch.tensor([0, 2])}
    case(folder, "classification_class_token", kind, given, ["loss", "logits"], **settings)


CASES = [model, one, other_sizes, masked_image, classification]
