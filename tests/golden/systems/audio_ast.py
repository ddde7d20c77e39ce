"""The Audio Spectrogram Transformer: patches that overlap differently in both directions and leave bands and frames over, and each
of the losses of its classifier."""

from pathlib import Path

import torch
from transformers import ASTConfig, ASTForAudioClassification, ASTModel

import weights

from .case import write

SIZES = dict(
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=36,
    patch_size=4,
    frequency_stride=3,
    time_stride=2,
    max_length=13,
    num_mel_bins=12,
    attn_implementation="sdpa",
)


def sound(name: str, frames: int = 13, bands: int = 12) -> dict[str, torch.Tensor]:
    return {"input_values": weights.tensor(name, (2, frames, bands), 2.0)}


def case(folder: Path, name: str, kind, given: dict, outputs: list[str], **settings) -> None:
    write(folder, f"audio_ast_{name}", lambda: kind(ASTConfig(**(SIZES | settings))), given, outputs)


def model(folder: Path) -> None:
    outputs = ["last_hidden_state", "pooler_output", "hidden_states"]
    case(folder, "model", ASTModel, sound("ast.sound"), outputs, layer_norm_eps=1e-3)
    settings = dict(qkv_bias=False, hidden_act="relu", frequency_stride=5, time_stride=4)
    case(folder, "without_biases", ASTModel, sound("ast.sound"), outputs, **settings)


def one(folder: Path) -> None:
    """One patch."""
    settings = dict(max_length=4, num_mel_bins=4)
    case(folder, "one", ASTModel, sound("ast.one", 4, 4), ["last_hidden_state", "pooler_output"], **settings)


def classification(folder: Path) -> None:
    given, outputs = sound("ast.sound"), ["loss", "logits", "hidden_states"]
    labels = {"labels": torch.tensor([4, 1])}
    case(folder, "classification", ASTForAudioClassification, given | labels, outputs, num_labels=5, layer_norm_eps=1e-3)
    labels = {"labels": torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])}
    case(folder, "classification_of_several", ASTForAudioClassification, given | labels, outputs, num_labels=3)
    labels = {"labels": torch.tensor([0.5, -1.5])}
    case(folder, "classification_number", ASTForAudioClassification, given | labels, outputs, num_labels=1)


CASES = [model, one, classification]
