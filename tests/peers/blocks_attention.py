"""Attention at the size of a small model's layer: 8 sequences of 128 tokens of width 256, 8 heads.

The formulas are those at the head of each file in `crates/florin-nn/src/attention`.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks_layers import EPSILON, Attention, Block, CrossBlock, Mlp, case, random

BATCH, SEQ, DIM, HEADS = 8, 128, 256, 8
HEAD_DIM = DIM // HEADS
# Tokens and width of another modality.
CONTEXT, CONTEXT_DIM = 64, 192
PLACES = torch.arange(SEQ)
DISTANCES = (PLACES[:, None] - PLACES).abs()


def self_attention(seen=None, causal=False, key_heads=None):
    layer, x = Attention(DIM, HEADS, key_heads=key_heads), random(BATCH, SEQ, DIM)
    return case(lambda: layer(x, x, seen, causal), [x], layer)


def padding() -> Tensor:
    return (PLACES < (SEQ - 8 * torch.arange(BATCH))[:, None])[:, None, None]


def alibi() -> Tensor:
    slopes = 2.0 ** (-8 * torch.arange(1, HEADS + 1) / HEADS)
    return (-slopes[:, None, None] * DISTANCES)[None]


def split(x: Tensor) -> Tensor:
    return x.unflatten(2, (HEADS, HEAD_DIM)).transpose(1, 2)


def rotated(x: Tensor, interleaved: bool) -> Tensor:
    frequencies = 10_000.0 ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    angles = PLACES[:, None] * frequencies
    cosines, sines = angles.cos(), angles.sin()
    one, other = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    one, other = one * cosines - other * sines, other * cosines + one * sines
    return torch.stack([one, other], -1).flatten(-2) if interleaved else torch.cat([one, other], -1)


def rotary(interleaved: bool):
    layer, x = Attention(DIM, HEADS), random(BATCH, SEQ, DIM)

    def run():
        query, key = (rotated(split(linear(x)), interleaved) for linear in (layer.query, layer.key))
        mixed = F.scaled_dot_product_attention(query, key, split(layer.value(x)))
        return layer.output(mixed.transpose(1, 2).flatten(2))

    return case(run, [x], layer)


def relative_bias():
    """T5's buckets: 32 of both sides, logarithmic up to 128 places."""
    layer, x, table = Attention(DIM, HEADS), random(BATCH, SEQ, DIM), nn.Embedding(32, HEADS)
    after, size = (PLACES - PLACES[:, None] > 0) * 16, DISTANCES
    far = 8 + ((size.clamp(min=1) / 8).log() / math.log(128 / 8) * 8).long()
    buckets = after + torch.where(size < 8, size, far.clamp(max=15))
    return case(lambda: layer(x, x, table(buckets).permute(2, 0, 1)[None]), [x, table.weight], layer)


def sliding_window():
    """32 places to each side of 1,024, by a mask: torch has no operation that leaves the rest uncomputed on a processor."""
    layer, x, places = Attention(DIM, HEADS), random(2, 1024, DIM), torch.arange(1024)
    seen = (places[:, None] - places).abs() <= 32
    return case(lambda: layer(x, x, seen), [x], layer)


def sparsemax(scores: Tensor) -> Tensor:
    falling = scores.sort(-1, descending=True).values
    ranks, sums = torch.arange(1, scores.shape[-1] + 1), falling.cumsum(-1)
    count = (1 + ranks * falling > sums).sum(-1, keepdim=True)
    return (scores - (sums.gather(-1, count - 1) - 1) / count).clamp(min=0)


def dynamic(sparse: bool):
    layer, decide, x = Attention(DIM, HEADS), nn.ModuleList(nn.Linear(DIM, HEADS) for _ in range(3)), random(BATCH, SEQ, DIM)
    longest, ramp = 64.0, 32.0

    def run():
        span, sharpness, gate = (linear(x).transpose(1, 2)[..., None] for linear in decide)
        scores = split(layer.query(x)) @ split(layer.key(x)).transpose(2, 3) / math.sqrt(HEAD_DIM)
        scores = scores * F.softplus(sharpness) / math.log(2)
        reach = ((span.sigmoid() * longest + ramp - DISTANCES) / ramp).clamp(0, 1)
        near = reach > 0
        inside = (scores + reach.clamp(min=1e-30).log()).masked_fill(~near, -1e30)
        weights = sparsemax(inside) if sparse else inside.softmax(-1)
        mixed = weights @ split(layer.value(x)) * gate.sigmoid()
        return layer.output(mixed.transpose(1, 2).flatten(2))

    return case(run, [x], layer, decide)


def cross():
    layer, x, context = Attention(DIM, HEADS, CONTEXT_DIM), random(BATCH, SEQ, DIM), random(BATCH, CONTEXT, CONTEXT_DIM)
    return case(lambda: layer(x, context), [x, context], layer)


def transformer_block():
    block, x = Block(DIM, HEADS), random(BATCH, SEQ, DIM)
    return case(lambda: block(x), [x], block)


def cross_modal_block():
    block, x, source = CrossBlock(DIM, HEADS, context_dim=CONTEXT_DIM), random(BATCH, SEQ, DIM), random(BATCH, CONTEXT, CONTEXT_DIM)
    return case(lambda: block(x, source), [x, source], block)


