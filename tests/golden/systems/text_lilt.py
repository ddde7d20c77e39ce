"""LiLT with each of its heads: words that attend by what they say and by where they stand together."""

from pathlib import Path

import torch
from transformers import LiltConfig, LiltForSequenceClassification, LiltForTokenClassification, LiltModel

import weights

from .case import write
from .text_bert import SIDES, SIZES, labels
from .text_layoutlm import PLACES, page
from .text_roberta import PADDING, padded, words

# Its attention is its own, in the model's precision, and takes the eager one's masks.
OWN = SIZES | dict(
    intermediate_size=42,
    max_2d_position_embeddings=PLACES,
    layer_norm_eps=1e-5,
    pad_token_id=PADDING,
    attn_implementation="eager",
)


def case(folder: Path, name: str, kind, given: dict, outputs: list[str], **settings) -> None:
    write(folder, f"text_lilt{name}", lambda: kind(LiltConfig(**(OWN | settings))), given, outputs)


def boxed(given: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return given | {"bbox": page(name, given["attention_mask"].tolist())["bbox"]}


def model(folder: Path) -> None:
    segments = torch.from_numpy(weights.whole_numbers("lilt.segments", (3, 7), 2))
    given = boxed(words("lilt.ids", SIDES), "lilt") | {"token_type_ids": segments}
    case(folder, "", LiltModel, given, ["last_hidden_state", "pooler_output", "hidden_states"])
    # Never the padding's, for which torch computes no gradient.
    places = torch.from_numpy(weights.whole_numbers("lilt.places", (3, 7), 10)) + PADDING + 1
    settings = dict(channel_shrink_ratio=2, hidden_act="relu")
    case(folder, "_places", LiltModel, given | {"position_ids": places}, ["last_hidden_state", "hidden_states"], **settings)


def lengths(folder: Path) -> None:
    # Twelve positions, of which two are below the first word's.
    for name, seq in [("one", 1), ("full", 10)]:
        given = boxed(words(f"lilt.{name}", [[1] * seq]), f"lilt.{name}")
        case(folder, f"_{name}", LiltModel, given, ["last_hidden_state"])


def heads(folder: Path) -> None:
    given = boxed(padded("lilt.padded", [[1] * 7, [1, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]]), "lilt.padded")
    given |= {"labels": labels("lilt.classes", (3,), 5)}
    case(folder, "_sequence", LiltForSequenceClassification, given, ["loss", "logits"], num_labels=5)
    given = boxed(padded("lilt.tags", SIDES), "lilt.tags")
    given |= {"labels": labels("lilt.tags", (3, 7), 4, given["attention_mask"] == 0)}
    case(folder, "_token", LiltForTokenClassification, given, ["loss"], num_labels=4)


CASES = [model, lengths, heads]
