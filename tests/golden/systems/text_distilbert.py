"""DistilBERT with each of its heads."""

from pathlib import Path

import torch
from transformers import (
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertForSequenceClassification,
    DistilBertForTokenClassification,
    DistilBertModel,
)

import weights

from .case import write
from .text_bert import SIDES, ids, labels

SIZES = dict(
    vocab_size=40,
    dim=24,
    n_layers=2,
    n_heads=3,
    hidden_dim=40,
    max_position_embeddings=12,
    dropout=0.0,
    attention_dropout=0.0,
    seq_classif_dropout=0.0,
    attn_implementation="sdpa",
)


def model(folder: Path) -> None:
    make = lambda: DistilBertModel(DistilBertConfig(**SIZES))  # noqa: E731
    write(folder, "text_distilbert", make, ids("distilbert.ids", SIDES), ["last_hidden_state", "hidden_states"])
    for name, seq in [("one", 1), ("full", 12)]:
        write(folder, f"text_distilbert_{name}", make, ids(f"distilbert.{name}", [[1] * seq]), ["last_hidden_state"])


def heads(folder: Path) -> None:
    given = ids("distilbert.ids", SIDES)
    ignored = torch.from_numpy(weights.whole_numbers("distilbert.ignored", (3, 7), 2)).bool()
    masked = given | {"labels": labels("distilbert.labels", (3, 7), 40, ignored)}
    make = lambda kind, classes: kind(DistilBertConfig(**SIZES, num_labels=classes))  # noqa: E731
    write(folder, "text_distilbert_masked_language", lambda: make(DistilBertForMaskedLM, 2), masked, ["loss", "logits"])
    sequence = given | {"labels": labels("distilbert.classes", (3,), 5)}
    write(folder, "text_distilbert_sequence", lambda: make(DistilBertForSequenceClassification, 5), sequence, ["loss", "logits"])
    token = given | {"labels": labels("distilbert.tags", (3, 7), 4, given["attention_mask"] == 0)}
    write(folder, "text_distilbert_token", lambda: make(DistilBertForTokenClassification, 4), token, ["loss", "logits"])


CASES = [model, heads]
