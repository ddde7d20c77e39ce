"""Losses: contrastive ones over 256 pairs of width 128, the span loss over 8 documents of 4 fields and 130 words."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from blocks_layers import case, random

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))

from reference import span_losses, weighted_mean

PAIRS, DIM = 256, 128


def number(value: float) -> torch.Tensor:
    """A learned number; of a scale it is the logarithm."""
    return torch.tensor([value], requires_grad=True)


def similarities(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return F.normalize(first, dim=1) @ F.normalize(second, dim=1).T


def clip():
    image, text, scale = random(PAIRS, DIM), random(PAIRS, DIM), number(2.66)

    def run():
        logits, labels = similarities(image, text) * scale.exp(), torch.arange(PAIRS)
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

    return case(run, [image, text, scale])


def sig_lip():
    image, text, scale, bias = random(PAIRS, DIM), random(PAIRS, DIM), number(2.3), number(-10.0)

    def run():
        signs = 2 * torch.eye(PAIRS) - 1
        return -F.logsigmoid(signs * (similarities(image, text) * scale.exp() + bias)).sum() / PAIRS

    return case(run, [image, text, scale, bias])


def nt_xent():
    first, second = random(PAIRS, DIM), random(PAIRS, DIM)

    def run():
        views = torch.cat([first, second])
        logits = (similarities(views, views) / 0.5).fill_diagonal_(-torch.inf)
        return F.cross_entropy(logits, (torch.arange(2 * PAIRS) + PAIRS) % (2 * PAIRS))

    return case(run, [first, second])


def supervised_contrast():
    samples, classes = random(PAIRS, DIM), torch.arange(PAIRS) % 16

    def run():
        itself = torch.eye(PAIRS, dtype=torch.bool)
        positive = (classes[:, None] == classes) & ~itself
        logits = (similarities(samples, samples) / 0.1).masked_fill(itself, -torch.inf)
        logarithms = logits.log_softmax(1).masked_fill(~positive, 0.0)
        return -(logarithms.sum(1) / positive.sum(1)).mean()

    return case(run, [samples])


def span():
    batch, fields, words = 8, 4, 130
    scores = {name: random(batch, fields, words) for name in ("start", "inside", "end")} | {"none": random(batch, fields)}
    gold = torch.zeros(batch, fields, words, words, dtype=torch.bool)
    gold[:, :, 0, 5] = True
    weight = torch.ones(batch, fields)
    run = lambda: weighted_mean(span_losses(scores, [words] * batch, gold, 48), weight)
    return case(run, list(scores.values()))


CASES = {"clip": clip, "sig_lip": sig_lip, "nt_xent": nt_xent, "supervised_contrast": supervised_contrast, "span": span}
