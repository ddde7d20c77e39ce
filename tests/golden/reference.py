"""Florin's document model and its parts in plain PyTorch, for golden tests and for `tests/peers`.

Attributes carry the names of Florin's fields, so that a state dictionary has Florin's names. What transformers or a
written-out loop also defines is checked against it by `generate.py` before a fixture is written.
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class BertSizes:
    """Hugging Face's names."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12


@dataclass
class LayoutSizes:
    bins: int
    lines: int
    words: int
    print_features: int
    dim: int


@dataclass
class VitSizes:
    height: int
    width: int
    patch: int
    channels: int
    dim: int
    layers: int
    heads: int
    hidden: int
    class_token: bool
    epsilon: float

    @property
    def patches(self) -> int:
        return (self.height // self.patch) * (self.width // self.patch)


@dataclass
class DocumentSizes:
    fields: list[str]
    text: BertSizes
    layout: LayoutSizes | None
    image: VitSizes | None
    dim: int = 256
    heads: int = 8
    blocks: int = 2
    distance_buckets: int = 32
    longest_span: int = 48
    window: int = 384
    pieces_per_word: int = 6
    dropout: float = 0.0
    text_context: str = "document"  # or "line": each line read alone by an encoder that does not learn
    text_states: list[int] = field(default_factory=list)  # hidden states put side by side; none: the last
    model_type: str = "florin-document"

    def __post_init__(self):
        self.text_states = self.text_states or [self.text.num_hidden_layers]


@dataclass
class Batch:
    """What `DocumentBatch` holds, with True where a position is real."""

    piece_ids: Tensor  # [windows, seq]
    piece_kept: Tensor  # [windows, seq]
    piece_index: Tensor  # [batch, words, pieces]
    piece_weight: Tensor  # [batch, words, pieces]
    vectors: Tensor | None  # [batch, words, text width]: instead of the pieces, what an encoder that does not learn once gave
    line_mean: Tensor  # [batch, words, words]
    left_mean: Tensor  # [batch, words, words]
    above_mean: Tensor  # [batch, words, words]
    boxes: Tensor  # [batch, words, 6]
    ordinals: Tensor  # [batch, words, 4]
    print: Tensor  # [batch, words, features]
    horizontal: Tensor  # [batch, words, words]
    vertical: Tensor  # [batch, words, words]
    kept: Tensor  # [batch, words]
    patches: Tensor | None  # [batch, patches, pixels]
    pooling: Tensor | None  # [batch, words, patches]
    picture_present: Tensor | None  # [batch]


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.value, self.output = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.heads = heads

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """`seen` is a boolean mask (True: may be seen) or an additive one."""
        batch, seq, dim = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(batch, seq, self.heads, dim // self.heads).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.output(mixed.transpose(1, 2).reshape(batch, seq, dim))


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """A transformer block, norms before (ViT) or after (BERT) each branch."""

    def __init__(self, dim: int, heads: int, hidden: int, epsilon: float, before: bool):
        super().__init__()
        self.attention, self.attention_norm = Attention(dim, heads), nn.LayerNorm(dim, eps=epsilon)
        self.mlp, self.mlp_norm = Mlp(dim, hidden), nn.LayerNorm(dim, eps=epsilon)
        self.before = before

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        if self.before:
            x = x + self.attention(self.attention_norm(x), seen)
            return x + self.mlp(self.mlp_norm(x))
        x = self.attention_norm(x + self.attention(x, seen))
        return self.mlp_norm(x + self.mlp(x))


class Bert(nn.Module):
    def __init__(self, sizes: BertSizes):
        super().__init__()
        dim = sizes.hidden_size
        self.word_embeddings = nn.Embedding(sizes.vocab_size, dim)
        self.position_embeddings = nn.Embedding(sizes.max_position_embeddings, dim)
        self.token_type_embeddings = nn.Embedding(sizes.type_vocab_size, dim)
        self.embedding_norm = nn.LayerNorm(dim, eps=sizes.layer_norm_eps)
        heads, hidden, epsilon = sizes.num_attention_heads, sizes.intermediate_size, sizes.layer_norm_eps
        self.layers = nn.ModuleList(
            Block(dim, heads, hidden, epsilon, before=False) for _ in range(sizes.num_hidden_layers)
        )

    def forward(self, ids: Tensor, kept: Tensor) -> list[Tensor]:
        """All hidden states, the embeddings' first."""
        position = self.position_embeddings.weight[: ids.shape[1]]
        x = self.embedding_norm(self.word_embeddings(ids) + position + self.token_type_embeddings.weight[0])
        seen = None if bool(kept.all()) else kept[:, None, None, :]
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1], seen))
        return states


