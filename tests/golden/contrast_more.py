"""Contrastive losses with presence, memory or time: written-out loops in f64 are the oracle, held to matrix forms and to libraries."""

import math
from pathlib import Path

import torch
import torch.nn.functional as functional
from lightly.loss import NTXentLoss
from pytorch_metric_learning.losses import NTXentLoss as MetricNtXentLoss
from transformers.models.clap.modeling_clap import contrastive_loss

import weights
from contrast import TEMPERATURE, clip_by_hand, clip_by_matrix, dot, nt_xent_by_hand, picks, scalar
from fixture import Fixture, same


def record(folder: Path, case: str, config: dict, given: dict[str, torch.Tensor], exactly, nearly, constants=()) -> None:
    """`exactly` in f64 is the oracle, `nearly` in f64 a second one and in f32 torch's own error; both take the tracked inputs in order.
    Results of any shape; the loss's gradients of everything given."""
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
    for name, value in constants:
        fixture.give(name, value)
    for name, value in parts.items():
        same(value.reshape(-1), parts_64[name].reshape(-1), f"{case}: {name}", 1e-9)
        fixture.expect(name, value.reshape(-1), parts_32[name].reshape(-1))
    fixture.expect_gradients(own, own_32)
    fixture.write(folder)


# -------------------------------------------------------------------------------------------------- modality contrast

ROWS, DIM, WITHIN = 7, 5, 0.4
PRESENT = [[1, 1, 1, 0, 1, 1, 1], [1, 1, 0, 1, 1, 1, 1], [1, 0, 1, 1, 1, 0, 1]]
ENTITIES = [4, 9, 4, 1, 9, 30, 7]  # rows 0 and 2, and 1 and 4, are about the same


def modality_contrast_by_hand(vectors, log_scale, within, present, entities):
    """The header's formula, anchor by anchor."""
    scale, count = torch.exp(log_scale), len(vectors[0])
    costs, parts = [], {}
    for a in range(len(vectors)):
        for b in range(len(vectors)):
            if a == b:
                continue
            pair = []
            for i in range(count):
                if not (present[a][i] and present[b][i]):
                    continue
                others = [j for j in range(count) if j != i and entities[j] != entities[i]]
                right = torch.exp(scale * dot(vectors[a][i], vectors[b][i]))
                cross = sum((torch.exp(scale * dot(vectors[a][i], vectors[b][j])) for j in others if present[b][j]), start=0)
                own = sum((torch.exp(scale * dot(vectors[a][i], vectors[a][j])) for j in others if present[a][j]), start=0)
                pair.append(-torch.log(right / (right + cross + within * own)))
            parts[f"pair.{a}.{b}"] = sum(pair) / len(pair)
            costs += pair
    parts["loss"] = sum(costs) / len(costs)
    for a in range(len(vectors)):
        for b in range(a + 1, len(vectors)):
            centres = []
            for m in (a, b):
                there = [vectors[m][i] / vectors[m][i].norm() for i in range(count) if present[m][i]]
                centres.append(sum(there) / len(there))
            parts[f"gap.{a}.{b}"] = (centres[0] - centres[1]).norm()
    return parts


def modality_contrast_by_matrix(vectors, log_scale, within, present, entities):
    present, entities = torch.tensor(present).bool(), torch.tensor(entities)
    count = len(entities)
    repeats = (entities[:, None] == entities[None, :]) & ~torch.eye(count, dtype=torch.bool)
    unit = [functional.normalize(x) * p[:, None].to(x.dtype) for x, p in zip(vectors, present)]
    costs, parts = [], {}
    for a in range(len(vectors)):
        for b in range(len(vectors)):
            if a == b:
                continue
            cross = (unit[a] @ unit[b].T * log_scale.exp()).masked_fill(repeats | ~present[b][None], -torch.inf)
            own = unit[a] @ unit[a].T * log_scale.exp() + math.log(within) if within else torch.full((count, count), -torch.inf).to(cross)
            own = own.masked_fill(repeats | torch.eye(count, dtype=torch.bool) | ~present[a][None], -torch.inf)
            kept = present[a] & present[b]
            pair = (torch.logsumexp(torch.cat([cross, own], 1), 1) - cross.diagonal())[kept]
            parts[f"pair.{a}.{b}"] = pair.mean()
            costs.append(pair)
    parts["loss"] = torch.cat(costs).mean()
    centres = [x[p].mean(0) for x, p in zip(unit, present)]
    for a in range(len(vectors)):
        for b in range(a + 1, len(vectors)):
            parts[f"gap.{a}.{b}"] = (centres[a] - centres[b]).norm()
    return parts


