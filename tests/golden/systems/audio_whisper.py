"""Whisper's encoder, alone and in the whole model, and its classifier: bands, frames and widths that share no divisor by chance."""

from pathlib import Path

import torch
from transformers import WhisperConfig, WhisperForAudioClassification, WhisperForConditionalGeneration, WhisperModel

import weights

from .case import write

SIZES = dict(
    num_mel_bins=7,
    d_model=24,
    encoder_layers=2,
    encoder_attention_heads=3,
    encoder_ffn_dim=36,
    decoder_layers=1,
    decoder_attention_heads=2,
    decoder_ffn_dim=20,
    vocab_size=30,
    max_source_positions=9,
    max_target_positions=5,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=1,
    suppress_tokens=None,
    begin_suppress_tokens=None,
    attn_implementation="sdpa",
)


def sound(name: str, bands: int = 7, frames: int = 18) -> dict[str, torch.Tensor]:
    return {"input_features": weights.tensor(name, (2, bands, frames), 2.0)}


def case(folder: Path, name: str, kind, given: dict, outputs: list[str], call=None, **settings) -> None:
    call = {} if call is None else {"call": call}
    write(folder, f"audio_whisper_{name}", lambda: kind(WhisperConfig(**(SIZES | settings))), given, outputs, **call)


def encoder_of(model, given: dict):
    """The encoder alone: the words that the rest would want are none of ours."""
    whole = getattr(model, "model", model)
    return whole.encoder(**given, output_hidden_states=True)


def model(folder: Path) -> None:
    outputs = ["last_hidden_state", "hidden_states"]
    case(folder, "model", WhisperModel, sound("whisper.sound"), outputs, encoder_of)
    settings = dict(activation_function="relu", num_mel_bins=5, max_source_positions=6)
    given = sound("whisper.other", 5, 12)
    case(folder, "generation", WhisperForConditionalGeneration, given, outputs, encoder_of, **settings)


def one(folder: Path) -> None:
    """One vector, made of two frames."""
    given = sound("whisper.one", frames=2)
    case(folder, "one", WhisperModel, given, ["last_hidden_state"], encoder_of, max_source_positions=1, encoder_layers=1)


def classification(folder: Path) -> None:
    given = sound("whisper.sound") | {"labels": torch.tensor([4, 1])}
    outputs = ["loss", "logits", "hidden_states"]
    settings = dict(num_labels=5, classifier_proj_size=11)
    case(folder, "classification", WhisperForAudioClassification, given, outputs, **settings)
    settings |= dict(use_weighted_layer_sum=True)
    case(folder, "classification_all_layers", WhisperForAudioClassification, given, outputs, **settings)


CASES = [model, one, classification]
