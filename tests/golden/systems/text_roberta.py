"""RoBERTa and XLM-RoBERTa with each head: positions that begin behind the padding's, and padding that takes none."""

from pathlib import Path

import torch
from transformers import (
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaForTokenClassification,
)

from .case import write
from .text_bert import SIDES, SIZES, ids, labels

PADDING = 1
OWN = SIZES | dict(type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=PADDING, bos_token_id=2, eos_token_id=3)


def words(name: str, kept: list[list[int]]) -> dict[str, torch.Tensor]:
    """No id is the padding's, not even where hidden: torch computes no gradient for it."""
    given = ids(name, kept)
    return given | {"input_ids": given["input_ids"].clamp(min=PADDING + 1)}


def padded(name: str, kept: list[list[int]]) -> dict[str, torch.Tensor]:
    """Padded as a tokenizer does it; for results that do not read what is hidden."""
    given = words(name, kept)
    return given | {"input_ids": given["input_ids"].masked_fill(given["attention_mask"] == 0, PADDING)}


def model(folder: Path) -> None:
    outputs = ["last_hidden_state", "pooler_output", "hidden_states"]
    write(folder, "text_roberta", lambda: RobertaModel(RobertaConfig(**OWN)), words("roberta.ids", SIDES), outputs)
    # Twelve positions, of which two are below the first word's.
    given = words("roberta.full", [[1] * 10])
    write(folder, "text_roberta_full", lambda: RobertaModel(RobertaConfig(**OWN)), given, ["last_hidden_state"])
    given = words("roberta.one", [[1]])
    write(folder, "text_roberta_one", lambda: RobertaModel(RobertaConfig(**OWN)), given, ["last_hidden_state"])


def heads(folder: Path) -> None:
    given = words("roberta.ids", SIDES)
    given |= {"labels": labels("roberta.labels", (3, 7), 40, given["attention_mask"] == 0)}
    # The head's activation is GELU whatever the blocks have.
    make = lambda: RobertaForMaskedLM(RobertaConfig(**OWN, hidden_act="relu"))  # noqa: E731
    write(folder, "text_roberta_masked_language", make, given, ["loss", "logits"])
    given = padded("roberta.padded", [[1] * 7, [1, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]])
    given |= {"labels": labels("roberta.classes", (3,), 5)}
    make = lambda: RobertaForSequenceClassification(RobertaConfig(**OWN, num_labels=5))  # noqa: E731
    write(folder, "text_roberta_sequence", make, given, ["loss", "logits"])
    given = padded("xlm_roberta.padded", SIDES)
    given |= {"labels": labels("xlm_roberta.tags", (3, 7), 4, given["attention_mask"] == 0)}
    make = lambda: XLMRobertaForTokenClassification(XLMRobertaConfig(**OWN, num_labels=4))  # noqa: E731
    write(folder, "text_xlm_roberta_token", make, given, ["loss"])


CASES = [model, heads]
