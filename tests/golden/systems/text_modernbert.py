"""ModernBERT with each of its heads: windows narrower than the text, with and without biases, both ways to state the rotations."""

from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import (
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
    ModernBertModel,
)
from transformers.models.modernbert import modeling_modernbert

import weights

from .case import write
from .text_bert import SIDES, ids, labels

# Of five layers two see everything; the others see two places on either side.
SIZES = dict(
    vocab_size=40,
    hidden_size=24,
    num_hidden_layers=5,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=48,
    local_attention=5,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    cls_token_id=1,
    sep_token_id=2,
    attn_implementation="sdpa",
)
BIASES = dict(norm_bias=True, attention_bias=True, mlp_bias=True, classifier_bias=True)
OUTPUTS = ["last_hidden_state", "hidden_states"]

_single = modeling_modernbert.ModernBertRotaryEmbedding.forward
_rotate_single = modeling_modernbert.apply_rotary_pos_emb


def angles(self, x, position_ids, layer_type):
    """transformers computes angles in f32 whatever the model's precision, which is no oracle."""
    if x.dtype != torch.float64:
        return _single(self, x, position_ids, layer_type)
    dim = self.config.hidden_size // self.config.num_attention_heads
    base = self.config.rope_parameters[layer_type]["rope_theta"]
    frequencies = 1.0 / (base ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim))
    angle = position_ids[..., None].double() * frequencies
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def rotated(q, k, cos, sin, unsqueeze_dim=1):
    """The same of the rotation."""
    if q.dtype != torch.float64:
        return _rotate_single(q, k, cos, sin, unsqueeze_dim)
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return tuple(x * cos + modeling_modernbert.rotate_half(x) * sin for x in (q, k))


modeling_modernbert.ModernBertRotaryEmbedding.forward = angles
modeling_modernbert.apply_rotary_pos_emb = rotated


def called(model, inputs):
    """With a loss that does not compute in f32 either."""
    model.loss_function = lambda logits, labels, vocab_size, **_: cross_entropy(logits.view(-1, vocab_size), labels.view(-1))
    return model(**inputs, output_hidden_states=True)


def case(folder: Path, name: str, kind, given: dict, outputs: list[str], config=None, **settings) -> None:
    make = lambda: kind(ModernBertConfig(**SIZES, **settings))  # noqa: E731
    write(folder, f"text_modernbert{name}", make, given, outputs, called, config)


def model(folder: Path) -> None:
    case(folder, "", ModernBertModel, ids("modernbert.ids", SIDES), OUTPUTS)
    given = ids("modernbert.biased", SIDES)
    case(folder, "_biases", ModernBertModel, given, OUTPUTS, **BIASES, norm_eps=1e-3, hidden_activation="silu")


def lengths(folder: Path) -> None:
    case(folder, "_one", ModernBertModel, ids("modernbert.one", [[1]]), ["last_hidden_state"])
    # Windows of several blocks, the first row padded behind and the second in front.
    full = [[1] * 37 + [0] * 11, [0] * 19 + [1] * 29]
    case(folder, "_full", ModernBertModel, ids("modernbert.full", full), ["last_hidden_state"])


def published(folder: Path) -> None:
    """The settings as the published checkpoints have them, which newer versions write otherwise."""
    own = dict(global_attn_every_n_layers=2, global_rope_theta=500.0, local_rope_theta=20.0)
    config = ModernBertConfig(**SIZES, **own).to_dict() | own | {"architectures": ["ModernBertModel"]}
    config = {name: value for name, value in config.items() if name not in {"layer_types", "rope_parameters"}}
    case(folder, "_published", ModernBertModel, ids("modernbert.published", SIDES), OUTPUTS, config=config, **own)


def masked_language(folder: Path) -> None:
    ignored = torch.from_numpy(weights.whole_numbers("modernbert.ignored", (3, 7), 2)).bool()
    given = ids("modernbert.ids", SIDES) | {"labels": labels("modernbert.labels", (3, 7), 40, ignored)}
    case(folder, "_masked_language", ModernBertForMaskedLM, given, ["loss", "logits"])
    settings = dict(decoder_bias=False, classifier_activation="relu", norm_bias=True)
    case(folder, "_masked_language_unbiased", ModernBertForMaskedLM, given, ["loss", "logits"], **settings)


def classes(folder: Path) -> None:
    given = ids("modernbert.ids", SIDES)
    sequence = given | {"labels": labels("modernbert.classes", (3,), 5)}
    case(folder, "_sequence", ModernBertForSequenceClassification, sequence, ["loss", "logits"], num_labels=5, classifier_bias=True)
    settings = dict(num_labels=5, classifier_pooling="mean")
    case(folder, "_sequence_mean", ModernBertForSequenceClassification, sequence, ["loss", "logits"], **settings)
    token = given | {"labels": labels("modernbert.tags", (3, 7), 4, given["attention_mask"] == 0)}
    case(folder, "_token", ModernBertForTokenClassification, token, ["loss", "logits"], num_labels=4)


CASES = [model, lengths, published, masked_language, classes]
