"""What a student learns from a teacher: 256 samples of width 128 and 1,024 classes; texts of 8 × 64 tokens.

The formulas are those at the head of each file in `crates/florin-losses/src/distillation`. A teacher has no gradient.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks_layers import case, random

SAMPLES, DIM, CLASSES = 256, 128, 1024
TEXTS, HEADS, SEQ, STUDENT_DIM, TEACHER_DIM = 8, 8, 64, 128, 256


def divergence(teacher: Tensor, student: Tensor, reduction: str = "batchmean") -> Tensor:
    """KL of the student's distribution from the teacher's, by logits of rows."""
    return F.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), reduction=reduction, log_target=True)


def labels() -> Tensor:
    return torch.arange(SAMPLES) * 7 % CLASSES


def distilled_logits():
    student, teacher, temperature = random(SAMPLES, CLASSES), torch.randn(SAMPLES, CLASSES), 2.0

    def run():
        soft = temperature**2 * divergence(teacher / temperature, student / temperature)
        return 0.5 * soft + 0.5 * F.cross_entropy(student, labels())

    return case(run, [student])


def distillation_token():
    class_head, token_head, teacher = random(SAMPLES, CLASSES), random(SAMPLES, CLASSES), torch.randn(SAMPLES, CLASSES)
    run = lambda: 0.5 * F.cross_entropy(class_head, labels()) + 0.5 * F.cross_entropy(token_head, teacher.argmax(1))
    return case(run, [class_head, token_head])


def distilled_features(directions: bool):
    projection = nn.Linear(STUDENT_DIM, TEACHER_DIM, bias=False)
    student, teacher = random(TEXTS, SEQ, STUDENT_DIM), torch.randn(TEXTS, SEQ, TEACHER_DIM)

    def run():
        near = projection(student)
        return 1 - F.cosine_similarity(near, teacher, dim=-1).mean() if directions else F.mse_loss(near, teacher)

    return case(run, [student], projection)


def distilled_attention(maps: bool):
    student, teacher = random(TEXTS, HEADS, SEQ, SEQ), torch.randn(TEXTS, HEADS, SEQ, SEQ)
    run = lambda: divergence(teacher.flatten(0, 2), student.flatten(0, 2)) if maps else F.mse_loss(student, teacher)
    return case(run, [student])


def distilled_relations():
    batch = 64
    student, teacher = random(batch, DIM), torch.randn(batch, DIM)
    itself = torch.eye(batch, dtype=torch.bool)
    different = ~(itself[:, :, None] | itself[:, None] | itself[None])

    def apart(x):
        differences = x[None] - x[:, None]
        lengths = differences.square().sum(2).masked_fill(itself, 1.0).sqrt()
        directions = differences / lengths[:, :, None]
        lengths = lengths.masked_fill(itself, 0.0)
        return lengths / (lengths.sum() / (batch * (batch - 1))), directions @ directions.transpose(1, 2)

    def run():
        (distances, angles), (of_distances, of_angles) = apart(student), apart(teacher)
        distance = F.smooth_l1_loss(distances, of_distances, reduction="sum") / (batch * (batch - 1))
        angle = F.smooth_l1_loss(angles * different, of_angles * different, reduction="sum") / different.sum()
        return 25 * distance + 50 * angle

    return case(run, [student])


def clip_distillation():
    own = [random(SAMPLES, DIM), random(SAMPLES, DIM)]
    projected = [random(SAMPLES, DIM), random(SAMPLES, DIM)]
    teacher, scale = [torch.randn(SAMPLES, DIM), torch.randn(SAMPLES, DIM)], torch.tensor([2.66], requires_grad=True)

    def run():
        image, text = (F.normalize(x, dim=1) for x in teacher)
        near_image, near_text = (F.normalize(x, dim=1) for x in projected)
        own_image, own_text = (F.normalize(x, dim=1) for x in own)
        wanted, factor, places = image @ text.T * scale.detach().exp(), scale.exp(), torch.arange(SAMPLES)
        feature = F.mse_loss(near_image, image) + F.mse_loss(near_text, text)
        to_text, to_image = near_image @ text.T * factor, near_text @ image.T * factor
        interactive = (F.cross_entropy(to_text, places) + F.cross_entropy(to_image, places)) / 2
        interactive_relation = (divergence(wanted, to_text) + divergence(wanted.T, to_image)) / 2
        between = own_image @ own_text.T * factor
        relation = (divergence(wanted, between) + divergence(wanted.T, between.T)) / 2
        return 2000 * feature + interactive + interactive_relation + relation

    return case(run, [*own, *projected, scale])


CASES = {
    "distilled_logits": distilled_logits,
    "distillation_token": distillation_token,
    "distilled_features": partial(distilled_features, directions=False),
    "distilled_directions": partial(distilled_features, directions=True),
    "distilled_attention_scores": partial(distilled_attention, maps=False),
    "distilled_attention_maps": partial(distilled_attention, maps=True),
    "distilled_relations": distilled_relations,
    "clip_distillation": clip_distillation,
}