class Vit(nn.Module):
    def __init__(self, sizes: VitSizes):
        super().__init__()
        self.patch_embedding = nn.Linear(sizes.channels * sizes.patch**2, sizes.dim)
        self.class_token = nn.Parameter(torch.zeros(1, 1, sizes.dim)) if sizes.class_token else None
        tokens = sizes.patches + int(sizes.class_token)
        self.position_embeddings = nn.Parameter(torch.zeros(1, tokens, sizes.dim))
        self.layers = nn.ModuleList(
            Block(sizes.dim, sizes.heads, sizes.hidden, sizes.epsilon, before=True) for _ in range(sizes.layers)
        )
        self.norm = nn.LayerNorm(sizes.dim, eps=sizes.epsilon)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.patch_embedding(patches)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = x + self.position_embeddings
        for layer in self.layers:
            x = layer(x, None)
        return self.norm(x)


class Layout(nn.Module):
    def __init__(self, sizes: LayoutSizes):
        super().__init__()
        self.horizontal, self.vertical = nn.Embedding(sizes.bins, sizes.dim), nn.Embedding(sizes.bins, sizes.dim)
        self.width, self.height = nn.Embedding(sizes.bins, sizes.dim), nn.Embedding(sizes.bins, sizes.dim)
        self.line_from_top = nn.Embedding(sizes.lines, sizes.dim)
        self.line_from_bottom = nn.Embedding(sizes.lines, sizes.dim)
        self.word_from_start = nn.Embedding(sizes.words, sizes.dim)
        self.word_from_end = nn.Embedding(sizes.words, sizes.dim)
        self.print = nn.Linear(sizes.print_features, sizes.dim)
        self.norm = nn.LayerNorm(sizes.dim, eps=1e-5)

    def forward(self, boxes: Tensor, ordinals: Tensor, features: Tensor) -> Tensor:
        left, top, right, bottom, width, height = boxes.unbind(-1)
        from_top, from_bottom, from_start, from_end = ordinals.unbind(-1)
        place = self.horizontal(left) + self.horizontal(right) + self.vertical(top) + self.vertical(bottom)
        size = self.width(width) + self.height(height)
        line = self.line_from_top(from_top) + self.line_from_bottom(from_bottom)
        word = self.word_from_start(from_start) + self.word_from_end(from_end)
        return self.norm(place + size + line + word + self.print(features))


