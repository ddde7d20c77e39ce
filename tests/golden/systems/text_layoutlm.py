"""LayoutLM with each of its heads: words with the boxes in which they stand."""

from pathlib import Path

import torch
from transformers import (
    LayoutLMConfig,
    LayoutLMForMaskedLM,
    LayoutLMForSequenceClassification,
    LayoutLMForTokenClassification,
    LayoutLMModel,
)

import weights

from .case import write
from .text_bert import SIDES, SIZES, ids, labels

PLACES = 20


def page(name: str, kept: list[list[int]]) -> dict[str, torch.Tensor]:
    """Words, each in a box; some boxes are a point, and one fills the page."""
    words = ids(f"{name}.ids", kept)
    shape = (*words["input_ids"].shape, 2)
    one = torch.from_numpy(weights.whole_numbers(f"{name}.corners", shape, PLACES))
    other = torch.from_numpy(weights.whole_numbers(f"{name}.opposite", shape, PLACES))
    boxes = torch.cat([torch.minimum(one, other), torch.maximum(one, other)], dim=-1)
    boxes[0, 0] = torch.tensor([0, 0, PLACES - 1, PLACES - 1])
    boxes[-1, -1] = torch.tensor([3, 5, 3, 5])
    return words | {"bbox": boxes}


def cases(folder: Path) -> None:
    config = lambda **more: LayoutLMConfig(**SIZES, max_2d_position_embeddings=PLACES, **more)  # noqa: E731
    segments = torch.from_numpy(weights.whole_numbers("layoutlm.segments", (3, 7), 2))
    given = page("layoutlm", SIDES)
    outputs = ["last_hidden_state", "pooler_output", "hidden_states"]
    write(folder, "text_layoutlm", lambda: LayoutLMModel(config()), given | {"token_type_ids": segments}, outputs)
    write(folder, "text_layoutlm_one", lambda: LayoutLMModel(config()), page("layoutlm.one", [[1]]), ["last_hidden_state"])
    ignored = torch.from_numpy(weights.whole_numbers("layoutlm.ignored", (3, 7), 2)).bool()
    masked = given | {"labels": labels("layoutlm.labels", (3, 7), 40, ignored)}
    write(folder, "text_layoutlm_masked_language", lambda: LayoutLMForMaskedLM(config()), masked, ["loss", "logits"])
    sequence = given | {"labels": labels("layoutlm.classes", (3,), 5)}
    make = lambda: LayoutLMForSequenceClassification(config(num_labels=5))  # noqa: E731
    write(folder, "text_layoutlm_sequence", make, sequence, ["loss", "logits"])
    token = given | {"labels": labels("layoutlm.tags", (3, 7), 4, given["attention_mask"] == 0)}
    write(folder, "text_layoutlm_token", lambda: LayoutLMForTokenClassification(config(num_labels=4)), token, ["loss", "logits"])


CASES = [cases]
