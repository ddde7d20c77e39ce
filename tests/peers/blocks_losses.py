"""Losses: contrastive ones over 256 samples of width 128, of series 16 of 64 times; predicted words, patches, spans and codes.

The formulas are those at the head of each file in `crates/florin-losses/src`.
"""

import math
import sys
from itertools import permutations
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import blocks_distillation
from blocks_layers import case, random

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))

from reference import span_losses, weighted_mean

PAIRS, DIM = 256, 128
# Samples in the memory, and how many of them each row is told from.
MEMORY, DRAWN = 4096, 512
TEXTS, SEQ, VOCABULARY = 8, 64, 4096


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


def modality_contrast():
    modalities, scale = [random(PAIRS, DIM) for _ in range(3)], number(2.66)

    def run():
        # What is a sample's own is the right answer in the other modality, and no candidate in its own.
        itself, labels, terms = torch.eye(PAIRS, dtype=torch.bool), torch.arange(PAIRS), []
        for one, other in permutations([F.normalize(x, dim=1) for x in modalities], 2):
            logits = torch.cat([one @ other.T, (one @ one.T).masked_fill(itself, -torch.inf)], 1) * scale.exp()
            terms.append(F.cross_entropy(logits, labels))
        return torch.stack(terms).mean()

    return case(run, [*modalities, scale])


def cpc():
    batch, time, context_dim, steps = 16, 64, 64, 4
    predictor = nn.ModuleList(nn.Linear(context_dim, DIM, bias=False) for _ in range(steps))
    encoded, context = random(batch, time, DIM), random(batch, time, context_dim)

    def run():
        losses = []
        for ahead, projection in enumerate(predictor, 1):
            # Every row picks its future among all rows of the same time.
            logits = (projection(context[:, :-ahead]).transpose(0, 1) @ encoded[:, ahead:].permute(1, 2, 0)).flatten(0, 1)
            losses.append(F.cross_entropy(logits, torch.arange(batch).repeat(time - ahead)))
        return torch.stack(losses).mean()

    return case(run, [encoded, context], predictor)


def cmc():
    views, places = [random(PAIRS, DIM), random(PAIRS, DIM)], torch.arange(PAIRS)
    bank = [F.normalize(torch.randn(MEMORY, DIM), dim=1) for _ in views]
    asked = torch.cat([places[:, None], torch.randint(0, MEMORY, (PAIRS, DRAWN))], 1)
    own = torch.zeros(PAIRS, 1 + DRAWN)
    own[:, 0] = 1
    normalisers = {}

    def run():
        anchors, total = [F.normalize(x, dim=1) for x in views], 0
        for one, other in permutations(range(len(views)), 2):
            scores = (bank[other][asked] @ anchors[one][:, :, None])[:, :, 0] / 0.07
            new = (scores.detach().logsumexp((0, 1)) - math.log(scores.numel())).exp() * MEMORY
            normalisers[one, other] = 0.99 * normalisers.get((one, other), new) + 0.01 * new
            logits = scores - normalisers[one, other].log() - math.log(DRAWN / MEMORY)
            total = total + F.binary_cross_entropy_with_logits(logits, own, reduction="sum") / PAIRS
        for memory, anchor in zip(bank, anchors):
            memory[places] = F.normalize(0.5 * memory[places] + 0.5 * anchor.detach(), dim=1)
        return total

    return case(run, views)


def pairs_picked(one, other, scale):
    return F.cross_entropy(similarities(one, other) * scale.exp(), torch.arange(PAIRS))


def clap():
    audio, text, of_audio, of_text = random(PAIRS, DIM), random(PAIRS, DIM), number(2.66), number(2.66)
    run = lambda: (pairs_picked(audio, text, of_audio) + pairs_picked(text, audio, of_text)) / 2
    return case(run, [audio, text, of_audio, of_text])


def audio_clip():
    modalities, scales = [random(PAIRS, DIM) for _ in range(3)], [number(2.66) for _ in range(3)]

    def run():
        both = zip([(0, 1), (0, 2), (1, 2)], scales)
        terms = [(modalities[m], modalities[n], scale) for (m, n), scale in both]
        return sum((pairs_picked(a, b, scale) + pairs_picked(b, a, scale)) / 2 for a, b, scale in terms)

    return case(run, modalities + scales)