class CoAttentionStream(nn.Module):
    """Norms after each branch, as in BERT."""

    def __init__(self, dim: int, other: int):
        super().__init__()
        self.attention, self.mlp = Attention(dim, HEADS, other), Mlp(dim, 4 * dim)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(dim, 1e-12), nn.LayerNorm(dim, 1e-12)

    def forward(self, x, other):
        x = self.attention_norm(x + self.attention(x, other))
        return self.mlp_norm(x + self.mlp(x))


def co_attention_block():
    streams = [CoAttentionStream(DIM, CONTEXT_DIM), CoAttentionStream(CONTEXT_DIM, DIM)]
    first, second = random(BATCH, SEQ, DIM), random(BATCH, CONTEXT, CONTEXT_DIM)
    run = lambda: torch.cat([streams[0](first, second).flatten(), streams[1](second, first).flatten()])
    return case(run, [first, second], *streams)


def bottleneck_layer():
    blocks, shared = [Block(DIM, HEADS), Block(DIM, HEADS)], random(BATCH, 4, DIM)
    streams = [random(BATCH, SEQ, DIM), random(BATCH, SEQ, DIM)]

    def run():
        both = [block(torch.cat([x, shared], 1)) for block, x in zip(blocks, streams)]
        mean = sum(x[:, SEQ:] for x in both) / len(both)
        return torch.cat([x[:, :SEQ] for x in both] + [mean], 1)

    return case(run, [*streams, shared], *blocks)


class Resampler(nn.Module):
    """Flamingo's: latents ask the media and themselves; no biases in attention and perceptron."""

    LATENTS, DEPTH = 32, 2

    def __init__(self):
        super().__init__()
        self.latents = nn.Parameter(0.02 * torch.randn(self.LATENTS, DIM))
        self.projection, self.norm = nn.Linear(CONTEXT_DIM, DIM, bias=False), nn.LayerNorm(DIM, EPSILON)
        self.norms = nn.ModuleList(nn.LayerNorm(DIM, EPSILON) for _ in range(3 * self.DEPTH))
        self.attentions = nn.ModuleList(Attention(DIM, HEADS, biases=False) for _ in range(self.DEPTH))
        self.mlps = nn.ModuleList(Mlp(DIM, 4 * DIM, biases=False) for _ in range(self.DEPTH))

    def forward(self, media):
        media, x = self.projection(media), self.latents.expand(BATCH, -1, -1)
        for depth, (attention, mlp) in enumerate(zip(self.attentions, self.mlps)):
            media_norm, latents_norm, mlp_norm = self.norms[3 * depth : 3 * depth + 3]
            asking = latents_norm(x)
            x = x + attention(asking, torch.cat([media_norm(media), asking], 1))
            x = x + mlp(mlp_norm(x))
        return self.norm(x)


def perceiver_resampler():
    resampler, media = Resampler(), random(BATCH, SEQ, CONTEXT_DIM)
    return case(lambda: resampler(media), [media], resampler)


class Level(nn.Module):
    """Parts see each other in a block and are pooled by additive attention; what is hidden has no part in either."""

    def __init__(self):
        super().__init__()
        self.block, self.projection = Block(DIM, HEADS), nn.Linear(DIM, DIM)
        self.context = nn.Parameter(0.02 * torch.randn(DIM))

    def forward(self, parts, kept):
        parts = self.block(parts * kept[..., None], kept[:, None, None])
        scores = (self.projection(parts).tanh() @ self.context).masked_fill(~kept, -1e30)
        return (scores.softmax(1)[:, None] @ parts)[:, 0]


def hierarchical():
    steps, segments, seq = 4, 4, 16
    levels, tokens = [Level(), Level(), Level()], random(BATCH, steps, segments, seq, DIM)
    kept = torch.ones(BATCH, steps, segments, seq, dtype=torch.bool)

    def run():
        x, own = levels[0](tokens.flatten(0, 2), kept.flatten(0, 2)), kept.any(3)
        x, own = levels[1](x.unflatten(0, (BATCH * steps, segments)), own.flatten(0, 1)), own.any(2)
        return levels[2](x.unflatten(0, (BATCH, steps)), own)

    return case(run, [tokens], *levels)


CASES = {
    "self": self_attention,
    "self_padded": lambda: self_attention(seen=padding()),
    "causal": partial(self_attention, causal=True),
    "grouped_query": partial(self_attention, key_heads=2),
    "multi_query": partial(self_attention, key_heads=1),
    "rotary_halves": partial(rotary, interleaved=False),
    "rotary_interleaved": partial(rotary, interleaved=True),
    "alibi": lambda: self_attention(seen=alibi()),
    "relative_bias": relative_bias,
    "sliding_window": sliding_window,
    "dynamic_softmax": partial(dynamic, sparse=False),
    "dynamic_sparsemax": partial(dynamic, sparse=True),
    "transformer_block": transformer_block,
    "cross": cross,
    "cross_modal_block": cross_modal_block,
    "co_attention_block": co_attention_block,
    "bottleneck_layer": bottleneck_layer,
    "perceiver_resampler": perceiver_resampler,
    "hierarchical": hierarchical,
}
