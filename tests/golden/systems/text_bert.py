"""BERT with each of its heads: padding on either side, segments, labels that do not count, a sequence of one and one of full length."""

from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

import weights

from .case import write

SIZES = dict(
    vocab_size=40,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    max_position_embeddings=12,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    # The eager one computes its softmax in f32 whatever the model's precision, which is no oracle.
    attn_implementation="sdpa",
)


def ids(name: str, kept: list[list[int]], vocabulary: int = 40) -> dict[str, torch.Tensor]:
    """Ids with their mask. Never 0, not even where hidden: torch computes no gradient for the word that pads."""
    mask = torch.tensor(kept)
    drawn = torch.from_numpy(weights.whole_numbers(name, tuple(mask.shape), vocabulary - 1)) + 1
    return {"input_ids": drawn, "attention_mask": mask}


def labels(name: str, shape: tuple[int, ...], classes: int, ignored: torch.Tensor | None = None) -> torch.Tensor:
    drawn = torch.from_numpy(weights.whole_numbers(name, shape, classes))
    return drawn if ignored is None else drawn.masked_fill(ignored, -100)


SIDES = [[1] * 7, [1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1]]


def model(folder: Path) -> None:
    segments = torch.from_numpy(weights.whole_numbers("bert.segments", (3, 7), 2))
    given = ids("bert.ids", SIDES) | {"token_type_ids": segments}
    write(folder, "text_bert", lambda: BertModel(BertConfig(**SIZES)), given, ["last_hidden_state", "pooler_output", "hidden_states"])


def lengths(folder: Path) -> None:
    for name, seq in [("one", 1), ("full", 12)]:
        given = ids(f"bert.{name}", [[1] * seq])
        write(folder, f"text_bert_{name}", lambda: BertModel(BertConfig(**SIZES)), given, ["last_hidden_state", "pooler_output"])


def masked_language(folder: Path) -> None:
    given = ids("bert.ids", SIDES)
    ignored = torch.from_numpy(weights.whole_numbers("bert.ignored", (3, 7), 2)).bool()
    given |= {"labels": labels("bert.labels", (3, 7), 40, ignored)}
    write(folder, "text_bert_masked_language", lambda: BertForMaskedLM(BertConfig(**SIZES)), given, ["loss", "logits"])


def sequence(folder: Path) -> None:
    given = ids("bert.ids", SIDES) | {"labels": labels("bert.classes", (3,), 5)}
    make = lambda: BertForSequenceClassification(BertConfig(**SIZES, num_labels=5))  # noqa: E731
    write(folder, "text_bert_sequence", make, given, ["loss", "logits"])


def token(folder: Path) -> None:
    given = ids("bert.ids", SIDES)
    given |= {"labels": labels("bert.tags", (3, 7), 4, given["attention_mask"] == 0)}
    make = lambda: BertForTokenClassification(BertConfig(**SIZES, num_labels=4))  # noqa: E731
    write(folder, "text_bert_token", make, given, ["loss", "logits"])


CASES = [model, lengths, masked_language, sequence, token]