def avts():
    audio, video, in_sync = random(PAIRS, DIM), random(PAIRS, DIM), torch.arange(PAIRS) % 2 == 0

    def run():
        distances = F.pairwise_distance(audio, video, eps=0.0)
        return torch.where(in_sync, distances.square(), (1 - distances).clamp(min=0).square()).mean()

    return case(run, [audio, video])


def cav_mae():
    audio, video, errors = random(PAIRS, DIM), random(PAIRS, DIM), [number(1.0), number(1.0)]

    def run():
        logits = similarities(video, audio) / 0.05
        contrast = F.cross_entropy(logits, torch.arange(PAIRS))
        (logits.detach().argmax(1) == torch.arange(PAIRS)).float().mean()
        return sum(errors) + 0.01 * contrast

    return case(run, [audio, video, *errors])


def token_losses(logits, ids, marks):
    """The mean over marked tokens, computed for those alone."""
    return F.cross_entropy(logits[marks], ids[marks])


def masked_language():
    logits, ids = random(TEXTS, SEQ, VOCABULARY), torch.randint(0, VOCABULARY, (TEXTS, SEQ))
    selected = (torch.arange(TEXTS * SEQ) % 7 == 0).reshape(TEXTS, SEQ)
    return case(lambda: token_losses(logits, ids, selected), [logits])


def captioning():
    logits, ids = random(TEXTS, SEQ, VOCABULARY), torch.randint(0, VOCABULARY, (TEXTS, SEQ))
    counts = (torch.arange(SEQ) >= 8).expand(TEXTS, -1)
    return case(lambda: token_losses(logits[:, :-1], ids[:, 1:], counts[:, 1:]), [logits])


def masked_image():
    predicted, pictures = random(8, 196, 768), torch.randn(8, 196, 768)
    hidden = (torch.arange(8 * 196) % 4 != 0).reshape(8, 196)

    def run():
        mean, variance = pictures.mean(-1, keepdim=True), pictures.var(-1, keepdim=True)
        errors = (predicted - (pictures - mean) / (variance + 1e-6).sqrt()).square().mean(-1)
        return (errors * hidden).sum() / hidden.sum()

    return case(run, [predicted])


def codebook():
    book, x = nn.Embedding(512, 64), random(1024, 64)

    def run():
        distances = x.detach().square().sum(1, keepdim=True) - 2 * x.detach() @ book.weight.detach().T
        ids = (distances + book.weight.detach().square().sum(1)).argmin(1)
        chosen = book(ids)
        shares = ids.bincount(minlength=512) / len(ids)
        (-(shares * shares.clamp(min=1e-10).log()).sum()).exp()
        x + (chosen - x).detach()
        return F.mse_loss(chosen, x.detach()) + 0.25 * F.mse_loss(x, chosen.detach())

    return case(run, [x, book.weight])


def uncertainty_weights():
    logarithms, costs = torch.zeros(3, requires_grad=True), random(256, 3)
    labelled = (torch.arange(256 * 3) % 5 != 0).reshape(256, 3)

    def run():
        losses = (costs * labelled).sum(0) / labelled.sum(0)
        return (torch.tensor([0.5, 1.0, 0.5]) * (-logarithms).exp() * losses + 0.5 * logarithms).sum()

    return case(run, [costs, logarithms])


CASES = {
    "clip": clip,
    "sig_lip": sig_lip,
    "nt_xent": nt_xent,
    "supervised_contrast": supervised_contrast,
    "modality_contrast": modality_contrast,
    "cpc": cpc,
    "cmc": cmc,
    "clap": clap,
    "audio_clip": audio_clip,
    "avts": avts,
    "cav_mae": cav_mae,
    "masked_language": masked_language,
    "captioning": captioning,
    "masked_image": masked_image,
    "codebook": codebook,
    "span": span,
    "uncertainty_weights": uncertainty_weights,
}
CASES |= blocks_distillation.CASES
