"""Attention at the size of a small model's layer: 8 sequences of 128 tokens of width 256, 8 heads."""

import torch

from blocks_layers import Attention, Block, case, random

BATCH, SEQ, DIM, HEADS = 8, 128, 256, 8
# Tokens and width of another modality.
CONTEXT, CONTEXT_DIM = 64, 192


def self_attention():
    layer, x = Attention(DIM, HEADS), random(BATCH, SEQ, DIM)
    return case(lambda: layer(x, x), [x], layer)


def self_padded():
    layer, x = Attention(DIM, HEADS), random(BATCH, SEQ, DIM)
    lengths = SEQ - 8 * torch.arange(BATCH)
    seen = (torch.arange(SEQ) < lengths[:, None])[:, None, None]
    return case(lambda: layer(x, x, seen), [x], layer)


def cross():
    layer, x, context = Attention(DIM, HEADS, CONTEXT_DIM), random(BATCH, SEQ, DIM), random(BATCH, CONTEXT, CONTEXT_DIM)
    return case(lambda: layer(x, context), [x, context], layer)


def transformer_block():
    block, x = Block(DIM, HEADS), random(BATCH, SEQ, DIM)
    return case(lambda: block(x), [x], block)


CASES = {"self": self_attention, "self_padded": self_padded, "cross": cross, "transformer_block": transformer_block}