def modality_contrast(folder: Path) -> None:
    base = weights.tensor("modality.base", (ROWS, DIM), 2.0)
    vectors = {f"modality.{m}": base * 0.5 + weights.tensor(f"modality.{m}", (ROWS, DIM), 1.0 + m) for m in range(3)}
    two, all_there, no_repeats = [x.double() for x in list(vectors.values())[:2]], [[1] * ROWS] * 2, list(range(ROWS))
    log_scale = torch.tensor([math.log(1 / TEMPERATURE)], dtype=torch.float64)
    known = {0.0: clip_by_hand(*two, log_scale)["loss"], 1.0: nt_xent_by_hand(*two)["loss"]}
    for within, expected in known.items():
        found = modality_contrast_by_hand(two, log_scale, within, all_there, no_repeats)["loss"]
        same(found, expected, f"modality contrast with weight {within}")
    same(known[1.0], NTXentLoss(temperature=TEMPERATURE)(*two), "lightly's NT-Xent", 1e-9)
    # The metric-learning library takes both views as one batch whose labels say what belongs together.
    metric = MetricNtXentLoss(temperature=TEMPERATURE)(torch.cat(two), torch.arange(ROWS).repeat(2))
    same(known[1.0], metric, "pytorch-metric-learning's NT-Xent", 1e-9)
    config = {"within": WITHIN, "present": [[bool(x) for x in row] for row in PRESENT], "entities": ENTITIES}
    exactly, nearly = [
        lambda a, b, c, s, f=f: f([a, b, c], s, WITHIN, PRESENT, ENTITIES)
        for f in (modality_contrast_by_hand, modality_contrast_by_matrix)
    ]
    record(folder, "modality_contrast_loss", config, {**vectors, "log_scale": scalar(1.3)}, exactly, nearly)


# ------------------------------------------------------------------------------------------------------------- audio


def clap_by_hand(audio, text, log_scale_audio, log_scale_text):
    forth = [picks([torch.exp(log_scale_audio) * dot(x, y) for y in text], i) for i, x in enumerate(audio)]
    back = [picks([torch.exp(log_scale_text) * dot(x, y) for y in audio], i) for i, x in enumerate(text)]
    forth, back = sum(forth) / len(forth), sum(back) / len(back)
    return {"loss": (forth + back) / 2, "audio_to_text": forth, "text_to_audio": back}


def clap_by_matrix(audio, text, log_scale_audio, log_scale_text):
    """As ClapModel computes it, but for the transposition of the sounds' scores, which makes both terms choose sounds."""
    audio, text = functional.normalize(audio), functional.normalize(text)
    per_text = text @ audio.T * log_scale_text.exp()
    per_audio = audio @ text.T * log_scale_audio.exp()
    forth, back = contrastive_loss(per_audio), contrastive_loss(per_text)
    assert abs(contrastive_loss(per_audio.T) - forth) > 1e-3, "transposed, the other direction is computed twice"
    return {"loss": (forth + back) / 2, "audio_to_text": forth, "text_to_audio": back}


def pair_of(name: str, rows: int = ROWS) -> tuple[torch.Tensor, torch.Tensor]:
    first = weights.tensor(f"{name}.first", (rows, DIM), 2.0)
    return first, first * 0.5 + weights.tensor(f"{name}.second", (rows, DIM))


def clap(folder: Path) -> None:
    audio, text = pair_of("clap")
    given = {"audio": audio, "text": text, "log_scale_audio": scalar(math.log(1 / 0.07)), "log_scale_text": scalar(0.9)}
    record(folder, "clap_loss", {}, given, clap_by_hand, clap_by_matrix)


def audio_clip_from(pairwise):
    def compute(audio, image, text, audio_image, audio_text, image_text):
        parts = {}
        for name, (a, b), scale in [
            ("audio_image", (0, 1), audio_image),
            ("audio_text", (0, 2), audio_text),
            ("image_text", (1, 2), image_text),
        ]:
            kept = [i for i in range(ROWS) if PRESENT[a][i] and PRESENT[b][i]]
            sides = (audio, image, text)
            parts[name] = pairwise(sides[a][kept], sides[b][kept], scale)["loss"]
        return {"loss": sum(parts.values()), **parts}

    return compute


def audio_clip(folder: Path) -> None:
    (audio, image), (_, text) = pair_of("audio_clip"), pair_of("audio_clip.text")
    scales = {"log_scale.audio_image": scalar(1.5), "log_scale.audio_text": scalar(2.0), "log_scale.image_text": scalar(0.5)}
    config = {"present": [[bool(x) for x in row] for row in PRESENT]}
    given = {"audio": audio, "image": image, "text": text, **scales}
    record(folder, "audio_clip_loss", config, given, audio_clip_from(clip_by_hand), audio_clip_from(clip_by_matrix))


