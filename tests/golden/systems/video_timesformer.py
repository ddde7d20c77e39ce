"""TimeSformer with and without its classifier: every kind of attention, and clips longer, larger and of other sides than the positions."""

from pathlib import Path

import torch
from transformers import TimesformerConfig, TimesformerForVideoClassification, TimesformerModel

import weights

from .case import write

SIZES = dict(
    image_size=6,
    patch_size=2,
    num_channels=3,
    num_frames=3,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=32,
)
STATES = ["last_hidden_state", "hidden_states"]


def clip(name: str, frames: int = 3, sides: tuple[int, int] = (6, 6)) -> dict[str, torch.Tensor]:
    return {"pixel_values": weights.tensor(name, (2, frames, 3, *sides), 2.0)}


def case(folder: Path, name: str, kind, given: dict, outputs: list[str], **settings) -> None:
    write(folder, f"video_timesformer_{name}", lambda: kind(TimesformerConfig(**(SIZES | settings))), given, outputs)


def model(folder: Path) -> None:
    case(folder, "model", TimesformerModel, clip("timesformer.clip"), STATES, layer_norm_eps=1e-3)
    given, settings = clip("timesformer.other", 5, (4, 6)), dict(attention_type="joint_space_time")
    case(folder, "joint", TimesformerModel, given, STATES, **settings, qkv_bias=False, hidden_act="relu")
    case(folder, "space", TimesformerModel, clip("timesformer.other", 2, (4, 10)), STATES, attention_type="space_only")


def interpolated(folder: Path) -> None:
    """Twice as many frames, which are grouped as if they were as many as configured; and sides of their own."""
    case(folder, "longer", TimesformerModel, clip("timesformer.longer", 6, (6, 6)), STATES)
    case(folder, "larger", TimesformerModel, clip("timesformer.larger", 3, (6, 10)), STATES)


def one(folder: Path) -> None:
    """One frame of one patch."""
    case(folder, "one", TimesformerModel, clip("timesformer.one", 1, (2, 2)), STATES, image_size=2, num_frames=1)


def classification(folder: Path) -> None:
    given = clip("timesformer.clip") | {"labels": torch.tensor([3, 0])}
    case(folder, "classification", TimesformerForVideoClassification, given, ["loss", "logits"], num_labels=4)


CASES = [model, interpolated, one, classification]
