"""Token-wise fusions, written out row by row: each row's kept tokens of its present modalities and nothing else, so that there is no
mask, no padding and no absence in the oracle. Attention is torch's own."""

import copy
import math
from pathlib import Path

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

import weights
from fixture import Fixture

WIDTHS, HEADS, BATCH = [5, 7, 4], 2, 4
LENGTHS = [[4, 2, 3, 1], [3, 3, 1, 2], [5, 2, 4, 1]]
SEQS = [4, 3, 6]  # the last stream is longer than any of its rows
PRESENT = [[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0]]

Row = list[Tensor | None]


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))
        self.heads = heads

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """[queries, dim] and [keys, dim]"""
        split = lambda y: y.reshape(len(y), self.heads, -1).transpose(0, 1)
        found = functional.scaled_dot_product_attention(split(self.query(x)), split(self.key(context)), split(self.value(context)))
        return self.output(found.transpose(0, 1).reshape(len(x), -1))


class Mlp(nn.Module):
    def __init__(self, dim: int, activation):
        super().__init__()
        self.up, self.down, self.activation = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim), activation

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    """Self-attention."""

    def __init__(self, dim: int, heads: int, activation=functional.gelu):
        super().__init__()
        self.attention, self.attention_norm = Attention(dim, heads), nn.LayerNorm(dim)
        self.mlp, self.mlp_norm = Mlp(dim, activation), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class CrossBlock(Block):
    """To another sequence, of which there may be none."""

    def __init__(self, dim: int, heads: int, activation=functional.gelu, own_norm: bool = True):
        super().__init__(dim, heads, activation)
        self.context_norm = nn.LayerNorm(dim) if own_norm else None

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        if context is not None:
            x = x + self.attention(self.attention_norm(x), (self.context_norm or self.attention_norm)(context))
        return x + self.mlp(self.mlp_norm(x))


def places(seq: int, dim: int) -> Tensor:
    """Rounded to f32, which is what both sides add."""
    table = torch.zeros(seq, dim)
    for i in range(seq):
        for j in range(dim):
            angle = (i + 1) / 10_000 ** ((j - j % 2) / dim)
            table[i, j] = math.cos(angle) if j % 2 else math.sin(angle)
    return table


class Embedding(nn.Module):
    def __init__(self, dim: int, marks: bool = True):
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(width, dim) for width in WIDTHS)
        self.marks = nn.Parameter(torch.zeros(len(WIDTHS), dim)) if marks else None

    def forward(self, row: Row) -> Row:
        found = []
        for m, x in enumerate(row):
            if x is not None:
                x = self.projections[m](x) + (0 if self.marks is None else self.marks[m])
                x = x + places(*x.shape).to(x.dtype)
            found.append(x)
        return found


class EarlyTokens(nn.Module):
    def __init__(self, dim: int, layers: int):
        super().__init__()
        self.embedding, self.norm = Embedding(dim), nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(Block(dim, HEADS) for _ in range(layers))

    def forward(self, row: Row):
        row = self.embedding(row)
        x = torch.cat([x for x in row if x is not None])
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return x.mean(0), None if row[0] is None else x[: len(row[0])], None


