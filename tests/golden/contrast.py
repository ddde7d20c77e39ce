"""Contrastive losses: written-out loops in f64 are the oracle, held to the well-known implementations where those are right."""

import math
from pathlib import Path

import torch
import torch.nn.functional as functional
from lightly.loss import NTXentLoss
from pytorch_metric_learning.losses import SupConLoss
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

import weights
from fixture import Fixture, same

PAIRS, DIM = 7, 5


def both(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Two batches of pairs that resemble each other, of any length."""
    first = weights.tensor(f"{name}.first", (PAIRS, DIM), 2.0)
    return first, first * 0.5 + weights.tensor(f"{name}.second", (PAIRS, DIM))


def dot(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Cosine of two vectors."""
    return (one * other).sum() / (one.square().sum().sqrt() * other.square().sum().sqrt())


def picks(scores: list[torch.Tensor], right: int) -> torch.Tensor:
    """Cross-entropy of one row of scores."""
    return -torch.log(torch.exp(scores[right]) / sum(torch.exp(score) for score in scores))


def clip_by_hand(image, text, log_scale):
    scale = torch.exp(log_scale)
    to_text = [picks([scale * dot(x, y) for y in text], i) for i, x in enumerate(image)]
    to_image = [picks([scale * dot(x, y) for y in image], i) for i, x in enumerate(text)]
    forth, back = sum(to_text) / len(to_text), sum(to_image) / len(to_image)
    return {"loss": (forth + back) / 2, "image_to_text": forth, "text_to_image": back}


def clip_by_matrix(image, text, log_scale):
    scores = functional.normalize(image) @ functional.normalize(text).T * log_scale.exp()
    right = torch.arange(len(image))
    forth, back = functional.cross_entropy(scores, right), functional.cross_entropy(scores.T, right)
    same(image_text_contrastive_loss(scores.T).reshape(1).double(), ((forth + back) / 2).reshape(1).double(), "transformers' loss", 1e-6)
    return {"loss": (forth + back) / 2, "image_to_text": forth, "text_to_image": back}


def sig_lip_by_hand(image, text, log_scale, bias):
    positive = negative = 0
    for i, x in enumerate(image):
        for j, y in enumerate(text):
            sign = 1 if i == j else -1
            cost = -torch.log(1 / (1 + torch.exp(-sign * (torch.exp(log_scale) * dot(x, y) + bias)))) / len(image)
            positive, negative = (positive + cost, negative) if i == j else (positive, negative + cost)
    return {"loss": positive + negative, "positive": positive, "negative": negative}


def sig_lip_by_matrix(image, text, log_scale, bias):
    """As transformers' SiglipModel writes it."""
    scores = functional.normalize(text) @ functional.normalize(image).T * log_scale.exp() + bias
    eye = torch.eye(len(image), dtype=scores.dtype)
    costs = -functional.logsigmoid((2 * eye - 1) * scores) / len(image)
    positive, negative = (costs * eye).sum(), (costs * (1 - eye)).sum()
    return {"loss": positive + negative, "positive": positive, "negative": negative}


TEMPERATURE = 0.3


def nt_xent_by_hand(first, second):
    views, count = torch.cat([first, second]), len(first)
    losses = []
    for i, view in enumerate(views):
        others = [k for k in range(2 * count) if k != i]
        scores = [dot(view, views[k]) / TEMPERATURE for k in others]
        losses.append(picks(scores, others.index((i + count) % (2 * count))))
    return {"loss": sum(losses) / len(losses)}


def nt_xent_by_lightly(first, second):
    return {"loss": NTXentLoss(temperature=TEMPERATURE)(first, second)}


CLASSES = [0, 1, 0, 2, 1, 0, 3]  # two of them alone in their class


def supervised_by_hand(samples):
    losses = []
    for i, x in enumerate(samples):
        others = [k for k in range(len(samples)) if k != i]
        positives = [k for k in others if CLASSES[k] == CLASSES[i]]
        if positives:
            scores = [dot(x, samples[k]) / TEMPERATURE for k in others]
            losses.append(sum(picks(scores, others.index(k)) for k in positives) / len(positives))
    return {"loss": sum(losses) / len(losses)}


def supervised_by_library(samples):
    return {"loss": SupConLoss(temperature=TEMPERATURE)(samples, torch.tensor(CLASSES))}


def write(folder: Path, case: str, config: dict, given: dict[str, torch.Tensor], exactly, nearly) -> None:
    """`exactly` in f64 is the oracle, `nearly` in f32 says how far torch's usual form is from it."""
    fixture = Fixture(case, config)
    results = []
    for function, kind in [(exactly, torch.float64), (nearly, torch.float32), (nearly, torch.float64)]:
        inputs = {name: value.to(kind).clone().requires_grad_() for name, value in given.items()}
        parts = function(*inputs.values())
        parts["loss"].sum().backward()
        results.append((parts, {name: value.grad for name, value in inputs.items()}))
    (parts, own), (parts_32, own_32), (parts_64, own_64) = results
    for name, value in given.items():
        fixture.give(name, value)
        same(own[name], own_64[name], f"{case}: gradient of {name}", 1e-9)
    for name, value in parts.items():
        same(value.reshape(1), parts_64[name].reshape(1), f"{case}: {name}", 1e-9)
        fixture.expect(name, value.reshape(1), parts_32[name].reshape(1))
    fixture.expect_gradients(own, own_32)
    fixture.write(folder)


def scalar(value: float) -> torch.Tensor:
    return torch.tensor([value])


def clip(folder: Path) -> None:
    image, text = both("clip")
    given = {"image": image, "text": text, "log_scale": scalar(math.log(1 / 0.07))}
    write(folder, "clip_loss", {}, given, clip_by_hand, clip_by_matrix)


def sig_lip(folder: Path) -> None:
    image, text = both("sig_lip")
    given = {"image": image, "text": text, "log_scale": scalar(math.log(10)), "bias": scalar(-3.0)}
    write(folder, "sig_lip_loss", {}, given, sig_lip_by_hand, sig_lip_by_matrix)


def nt_xent(folder: Path) -> None:
    first, second = both("nt_xent")
    config = {"temperature": TEMPERATURE}
    write(folder, "nt_xent_loss", config, {"first": first, "second": second}, nt_xent_by_hand, nt_xent_by_lightly)


def supervised_contrast(folder: Path) -> None:
    samples, _ = both("supervised")
    config = {"temperature": TEMPERATURE, "classes": CLASSES}
    write(folder, "supervised_contrast_loss", config, {"samples": samples}, supervised_by_hand, supervised_by_library)


CASES = [clip, sig_lip, nt_xent, supervised_contrast]
