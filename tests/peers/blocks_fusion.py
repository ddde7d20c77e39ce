"""Fusions of three modalities of 32 rows, the last absent from every fourth row: one vector a row, or 16 tokens a row.

The formulas are those at the head of each file in `crates/florin-fusion/src`, with the settings that `FusionConfig::usual` gives.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks_layers import EPSILON, Attention, Block, CrossBlock, Mlp, case, random

BATCH, DIM, HEADS, WIDTHS, ALIGNED = 32, 128, 4, [256, 64, 192], 16
COUNT = len(WIDTHS)
PAIRS = [(0, 1), (0, 2), (1, 2)]
PRESENT = torch.tensor([[True, True, row % 4 != 0] for row in range(BATCH)])  # [batch, modality]


def shares(scores: Tensor, present: Tensor) -> Tensor:
    """Softmax over what is present, along dimension 1."""
    return scores.masked_fill(~present, -torch.inf).softmax(1)


def linears(widths: list[int], output: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(width, output) for width in widths)


class Vectors(nn.Module):
    """Kinds that fuse one vector a modality; what a row lacks is zero."""

    def forward(self, streams: list[Tensor]) -> Tensor:
        return self.fuse([x[:, 0] * PRESENT[:, m, None] for m, x in enumerate(streams)])


class Late(Vectors):
    def __init__(self):
        super().__init__()
        self.hidden = linears(WIDTHS, DIM)
        self.placeholders = nn.Parameter(0.02 * torch.randn(COUNT, DIM))
        self.output = nn.Linear(COUNT * (DIM + 1), DIM)

    def fuse(self, vectors):
        hidden = [F.gelu(layer(x)) for layer, x in zip(self.hidden, vectors)]
        parts = [torch.where(PRESENT[:, m, None], h, self.placeholders[m]) for m, h in enumerate(hidden)]
        return self.output(torch.cat(parts + [PRESENT.float()], 1))


class Gated(Vectors):
    def __init__(self, widths=WIDTHS):
        super().__init__()
        self.values, self.gates = linears(widths, DIM), nn.Linear(sum(widths), len(widths) * DIM)

    def fuse(self, vectors):
        return self.mix(vectors, PRESENT)

    def mix(self, vectors, present):
        scores = self.gates(torch.cat(vectors, 1)).unflatten(1, (len(vectors), DIM))
        gates = shares(scores, present[:, :, None])
        self.weights = gates.mean(2)
        return (gates * torch.stack([layer(x).tanh() for layer, x in zip(self.values, vectors)], 1)).sum(1)


class TensorFusion(Vectors):
    WIDTH = 15  # the widest whose product has at most 4,096 entries

    def __init__(self):
        super().__init__()
        self.projections = linears(WIDTHS, self.WIDTH)
        self.output = nn.Linear((self.WIDTH + 1) ** COUNT, DIM)

    def fuse(self, vectors):
        one, product = torch.ones(BATCH, 1), None
        for m, (layer, x) in enumerate(zip(self.projections, vectors)):
            factor = torch.cat([one, layer(x) * PRESENT[:, m, None]], 1)
            product = factor if product is None else (product[:, :, None] * factor[:, None]).flatten(1)
        return self.output(product)


class LowRank(Vectors):
    RANK = 4

    def __init__(self):
        super().__init__()
        self.factors = linears(WIDTHS, self.RANK * DIM)

    def fuse(self, vectors):
        factors = [layer(x) for layer, x in zip(self.factors, vectors)]
        return math.prod(factors[1:], start=factors[0]).unflatten(1, (self.RANK, DIM)).sum(1)


class AdaptiveHierarchical(Vectors):
    def __init__(self):
        super().__init__()
        self.projections, self.unimodal = linears(WIDTHS, DIM), linears([DIM] * COUNT, DIM)
        self.pairwise, self.joint = linears([DIM] * len(PAIRS), DIM), nn.Linear(DIM, DIM)
        self.member_scores, self.level_scores = linears([DIM] * 2, 1), linears([DIM] * 3, 1)

    def fuse(self, vectors):
        seen = [layer(x).tanh() for layer, x in zip(self.projections, vectors)]
        both = torch.stack([PRESENT[:, m] & PRESENT[:, n] for m, n in PAIRS], 1)
        members = [layer(x) for layer, x in zip(self.unimodal, seen)]
        pairs = [layer(seen[m] * seen[n]) for layer, (m, n) in zip(self.pairwise, PAIRS)]
        alone, of_alone = self.level(members, self.member_scores[0], PRESENT)
        paired, of_pairs = self.level(pairs, self.member_scores[1], both)
        filled = [torch.where(PRESENT[:, m, None], x, 1.0) for m, x in enumerate(seen)]
        levels = [alone, paired, self.joint(math.prod(filled[1:], start=filled[0]))]
        counts = PRESENT.sum(1, keepdim=True)
        scores = torch.cat([score(level) for score, level in zip(self.level_scores, levels)], 1)
        level_shares = shares(scores, counts > torch.arange(COUNT))
        halves = torch.tensor([[0.5 * (m in pair) for m in range(COUNT)] for pair in PAIRS])
        self.weights = of_alone * level_shares[:, :1] + of_pairs * level_shares[:, 1:2] @ halves
        self.weights = self.weights + PRESENT / counts * level_shares[:, 2:]
        return sum(level * level_shares[:, index, None] for index, level in enumerate(levels))

    @staticmethod
    def level(members, score, available):
        members = torch.stack(members, 1)
        alphas = shares(score(members).squeeze(2), available)
        return (members * alphas[:, :, None]).sum(1), alphas


class TokenAttention(nn.Module):
    """Each token asks its own modalities."""

    def __init__(self):
        super().__init__()
        self.projections, self.marks = linears(WIDTHS, DIM), nn.Parameter(0.02 * torch.randn(COUNT, DIM))
        self.query, self.key, self.value, self.output = (nn.Linear(DIM, DIM) for _ in range(4))
        self.norm = nn.LayerNorm(DIM, EPSILON)

    def forward(self, streams):
        present = [PRESENT[:, m, None, None] for m in range(COUNT)]
        given = [(layer(x) + mark) * p for layer, x, mark, p in zip(self.projections, streams, self.marks, present)]
        total, heads = sum(given), (HEADS, DIM // HEADS)
        query = self.query(total)
        scores = [(query * self.key(x)).unflatten(2, heads).sum(3) / math.sqrt(heads[1]) for x in given]
        scores = [score.masked_fill(~p, -torch.inf) for score, p in zip(scores, present)]
        weights = torch.stack(scores, 3).softmax(3)
        values = torch.stack([self.value(x).unflatten(2, heads) for x in given], 3)  # [batch, seq, heads, modality, head]
        mixed = (values * weights[..., None]).sum(3).flatten(2)
        self.weights = weights.mean((1, 2))
        return self.norm(self.output(mixed) + total).mean(1)


class Embedding(nn.Module):
    """Streams to the common width, with marks and places."""

    def __init__(self, marks: bool = True):
        super().__init__()
        self.projections = linears(WIDTHS, DIM)
        self.marks = nn.Parameter(0.02 * torch.randn(COUNT, DIM)) if marks else None

    def forward(self, streams):
        seq, columns = streams[0].shape[1], torch.arange(DIM)
        angles = torch.arange(1, seq + 1)[:, None] / 10_000 ** ((columns - columns % 2) / DIM)
        places = torch.where(columns % 2 == 0, angles.sin(), angles.cos())
        given = [layer(x * PRESENT[:, m, None, None]) + places for m, (layer, x) in enumerate(zip(self.projections, streams))]
        return given if self.marks is None else [x + mark for x, mark in zip(given, self.marks)]


def joined(given: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """All tokens, which of them are there, and the same as attention takes it."""
    kept = torch.cat([PRESENT[:, m, None].expand(-1, x.shape[1]) for m, x in enumerate(given)], 1)
    return torch.cat(given, 1), kept, kept[:, None, None]


def mean_of_kept(x: Tensor, kept: Tensor) -> Tensor:
    return (x * kept[:, :, None]).sum(1) / kept.sum(1, keepdim=True)


class Early(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.norm = Embedding(), nn.LayerNorm(DIM, EPSILON)
        self.blocks = nn.ModuleList(Block(DIM, HEADS) for _ in range(2))

    def forward(self, streams):
        x, kept, seen = joined(self.embedding(streams))
        for block in self.blocks:
            x = block(x, seen)
        return mean_of_kept(self.norm(x), kept)


class CrossAttentionLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(DIM, EPSILON) for _ in range(COUNT + 1))
        self.attentions = nn.ModuleList(Attention(DIM, HEADS) for _ in range(COUNT - 1))
        self.mlp = Mlp(DIM, 4 * DIM)

    def forward(self, x, sources, weights):
        queries = self.norms[0](x)
        for m, (attention, source) in enumerate(zip(self.attentions, sources), 1):
            # Every key of an absent row is the same to a softmax; its weight of zero takes it out.
            x = x + attention(queries, self.norms[m](source)) * weights[:, m, None, None]
        return x + self.mlp(self.norms[COUNT](x))


class CrossAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.norm, self.score = Embedding(), nn.LayerNorm(DIM, EPSILON), nn.Linear(DIM, 1)
        self.layers = nn.ModuleList(CrossAttentionLayer() for _ in range(2))

    def forward(self, streams):
        given = self.embedding(streams)
        self.weights = shares(torch.cat([self.score(x.mean(1)) for x in given], 1), PRESENT)
        x = given[0]
        for layer in self.layers:
            x = layer(x, given[1:], self.weights)
        return self.norm(x).mean(1)


class Bottleneck(nn.Module):
    TOKENS, LAYERS, FIRST_SHARED = 4, 4, 2

    def __init__(self):
        super().__init__()
        self.embedding, self.norm = Embedding(), nn.LayerNorm(DIM, EPSILON)
        self.bottlenecks = nn.Parameter(0.02 * torch.randn(self.TOKENS, DIM))
        self.layers = nn.ModuleList(nn.ModuleList(Block(DIM, HEADS) for _ in WIDTHS) for _ in range(self.LAYERS))

    def forward(self, streams):
        given, shared = self.embedding(streams), self.bottlenecks.expand(BATCH, -1, -1)
        seq, present = given[0].shape[1], PRESENT.float() / PRESENT.sum(1, keepdim=True)
        for number, layer in enumerate(self.layers):
            if number < self.FIRST_SHARED:
                given = [block(x) for block, x in zip(layer, given)]
                continue
            both = [block(torch.cat([x, shared], 1)) for block, x in zip(layer, given)]
            given = [x[:, :seq] for x in both]
            shared = sum(x[:, seq:] * present[:, m, None, None] for m, x in enumerate(both))
        return sum(self.norm(x).mean(1) * present[:, m, None] for m, x in enumerate(given))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(CrossBlock(DIM, HEADS, nn.ReLU, one_norm=True) for _ in range(2))
        self.norm = nn.LayerNorm(DIM, EPSILON)

    def forward(self, x, source, rows):
        for layer in self.layers:
            x = layer(x, source, rows=rows)
        return self.norm(x)


class Mult(nn.Module):
    def __init__(self):
        super().__init__()
        width = (COUNT - 1) * DIM
        self.embedding = Embedding(marks=False)
        self.pairs = nn.ModuleList(nn.ModuleList(Pair() for _ in range(COUNT - 1)) for _ in WIDTHS)
        self.memories = nn.ModuleList(nn.Sequential(Block(width, HEADS, nn.ReLU), nn.LayerNorm(width, EPSILON)) for _ in WIDTHS)
        self.residual = Mlp(COUNT * width, COUNT * width, nn.ReLU)
        self.output, self.token_output = nn.Linear(COUNT * width, DIM), nn.Linear(width, DIM)

    def forward(self, streams):
        given, summaries = self.embedding(streams), []
        for target, own in enumerate(given):
            sources = [m for m in range(COUNT) if m != target]
            found = [pair(own, given[m], PRESENT[:, m]) for pair, m in zip(self.pairs[target], sources)]
            read = self.memories[target](torch.cat(found, 2))
            if target == 0:
                self.tokens = self.token_output(read)
            summaries.append(read[:, -1] * PRESENT[:, target, None])
        summaries = torch.cat(summaries, 1)
        return self.output(summaries + self.residual(summaries))


class Perceiver(nn.Module):
    LATENTS = 32

    def __init__(self):
        super().__init__()
        self.embedding, self.latents = Embedding(), nn.Parameter(0.02 * torch.randn(self.LATENTS, DIM))
        self.reads = nn.ModuleList(CrossBlock(DIM, HEADS) for _ in range(2))
        self.thinks = nn.ModuleList(Block(DIM, HEADS) for _ in range(2))
        self.norm, self.readout, self.readout_norm = nn.LayerNorm(DIM, EPSILON), CrossBlock(DIM, HEADS), nn.LayerNorm(DIM, EPSILON)

    def forward(self, streams):
        given = self.embedding(streams)
        tokens, _, seen = joined(given)
        x = self.latents.expand(BATCH, -1, -1)
        for read, think in zip(self.reads, self.thinks):
            x = think(read(x, tokens, seen))
        latents = self.norm(x)
        self.tokens = self.readout_norm(self.readout(given[0], latents))
        return latents.mean(1)


VECTORS = {
    "adaptive_hierarchical": AdaptiveHierarchical,
    "gated": Gated,
    "late": Late,
    "low_rank": LowRank,
    "tensor": TensorFusion,
}
TOKENS = {
    "bottleneck": Bottleneck,
    "cross_attention": CrossAttention,
    "early": Early,
    "mult": Mult,
    "perceiver": Perceiver,
    "token_attention": TokenAttention,
}


def fused(kind: type[nn.Module], seq: int):
    fusion, streams = kind(), [random(BATCH, seq, width) for width in WIDTHS]
    return case(lambda: fusion(streams), streams, fusion)


CASES = {f"{name}_vectors": partial(fused, kind, 1) for name, kind in (VECTORS | TOKENS).items()}
CASES |= {f"{name}_tokens": partial(fused, kind, ALIGNED) for name, kind in TOKENS.items()}
