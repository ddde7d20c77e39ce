"""DINOv2 with and without registers and with its head: patches hidden, perceptrons with a gate, pictures of other sizes than there are positions for."""

import inspect
import sys
import textwrap
from pathlib import Path

import torch
from transformers import (
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    Dinov2WithRegistersModel,
)
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings
from transformers.models.dinov2_with_registers.modeling_dinov2_with_registers import Dinov2WithRegistersEmbeddings

import weights

from .image_vit import SIZES, STATES, case_of, picture

OWN = {name: value for name, value in SIZES.items() if name != "intermediate_size"} | {"mlp_ratio": 2}
OUTPUTS = [*STATES, "pooler_output"]

case = case_of("dinov2", Dinov2Config, OWN)
registers_case = case_of("dinov2_registers", Dinov2WithRegistersConfig, OWN | {"num_register_tokens": 3})


def interpolating_exactly(kind) -> None:
    """Lets positions be interpolated in their own precision: transformers rounds them to f32, in the f64 oracle too."""
    source = textwrap.dedent(inspect.getsource(kind.interpolate_pos_encoding)).replace("torch.float32", "target_dtype")
    scope = dict(vars(sys.modules[kind.__module__]))
    exec(source, scope)
    kind.interpolate_pos_encoding = scope["interpolate_pos_encoding"]


interpolating_exactly(Dinov2Embeddings)
interpolating_exactly(Dinov2WithRegistersEmbeddings)


def hidden(name: str, patches: int) -> dict[str, torch.Tensor]:
    """About a third of the patches, others in each row."""
    return {"bool_masked_pos": torch.from_numpy(weights.whole_numbers(name, (2, patches), 3) == 0)}


def model(folder: Path) -> None:
    case(folder, "model", Dinov2Model, picture("dinov2.square", 8, 8), OUTPUTS, layer_norm_eps=1e-3)
    settings = dict(use_mask_token=False, qkv_bias=False, hidden_act="relu")
    case(folder, "bare", Dinov2Model, picture("dinov2.square", 8, 8), STATES, **settings)
    settings = dict(use_swiglu_ffn=True, mlp_ratio=3)
    case(folder, "gated", Dinov2Model, picture("dinov2.square", 8, 8), OUTPUTS, **settings)


def one(folder: Path) -> None:
    """One patch of one channel."""
    case(folder, "one", Dinov2Model, picture("dinov2.one", 2, 2, 1), ["last_hidden_state"], image_size=2, num_channels=1)


def other_sizes(folder: Path) -> None:
    """More rows and fewer columns than there are positions for, as many patches in another shape, and pixels left over with patches hidden."""
    case(folder, "resized", Dinov2Model, picture("dinov2.larger", 14, 6), OUTPUTS)
    case(folder, "reshaped", Dinov2Model, picture("dinov2.wide", 4, 17), STATES)
    case(folder, "hidden", Dinov2Model, picture("dinov2.odd", 7, 10) | hidden("dinov2.hidden", 15), OUTPUTS)


def classification(folder: Path) -> None:
    given = picture("dinov2.square", 8, 8) | {"labels": torch.tensor([4, 1])}
    kind, outputs = Dinov2ForImageClassification, ["loss", "logits", "hidden_states"]
    case(folder, "classification", kind, given, outputs, num_labels=5)
    given = picture("dinov2.larger", 14, 6) | {"labels": torch.tensor([0, 2])}
    case(folder, "classification_resized", kind, given, ["loss", "logits"], num_labels=3)


def registers(folder: Path) -> None:
    """Positions grow on one side and shrink on the other, antialiased."""
    kind = Dinov2WithRegistersModel
    registers_case(folder, "model", kind, picture("dinov2.square", 8, 8) | hidden("dinov2.registers", 16), OUTPUTS)
    registers_case(folder, "resized", kind, picture("dinov2.flat", 4, 14), OUTPUTS, use_swiglu_ffn=True)
    given = picture("dinov2.high", 12, 6) | {"labels": torch.tensor([4, 1])}
    kind = Dinov2WithRegistersForImageClassification
    registers_case(folder, "classification", kind, given, ["loss", "logits", "hidden_states"], num_labels=5)


CASES = [model, one, other_sizes, classification, registers]