class EarlyInputs(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.up, self.down = nn.Linear(sum(WIDTHS), 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, row: Row):
        means = [self.up.bias.new_zeros(width) if x is None else x.mean(0) for x, width in zip(row, WIDTHS)]
        read = lambda first: self.down(functional.gelu(self.up(torch.cat([first, *means[1:]]))))
        tokens = None if row[0] is None else torch.stack([read(token) for token in row[0]])
        return read(means[0]), tokens, None


class Source(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(dim), Attention(dim, HEADS)


class CrossAttentionLayer(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm, self.mlp_norm, self.mlp = nn.LayerNorm(dim), nn.LayerNorm(dim), Mlp(dim, functional.gelu)
        self.sources = nn.ModuleList(Source(dim) for _ in WIDTHS[1:])


class CrossAttention(nn.Module):
    def __init__(self, dim: int, layers: int):
        super().__init__()
        self.embedding, self.norm = Embedding(dim), nn.LayerNorm(dim)
        self.stand_in, self.score = nn.Parameter(torch.zeros(1, dim)), nn.Linear(dim, 1)
        self.layers = nn.ModuleList(CrossAttentionLayer(dim) for _ in range(layers))

    def forward(self, row: Row):
        row = self.embedding(row)
        there = [m for m, x in enumerate(row) if x is not None]
        shares = torch.cat([self.score(row[m].mean(0)) for m in there]).softmax(0)
        leaned = dict(zip(there, shares))
        x = self.stand_in if row[0] is None else row[0]
        for layer in self.layers:
            asking = layer.norm(x)
            for m in there:
                if m > 0:
                    source = layer.sources[m - 1]
                    x = x + leaned[m] * source.attention(asking, source.norm(row[m]))
            x = x + layer.mlp(layer.mlp_norm(x))
        x = self.norm(x)
        zero = shares.new_zeros(())
        return x.mean(0), None if row[0] is None else x, torch.stack([leaned.get(m, zero) for m in range(len(row))])


class BottleneckLayer(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, HEADS) for _ in WIDTHS)


class Bottleneck(nn.Module):
    def __init__(self, dim: int, layers: int, fusion_layer: int, bottlenecks: int):
        super().__init__()
        self.embedding, self.norm = Embedding(dim), nn.LayerNorm(dim)
        self.bottlenecks, self.fusion_layer = nn.Parameter(torch.zeros(bottlenecks, dim)), fusion_layer
        self.layers = nn.ModuleList(BottleneckLayer(dim) for _ in range(layers))

    def forward(self, row: Row):
        own = {m: x for m, x in enumerate(self.embedding(row)) if x is not None}
        shared = self.bottlenecks
        for index, layer in enumerate(self.layers):
            if index < self.fusion_layer:
                own = {m: layer.blocks[m](x) for m, x in own.items()}
                continue
            both = {m: layer.blocks[m](torch.cat([x, shared])) for m, x in own.items()}
            shared = torch.stack([y[len(own[m]) :] for m, y in both.items()]).mean(0)
            own = {m: y[: len(own[m])] for m, y in both.items()}
        own = {m: self.norm(x) for m, x in own.items()}
        return torch.stack([x.mean(0) for x in own.values()]).mean(0), own.get(0), None


class Pair(nn.Module):
    def __init__(self, dim: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(CrossBlock(dim, HEADS, functional.relu, own_norm=False) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, source: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, source)
        return self.norm(x)


class Memory(nn.Module):
    def __init__(self, dim: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(Block(dim, HEADS, functional.relu) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class Mult(nn.Module):
    """As src/models.py of the authors' code: trans_l_with_a is pairs[l][its place of a], trans_l_mem is memories[l]."""

    def __init__(self, dim: int, layers: int, memory_layers: int):
        super().__init__()
        others = len(WIDTHS) - 1
        self.embedding = Embedding(dim, marks=False)
        self.pairs = nn.ModuleList(nn.ModuleList(Pair(dim, layers) for _ in range(others)) for _ in WIDTHS)
        self.memories = nn.ModuleList(Memory(others * dim, memory_layers) for _ in WIDTHS)
        combined = len(WIDTHS) * others * dim
        self.residual_up, self.residual_down = nn.Linear(combined, combined), nn.Linear(combined, combined)
        self.output, self.token_output = nn.Linear(combined, dim), nn.Linear(others * dim, dim)
        self.width = others * dim

    def forward(self, row: Row):
        text, audio, image = self.embedding(row)
        (text_with_audio, text_with_image), (audio_with_text, audio_with_image), (image_with_text, image_with_audio) = self.pairs
        h: Row = [None, None, None]
        if text is not None:
            h[0] = self.memories[0](torch.cat([text_with_audio(text, audio), text_with_image(text, image)], dim=1))
        if audio is not None:
            h[1] = self.memories[1](torch.cat([audio_with_text(audio, text), audio_with_image(audio, image)], dim=1))
        if image is not None:
            h[2] = self.memories[2](torch.cat([image_with_text(image, text), image_with_audio(image, audio)], dim=1))
        last = torch.cat([self.output.bias.new_zeros(self.width) if x is None else x[-1] for x in h])
        embedding = self.output(last + self.residual_down(functional.relu(self.residual_up(last))))
        return embedding, None if h[0] is None else self.token_output(h[0]), None


class PerceiverLayer(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.read, self.think = CrossBlock(dim, HEADS), Block(dim, HEADS)


class Perceiver(nn.Module):
    def __init__(self, dim: int, layers: int, latents: int):
        super().__init__()
        self.embedding, self.norm, self.readout_norm = Embedding(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.latents, self.readout = nn.Parameter(torch.zeros(latents, dim)), CrossBlock(dim, HEADS)
        self.layers = nn.ModuleList(PerceiverLayer(dim) for _ in range(layers))

    def forward(self, row: Row):
        row = self.embedding(row)
        everything, x = torch.cat([x for x in row if x is not None]), self.latents
        for layer in self.layers:
            x = layer.think(layer.read(x, everything))
        x = self.norm(x)
        return x.mean(0), None if row[0] is None else self.readout_norm(self.readout(row[0], x)), None


def fuse(module: nn.Module, streams: list[Tensor], dim: int):
    """Row by row, and put together again: zero where there is no token of the anchor."""
    embeddings, tokens, leaned = [], [], []
    for row in range(BATCH):
        kept = [x[row, : LENGTHS[m][row]] if PRESENT[row][m] else None for m, x in enumerate(streams)]
        embedding, own, shares = module(kept)
        own = embedding.new_zeros(0, dim) if own is None else own
        embeddings.append(embedding)
        tokens.append(functional.pad(own, (0, 0, 0, SEQS[0] - len(own))))
        leaned.append(shares)
    return torch.stack(embeddings), torch.stack(tokens), None if leaned[0] is None else torch.stack(leaned)


def case(folder: Path, kind: str, config: dict, make, prefix: str = "", most_entries: int = 256, entries: int = 32) -> None:
    dim = config["dim"]
    name = f"fusion_{kind}"
    streams = [weights.tensor(f"{name}.stream.{m}", (BATCH, SEQS[m], width)) for m, width in enumerate(WIDTHS)]
    probes = {
        "embedding": weights.tensor(f"{name}.probe.embedding", (BATCH, dim)),
        "tokens": weights.tensor(f"{name}.probe.tokens", (BATCH, SEQS[0], dim)),
        "weights": weights.tensor(f"{name}.probe.weights", (BATCH, len(WIDTHS))),
    }
    sizes = {"lengths": LENGTHS, "present": PRESENT}
    fixture = Fixture(name, {"fusion": {**config, "streams": list(zip(["text", "audio", "image"], WIDTHS))}, **sizes}, most_entries, entries)
    for m, stream in enumerate(streams):
        fixture.give(f"stream.{m}", stream)
    module = make()
    weights.fill(module, prefix)
    results = []
    for module in (copy.deepcopy(module).double(), module.float()):
        dtype = next(module.parameters()).dtype
        inputs = [stream.to(dtype, copy=True).requires_grad_() for stream in streams]
        parts = dict(zip(["embedding", "tokens", "weights"], fuse(module, inputs, dim)))
        parts = {part: value for part, value in parts.items() if value is not None}
        loss = sum((value * probes[part].to(dtype)).sum() for part, value in parts.items())
        loss.backward()
        gradients = {prefix + own: p.grad for own, p in module.named_parameters()}
        gradients |= {f"stream.{m}": x.grad for m, x in enumerate(inputs)}
        results.append((parts | {"loss": loss.reshape(1)}, gradients))
    (parts, own), (parts_32, own_32) = results
    for part, value in parts.items():
        if part != "loss":
            fixture.give(f"probe.{part}", probes[part])
        fixture.expect(part, value, parts_32[part])
    fixture.expect_gradients(own, own_32)
    fixture.write(folder)


def early_tokens(folder: Path) -> None:
    config = {"kind": "early", "dim": 8, "heads": HEADS, "layers": 2, "positions": True, "concatenation": "tokens"}
    case(folder, "early_tokens", config, lambda: EarlyTokens(8, 2), prefix="network.")


def early_inputs(folder: Path) -> None:
    config = {"kind": "early", "dim": 8, "heads": HEADS, "layers": 1, "positions": False, "concatenation": "inputs"}
    case(folder, "early_inputs", config, lambda: EarlyInputs(8), prefix="network.")


def cross_attention(folder: Path) -> None:
    config = {"kind": "cross_attention", "dim": 8, "heads": HEADS, "layers": 2, "positions": True}
    case(folder, "cross_attention", config, lambda: CrossAttention(8, 2))


def bottleneck(folder: Path) -> None:
    config = {"kind": "bottleneck", "dim": 8, "heads": HEADS, "bottlenecks": 3, "layers": 3, "fusion_layer": 1, "positions": True}
    case(folder, "bottleneck", config, lambda: Bottleneck(8, 3, 1, 3), most_entries=64, entries=16)


def mult(folder: Path) -> None:
    config = {"kind": "mult", "dim": 6, "heads": HEADS, "layers": 2, "memory_layers": 1}
    case(folder, "mult", config, lambda: Mult(6, 2, 1), most_entries=64, entries=12)


def perceiver(folder: Path) -> None:
    config = {"kind": "perceiver", "dim": 8, "heads": HEADS, "latents": 3, "layers": 2, "positions": True}
    case(folder, "perceiver", config, lambda: Perceiver(8, 2, 3))


CASES = [early_tokens, early_inputs, cross_attention, bottleneck, mult, perceiver]
