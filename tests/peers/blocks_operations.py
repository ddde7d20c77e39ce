"""Operations below every model: cross-entropy over a thousand classes and over a vocabulary, softmax, GELU."""

import torch
import torch.nn.functional as F

from blocks_layers import random

SIZES = {"thousand": (4096, 1024), "vocabulary": (512, 30_522)}


def cross_entropy(rows: int, classes: int):
    logits, targets = random(rows, classes), torch.arange(rows) % classes
    return lambda: F.cross_entropy(logits, targets), [logits]


def softmax(rows: int, classes: int):
    x = random(rows, classes)
    return lambda: x.softmax(1), [x]


def gelu(rows: int, classes: int):
    x = random(rows, classes)
    return lambda: F.gelu(x), [x]


CASES = {
    f"{make.__name__}_{name}": lambda make=make, size=size: make(*size)
    for name, size in SIZES.items()
    for make in [cross_entropy, softmax, gelu]
}
