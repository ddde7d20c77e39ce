"""The layers that the timed blocks are made of, and how a case is put together."""

from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5


def random(*shape: int) -> Tensor:
    """An input about one, with a gradient."""
    return torch.randn(*shape).requires_grad_()


def case(run: Callable[[], Tensor], inputs: list[Tensor], *modules: nn.Module) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """What is called, and everything that gets a gradient."""
    return run, inputs + [parameter for module in modules for parameter in module.parameters()]


class Attention(nn.Module):
    """Multi-head attention with torch's fused operation; fewer key heads are shared by groups of query heads."""

    def __init__(self, dim: int, heads: int, context_dim: int | None = None, key_heads: int | None = None, biases: bool = True):
        super().__init__()
        self.heads, self.key_heads = heads, key_heads or heads
        width = dim // heads * self.key_heads
        self.query = nn.Linear(dim, dim, bias=biases)
        self.key = nn.Linear(context_dim or dim, width, bias=biases)
        self.value = nn.Linear(context_dim or dim, width, bias=biases)
        self.output = nn.Linear(dim, dim, bias=biases)

    def forward(self, x: Tensor, context: Tensor, seen: Tensor | None = None, causal: bool = False) -> Tensor:
        """`seen` is true, or adds nothing, where a key is seen; broadcastable to [batch, heads, queries, keys]."""
        split = lambda x, heads: x.unflatten(2, (heads, -1)).transpose(1, 2)
        query = split(self.query(x), self.heads)
        key, value = split(self.key(context), self.key_heads), split(self.value(context), self.key_heads)
        shared = self.key_heads != self.heads
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, is_causal=causal, enable_gqa=shared)
        return self.output(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Sequential):
    def __init__(self, dim: int, hidden: int, activation: type[nn.Module] = nn.GELU, biases: bool = True):
        super().__init__(nn.Linear(dim, hidden, bias=biases), activation(), nn.Linear(hidden, dim, bias=biases))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, activation: type[nn.Module] = nn.GELU):
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(dim, EPSILON), nn.LayerNorm(dim, EPSILON)
        self.attention, self.mlp = Attention(dim, heads), Mlp(dim, 4 * dim, activation)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed, seen)
        return x + self.mlp(self.mlp_norm(x))


class CrossBlock(nn.Module):
    """A pre-norm block that reads another sequence; a row without one reads nothing."""

    def __init__(
        self,
        dim: int,
        heads: int,
        activation: type[nn.Module] = nn.GELU,
        one_norm: bool = False,
        context_dim: int | None = None,
    ):
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(dim, EPSILON), nn.LayerNorm(dim, EPSILON)
        self.context_norm = self.attention_norm if one_norm else nn.LayerNorm(context_dim or dim, EPSILON)
        self.attention, self.mlp = Attention(dim, heads, context_dim), Mlp(dim, 4 * dim, activation)

    def forward(self, x: Tensor, context: Tensor, seen: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        found = self.attention(self.attention_norm(x), self.context_norm(context), seen)
        x = x + (found if rows is None else found * rows[:, None, None])
        return x + self.mlp(self.mlp_norm(x))