CAV_MAE = {"contrast_weight": 0.01, "reconstruction_weight": 1.0, "temperature": 0.05}


def cav_mae_by_hand(both):
    def compute(audio, video, of_audio, of_video):
        forth = [picks([dot(v, a) / 0.05 for a in audio], i) for i, v in enumerate(video)]
        back = [picks([dot(a, v) / 0.05 for v in video], i) for i, a in enumerate(audio)]
        right = [max(range(ROWS), key=lambda j: dot(v, audio[j]).item()) == i for i, v in enumerate(video)]
        contrast = sum(forth + back) / (2 * ROWS) if both else sum(forth) / ROWS
        reconstruction = of_audio + of_video
        loss = 0.01 * contrast + reconstruction
        accuracy = torch.tensor(sum(right) / ROWS, dtype=loss.dtype)
        return {"loss": loss, "contrast": contrast, "reconstruction": reconstruction, "accuracy": accuracy}

    return compute


def cav_mae_by_matrix(both):
    """As the released `forward_contrastive`."""

    def compute(audio, video, of_audio, of_video):
        total = functional.normalize(audio) @ functional.normalize(video).T / 0.05
        contrast = -functional.log_softmax(total, dim=0).diagonal().mean()
        if both:
            contrast = (contrast - functional.log_softmax(total.T, dim=0).diagonal().mean()) / 2
        accuracy = (total.softmax(0).argmax(0) == torch.arange(ROWS)).to(total.dtype).mean()
        reconstruction = of_audio + of_video
        loss = 0.01 * contrast + reconstruction
        return {"loss": loss, "contrast": contrast, "reconstruction": reconstruction, "accuracy": accuracy}

    return compute


def cav_mae(folder: Path) -> None:
    audio, video = pair_of("cav_mae")
    given = {"audio": audio, "video": video, "audio_reconstruction": scalar(0.8), "video_reconstruction": scalar(1.7)}
    for case, both in [("cav_mae_loss", False), ("cav_mae_both_loss", True)]:
        record(folder, case, {**CAV_MAE, "both": both}, given, cav_mae_by_hand(both), cav_mae_by_matrix(both))


KINDS = ["sync", "sync", "sync", "sync", "easy", "easy", "easy", "hard", "hard"]
MARGIN = 2.0


def avts_by_hand(hard_share):
    def compute(audio, video):
        costs = {"sync": [], "easy": [], "hard": []}
        for a, v, kind in zip(audio, video, KINDS):
            d = (a - v).square().sum().sqrt()
            costs[kind].append(d**2 if kind == "sync" else torch.clamp(MARGIN - d, min=0) ** 2)
        wrong = len(costs["easy"]) + len(costs["hard"])
        share = len(costs["hard"]) / wrong if hard_share is None else hard_share
        mean = {kind: sum(values) / len(values) for kind, values in costs.items()}
        loss = (sum(costs["sync"]) + wrong * ((1 - share) * mean["easy"] + share * mean["hard"])) / len(KINDS)
        return {"loss": loss, "in_sync": mean["sync"], "easy": mean["easy"], "hard": mean["hard"]}

    return compute


def avts_by_matrix(hard_share):
    def compute(audio, video):
        d = functional.pairwise_distance(audio, video, eps=0.0)
        marks = {kind: torch.tensor([k == kind for k in KINDS]) for kind in ("sync", "easy", "hard")}
        cost = torch.where(marks["sync"], d**2, functional.relu(MARGIN - d) ** 2)
        weight = torch.ones_like(cost)
        if hard_share is not None:
            weight = torch.where(marks["easy"], (1 - hard_share) * 5 / 3, torch.where(marks["hard"], hard_share * 5 / 2, weight))
        means = {kind: cost[mark].mean() for kind, mark in marks.items()}
        return {"loss": (cost * weight).mean(), "in_sync": means["sync"], "easy": means["easy"], "hard": means["hard"]}

    return compute


def avts(folder: Path) -> None:
    audio, video = pair_of("avts", len(KINDS))
    for case, share in [("avts_loss", None), ("avts_mixed_loss", 0.7)]:
        config = {"margin": MARGIN, "pairs": KINDS, "hard_share": share}
        record(folder, case, config, {"audio": audio, "video": video}, avts_by_hand(share), avts_by_matrix(share))


CASES = [modality_contrast, clap, audio_clip, cav_mae, avts]
