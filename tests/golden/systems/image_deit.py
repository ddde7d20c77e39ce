"""DeiT with and without its pooler and each of its heads: two tokens stand before the patches, and keep their positions where pictures are of other sizes."""

from pathlib import Path

import torch
from transformers import DeiTConfig, DeiTForImageClassification, DeiTForImageClassificationWithTeacher, DeiTModel

from .case import write
from .image_vit import SIZES, STATES, case_of, interpolated, picture

TEACHER = ["logits", "cls_logits", "distillation_logits"]
case = case_of("deit", DeiTConfig)


def model(folder: Path) -> None:
    outputs = [*STATES, "pooler_output"]
    settings = dict(image_size=[7, 10], layer_norm_eps=1e-3, pooler_output_size=20, pooler_act="silu")
    case(folder, "model", DeiTModel, picture("deit.picture", 7, 10), outputs, **settings)
    bare = lambda: DeiTModel(DeiTConfig(**(SIZES | {"qkv_bias": False, "hidden_act": "relu"})), add_pooling_layer=False)  # noqa: E731
    write(folder, "image_deit_bare", bare, picture("deit.square", 8, 8), STATES)


def one(folder: Path) -> None:
    """One patch of one channel."""
    outputs = ["last_hidden_state", "pooler_output"]
    case(folder, "one", DeiTModel, picture("deit.one", 2, 2, 1), outputs, image_size=2, num_channels=1)


def other_sizes(folder: Path) -> None:
    """More rows and fewer columns than there are positions for, and as many patches in another shape."""
    case(folder, "resized", DeiTModel, picture("deit.larger", 14, 6), [*STATES, "pooler_output"], interpolated)
    case(folder, "reshaped", DeiTModel, picture("deit.wide", 4, 17), STATES, interpolated)


def classification(folder: Path) -> None:
    given = picture("deit.square", 8, 8) | {"labels": torch.tensor([4, 1])}
    case(folder, "classification", DeiTForImageClassification, given, ["loss", "logits", "hidden_states"], num_labels=5)


def teacher(folder: Path) -> None:
    kind = DeiTForImageClassificationWithTeacher
    case(folder, "teacher", kind, picture("deit.square", 8, 8), [*TEACHER, "hidden_states"], num_labels=5)
    case(folder, "teacher_resized", kind, picture("deit.larger", 10, 14), TEACHER, interpolated, num_labels=3)


CASES = [model, one, other_sizes, classification, teacher]
