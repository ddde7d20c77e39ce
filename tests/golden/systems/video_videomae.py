"""VideoMAE with each of its heads: frames that are not square, tubelets hidden, pixels drawn by their own spread and as they are."""

from pathlib import Path

import torch
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

import weights

from .case import write

SIZES = dict(
    image_size=[6, 8],
    patch_size=2,
    num_channels=3,
    num_frames=4,
    tubelet_size=2,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=32,
    decoder_num_attention_heads=2,
    decoder_hidden_size=20,
    decoder_num_hidden_layers=1,
    decoder_intermediate_size=28,
    attn_implementation="sdpa",
)


def clip(name: str, channels: int = 3, frames: int = 4, sides: tuple[int, int] = (6, 8)) -> dict[str, torch.Tensor]:
    return {"pixel_values": weights.tensor(name, (2, frames, channels, *sides), 2.0)}


def hidden(count: int, tubelets: int = 24) -> torch.Tensor:
    """As many in each row, others in the second than in the first."""
    order = torch.from_numpy(weights.bits("videomae.hidden", 2 * tubelets).astype("int64")).reshape(2, tubelets)
    return order.argsort(1).argsort(1) < count


def case(folder: Path, name: str, kind, given: dict, outputs: list[str], **settings) -> None:
    write(folder, f"video_videomae_{name}", lambda: kind(VideoMAEConfig(**(SIZES | settings))), given, outputs)


def model(folder: Path) -> None:
    case(folder, "model", VideoMAEModel, clip("videomae.clip"), ["last_hidden_state", "hidden_states"], layer_norm_eps=1e-3)
    settings = dict(use_mean_pooling=False, qv_bias=False, hidden_act="relu")
    given = clip("videomae.clip") | {"bool_masked_pos": hidden(15)}
    case(folder, "hidden", VideoMAEModel, given, ["last_hidden_state", "hidden_states"], **settings)


def one(folder: Path) -> None:
    """One tubelet."""
    settings = dict(image_size=[2, 2], num_frames=1, tubelet_size=1, num_channels=1)
    case(folder, "one", VideoMAEModel, clip("videomae.one", 1, 1, (2, 2)), ["last_hidden_state"], **settings)


def pretraining(folder: Path) -> None:
    given = clip("videomae.clip") | {"bool_masked_pos": hidden(15)}
    case(folder, "pretraining", VideoMAEForPreTraining, given, ["loss", "logits", "hidden_states"])
    case(folder, "pretraining_raw", VideoMAEForPreTraining, given, ["loss", "logits"], norm_pix_loss=False)
    given = clip("videomae.grey", 1) | {"bool_masked_pos": hidden(7)}
    case(folder, "pretraining_grey", VideoMAEForPreTraining, given, ["loss", "logits"], num_channels=1, use_mean_pooling=False)


def classification(folder: Path) -> None:
    given = clip("videomae.clip") | {"labels": torch.tensor([4, 1])}
    case(folder, "classification", VideoMAEForVideoClassification, given, ["loss", "logits"], num_labels=5)
    settings = dict(num_labels=3, use_mean_pooling=False)
    given = clip("videomae.clip") | {"labels": torch.tensor([0, 2])}
    case(folder, "classification_first", VideoMAEForVideoClassification, given, ["loss", "logits"], **settings)


CASES = [model, one, pretraining, classification]
