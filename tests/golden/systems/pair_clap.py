"""CLAP: both towers with their loss, more sounds than texts, and each tower alone with and without its projection; sounds shorter than the
picture and exactly as long, windows that divide the grid, that leave it over and that are all of it, patches that overlap, and fusion with
some rows longer."""

from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    ClapAudioConfig,
    ClapAudioModel,
    ClapAudioModelWithProjection,
    ClapConfig,
    ClapModel,
    ClapTextConfig,
    ClapTextModel,
    ClapTextModelWithProjection,
)
from transformers.models.clap import modeling_clap

import weights

from .case import write
from .text_bert import SIDES
from .text_roberta import OWN, padded, words

TEXT = OWN | dict(projection_dim=10)
TEXT.pop("attn_implementation", None)  # there is only one
# Three strips of eight bands, 24 frames each, make a picture of 24 x 24; twelve patches a side, windows of five leave two over.
AUDIO = dict(
    num_mel_bins=8,
    spec_size=24,
    window_size=5,
    patch_size=2,
    patch_stride=[2, 2],
    depths=[2, 2],
    num_attention_heads=[2, 3],
    patch_embeds_hidden_size=12,
    hidden_size=24,
    projection_dim=10,
    mlp_ratio=1.5,
)
FUSION = dict(enable_fusion=True, aff_block_r=3)
PAIR = ["loss", "logits_per_audio", "logits_per_text", "text_embeds", "audio_embeds"]
ALONE = ["last_hidden_state", "hidden_states"]


def exact_attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """transformers' own without its softmax in f32, which would be the oracle's too."""
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    shares = torch.softmax(scores if attention_mask is None else scores + attention_mask, dim=-1)
    return torch.matmul(shares, value).transpose(1, 2).contiguous(), shares


@contextmanager
def exact():
    own = modeling_clap.eager_attention_forward
    modeling_clap.eager_attention_forward = exact_attention
    try:
        yield
    finally:
        modeling_clap.eager_attention_forward = own


def case(folder: Path, name: str, make, given: dict, outputs: list[str], call=None) -> None:
    with exact():
        write(folder, f"pair_clap{name}", make, given, outputs, *([call] if call else []))


def sounds(name: str, count: int, frames: int = 50, bands: int = 8, pictures: int = 1) -> dict[str, torch.Tensor]:
    return {"input_features": weights.tensor(name, (count, pictures, frames, bands), 2.0)}


def longer(*rows: int) -> dict[str, torch.Tensor]:
    return {"is_longer": torch.tensor(rows).unsqueeze(1)}


def both(text: dict, audio: dict, **settings) -> ClapModel:
    return ClapModel(ClapConfig(text_config=TEXT | text, audio_config=AUDIO | audio, **(dict(projection_dim=9) | settings)))


def pair(folder: Path) -> None:
    given = words("clap.ids", SIDES) | sounds("clap.sounds", 3)
    call = lambda model, inputs: model(**inputs, return_loss=True)  # noqa: E731
    case(folder, "", lambda: both({}, {}), given, PAIR, call)
    given = padded("clap.other", [[1] * 5, [1, 1, 1, 0, 0]]) | sounds("clap.more", 3)
    make = lambda: both({"hidden_act": "relu"}, {"hidden_act": "relu"}, projection_hidden_act="gelu")  # noqa: E731
    case(folder, "_more", make, given, PAIR[1:], lambda model, inputs: model(**inputs))


def text(folder: Path) -> None:
    config = lambda: ClapTextConfig(**TEXT)  # noqa: E731
    given = words("clap.ids", SIDES)
    case(folder, "_text", lambda: ClapTextModel(config()), given, [*ALONE, "pooler_output"])
    case(folder, "_text_projected", lambda: ClapTextModelWithProjection(config()), given, [*ALONE, "text_embeds"])
    for name, seq in [("one", 1), ("full", 10)]:
        make = lambda: ClapTextModelWithProjection(config())  # noqa: E731
        case(folder, f"_text_{name}", make, words(f"clap.{name}", [[1] * seq]), ["text_embeds"])


def audio(folder: Path) -> None:
    def alone(name: str, settings: dict, given: dict, kind=ClapAudioModelWithProjection) -> None:
        outputs = [*ALONE, "audio_embeds" if kind is ClapAudioModelWithProjection else "pooler_output"]
        case(folder, f"_audio{name}", lambda: kind(ClapAudioConfig(**(AUDIO | settings))), given, outputs)

    alone("", {}, sounds("clap.sounds", 2), ClapAudioModel)
    alone("_projected", dict(layer_norm_eps=1e-3, qkv_bias=False), sounds("clap.whole", 2, 72))
    alone("_one", {}, sounds("clap.one", 1, 1))
    # Windows that fit, patches that overlap and have no norm, a stage that is one window and so is not shifted.
    settings = dict(window_size=6, patch_size=4, enable_patch_layer_norm=False, depths=[2, 3])
    alone("_overlapping", settings, sounds("clap.whole", 2, 72))
    # Three stages; seven bands, which are stretched to eight.
    settings = dict(num_mel_bins=7, window_size=2, depths=[1, 2, 2], num_attention_heads=[2, 2, 4], hidden_size=48)
    alone("_stretched", settings, sounds("clap.seven", 2, 72, 7))
    alone("_fusion", FUSION, sounds("clap.four", 3, 50, 8, 4) | longer(1, 0, 1))
    # Wider patches: two a row of each part, and two columns over.
    settings = FUSION | dict(patch_size=5, patch_stride=[3, 3], window_size=3)
    alone("_fusion_overlapping", settings, sounds("clap.four", 2, 72, 8, 4) | longer(0, 1))
    alone("_fusion_short", FUSION, sounds("clap.four", 2, 50, 8, 4) | longer(0, 0))


CASES = [pair, text, audio]