class TokenAttention(nn.Module):
    """Attention of each token over its modalities."""

    def __init__(self, widths: list[int], dim: int, heads: int):
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(width, dim) for width in widths)
        self.marks = nn.Parameter(torch.zeros(len(widths), dim))
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.value, self.output = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-5)
        self.heads = heads

    def forward(self, streams: list[Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        """Streams [batch, seq, width] and whether each row has them [batch, streams]: tokens, and weights [batch, seq, streams]."""
        projected = [project(x) + mark for project, mark, x in zip(self.projections, self.marks, streams)]
        h = torch.stack(projected, dim=2) * present[:, None, :, None].to(projected[0].dtype)  # [batch, seq, stream, dim]
        total = h.sum(2)
        batch, seq, count, dim = h.shape
        head_dim = dim // self.heads
        query = self.query(total).view(batch, seq, 1, self.heads, head_dim)
        key = self.key(h).view(batch, seq, count, self.heads, head_dim)
        value = self.value(h).view(batch, seq, count, self.heads, head_dim)
        scores = (query * key).sum(-1) / math.sqrt(head_dim)
        weights = scores.masked_fill(~present[:, None, :, None], -math.inf).softmax(2)  # [batch, seq, stream, heads]
        mixed = (weights[..., None] * value).sum(2).reshape(batch, seq, dim)
        return self.norm(total + self.output(mixed)), weights.mean(-1)


class RelativeBias2d(nn.Module):
    def __init__(self, buckets: int, heads: int):
        super().__init__()
        self.horizontal = nn.Parameter(torch.zeros(buckets, heads))
        self.vertical = nn.Parameter(torch.zeros(buckets, heads))

    def forward(self, horizontal: Tensor, vertical: Tensor) -> Tensor:
        bias = F.embedding(horizontal, self.horizontal) + F.embedding(vertical, self.vertical)
        return bias.permute(0, 3, 1, 2)


def row_means(values: Tensor, kept: Tensor) -> Tensor:
    """Means over the kept tokens."""
    kept = kept.to(values.dtype)
    return (values * kept[..., None]).sum(1) / kept.sum(1).clamp(min=1)[:, None]


class Document(nn.Module):
    def __init__(self, sizes: DocumentSizes):
        super().__init__()
        width = len(sizes.text_states) * sizes.text.hidden_size
        self.text, self.text_norm = Bert(sizes.text), nn.LayerNorm(width, eps=1e-5)
        self.text_projection = nn.Linear(width, sizes.dim)
        self.line_text, self.left_text, self.above_text = (nn.Linear(sizes.dim, sizes.dim) for _ in range(3))
        self.text_states, self.text_learns = sizes.text_states, sizes.text_context == "document"
        self.layout = Layout(sizes.layout) if sizes.layout else None
        self.image = Vit(sizes.image) if sizes.image else None
        widths = [sizes.dim]
        widths += [sizes.layout.dim] if sizes.layout else []
        widths += [sizes.image.dim] if sizes.image else []
        self.fusion = TokenAttention(widths, sizes.dim, sizes.heads)
        self.relative_bias = RelativeBias2d(sizes.distance_buckets, sizes.heads)
        self.blocks = nn.ModuleList(
            Block(sizes.dim, sizes.heads, 4 * sizes.dim, 1e-5, before=True) for _ in range(sizes.blocks)
        )
        self.norm = nn.LayerNorm(sizes.dim, eps=1e-5)
        self.head = nn.Linear(sizes.dim, 3 * len(sizes.fields))
        self.none_weight = nn.Linear(sizes.dim, len(sizes.fields), bias=False)
        self.none_bias = nn.Parameter(torch.zeros(len(sizes.fields)))
        self.dropout = nn.Dropout(sizes.dropout)
        self.fields = len(sizes.fields)

    def encode_text(self, batch: Batch) -> Tensor:
        """The mean of each word's pieces in the chosen hidden states."""
        with torch.set_grad_enabled(self.text_learns and torch.is_grad_enabled()):
            states = self.text(batch.piece_ids, batch.piece_kept)
            pieces = torch.cat([states[state] for state in self.text_states], dim=-1).flatten(0, 1)
            return (pieces[batch.piece_index] * batch.piece_weight[..., None]).sum(2)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        words = self.encode_text(batch) if batch.vectors is None else batch.vectors
        words = self.text_projection(self.text_norm(words))
        line, left = self.line_text(batch.line_mean @ words), self.left_text(batch.left_mean @ words)
        words = words + line + left + self.above_text(batch.above_mean @ words)
        streams, present = [words], [torch.ones(words.shape[0], dtype=torch.bool)]
        if self.layout is not None:
            streams.append(self.layout(batch.boxes, batch.ordinals, batch.print))
            present.append(torch.ones(words.shape[0], dtype=torch.bool))
        if self.image is not None and batch.patches is not None:
            streams.append(batch.pooling @ self.image(batch.patches))
            present.append(batch.picture_present)
        streams = [self.dropout(stream) for stream in streams]
        x, weights = self.fusion(streams, torch.stack(present, dim=1))
        x = self.dropout(x)
        bias = self.relative_bias(batch.horizontal, batch.vertical)
        seen = bias.masked_fill(~batch.kept[:, None, None, :], -math.inf)
        for block in self.blocks:
            x = block(x, seen)
        x = self.dropout(self.norm(x))
        start, inside, end = self.head(x).transpose(1, 2).split(self.fields, dim=1)
        none = self.none_weight(row_means(x, batch.kept)) + self.none_bias
        return {"start": start, "inside": inside, "end": end, "none": none, "weights": row_means(weights, batch.kept)}


def span_losses(scores: dict[str, Tensor], lengths: list[int], gold: Tensor, longest: int) -> Tensor:
    """The loss of every document and field, [batch, fields], without loops; `gold` is [batch, fields, words, words]."""
    start, inside, end, none = (scores[name] for name in ("start", "inside", "end", "none"))
    words = start.shape[-1]
    up_to = inside.cumsum(-1)
    spans = (start - (up_to - inside))[..., :, None] + (end + up_to)[..., None, :]
    first, last = torch.arange(words)[:, None], torch.arange(words)[None, :]
    possible = (first <= last) & (last - first < longest) & (last < torch.tensor(lengths)[:, None, None])
    spans = spans.masked_fill(~possible[:, None], -math.inf)
    every = torch.cat([none[..., None], spans.flatten(2)], dim=-1).logsumexp(-1)
    gold = gold & possible[:, None]
    has_gold = gold.flatten(2).any(-1)
    right = spans.masked_fill(~gold, -math.inf).flatten(2)
    right_none = none.masked_fill(has_gold, -math.inf)[..., None]
    return every - torch.cat([right_none, right], dim=-1).logsumexp(-1)


def weighted_mean(losses: Tensor, weight: Tensor) -> Tensor:
    """What is minimised."""
    return (losses * weight).sum() / weight.sum().clamp(min=1)
