"""Heads, positions and windows: loops over rows, heads and queries in f64 are the oracle, in which a key that must not be seen is left
out rather than masked. They are held to transformers where it has the block, and otherwise to torch's usual matrices."""

import math
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as functional
from transformers import T5Config
from transformers.masking_utils import sliding_window_causal_mask_function
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb as rotate_neighbours
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as rotate_halves
from transformers.models.t5.modeling_t5 import T5Attention

import weights
from fixture import Fixture, same
from weights import tensor

# ------------------------------------------------------------------------------------- two ways to compute the same


def attend_by_hand(query, key, value, seen, bias=None):
    """One softmax a row, head and query; `seen(row, query, key)` says which keys there are. Fewer key heads are shared."""
    batch, heads, queries, dim = query.shape
    group = heads // key.shape[1]
    result = []
    for row in range(batch):
        for head in range(heads):
            for q in range(queries):
                places = [k for k in range(key.shape[2]) if seen(row, q, k)]
                if not places:
                    result.append(torch.zeros(value.shape[3], dtype=value.dtype))
                    continue
                scores = torch.stack([query[row, head, q] @ key[row, head // group, k] / math.sqrt(dim) for k in places])
                if bias is not None:
                    scores = scores + torch.stack([bias[0, head, q, k] for k in places])
                weight = torch.exp(scores - scores.max())
                weight = weight / weight.sum()
                result.append(sum(weight[i] * value[row, head // group, k] for i, k in enumerate(places)))
    return torch.stack(result).reshape(batch, heads, queries, -1)


def attend_by_torch(query, key, value, seen, bias=None):
    marks = [[[seen(r, q, k) for k in range(key.shape[2])] for q in range(query.shape[2])] for r in range(len(query))]
    mask = torch.zeros(len(query), 1, query.shape[2], key.shape[2], dtype=query.dtype)
    mask = mask.masked_fill(~torch.tensor(marks)[:, None], -math.inf)
    mask = mask if bias is None else mask + bias
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)


def norm_by_hand(x, p, name, epsilon):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + epsilon) * p[f"{name}.weight"] + p[f"{name}.bias"]


def norm_by_torch(x, p, name, epsilon):
    return functional.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], epsilon)


HAND = SimpleNamespace(attend=attend_by_hand, norm=norm_by_hand)
TORCH = SimpleNamespace(attend=attend_by_torch, norm=norm_by_torch)


def linear(x, p, name):
    y = x @ p[f"{name}.weight"].T
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def split(x, heads):
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def join(x):
    return x.transpose(1, 2).flatten(2)


def multi_head(ops, p, name, x, context, heads, seen, key_heads=None, bias=None):
    query = split(linear(x, p, f"{name}query"), heads)
    key, value = (split(linear(context, p, f"{name}{part}"), key_heads or heads) for part in ("key", "value"))
    return linear(join(ops.attend(query, key, value, seen, bias)), p, f"{name}output")


def mlp(p, name, x, activation=functional.gelu):
    return linear(activation(linear(x, p, f"{name}.up")), p, f"{name}.down")


def within(lengths):
    """Padding: what a row keeps is seen by all."""
    return lambda row, _, key: key < lengths[row]


# --------------------------------------------------------------------------------------------------- writing a case


def shapes_of_linear(name, output, given, bias=True):
    return {f"{name}.weight": (output, given)} | ({f"{name}.bias": (output,)} if bias else {})


def shapes_of_norm(*names, dim):
    return {f"{name}.{part}": (dim,) for name in names for part in ("weight", "bias")}


def shapes_of_attention(prefix, dim, context_dim, inner, key_inner, bias=True):
    sizes = {"query": (inner, dim), "key": (key_inner, context_dim), "value": (key_inner, context_dim), "output": (dim, inner)}
    return {n: s for part, size in sizes.items() for n, s in shapes_of_linear(f"{prefix}{part}", *size, bias).items()}


def shapes_of_mlp(name, dim, hidden, bias=True):
    return shapes_of_linear(f"{name}.up", hidden, dim, bias) | shapes_of_linear(f"{name}.down", dim, hidden, bias)


def write(
    folder: Path, case: str, config: dict, given: dict, shapes: dict, exactly, nearly, fixed: dict | None = None, most=1e-11, around=0.0
) -> None:
    """`exactly` and `nearly` take inputs and parameters by name and give outputs by name; the loss weighs every output by a probe,
    whose numbers are around that given."""
    probe = lambda name, shape: tensor(f"{case}.probe.{name}", shape) + around
    fixture = Fixture(f"attention_{case}", config)
    results = []
    for function, kind in [(exactly, torch.float64), (nearly, torch.float32), (nearly, torch.float64)]:
        inputs = {name: value.to(kind, copy=True).requires_grad_() for name, value in given.items()}
        values = {n: torch.from_numpy(weights.values(n, s)).to(kind, copy=True).requires_grad_() for n, s in shapes.items()}
        outputs = function(inputs, values)
        loss = sum((value * probe(name, value.shape).to(kind)).sum() for name, value in outputs.items())
        loss.backward()
        gradients = {name: value.grad for name, value in (inputs | values).items()}
        results.append((outputs | {"loss": loss.reshape(1)}, gradients))
    (outputs, own), (outputs_32, own_32), (outputs_64, own_64) = results
    for name, value in (given | (fixed or {})).items():
        fixture.give(name, value)
    for name, value in outputs.items():
        same(value, outputs_64[name], f"{case}: {name}", most)
        fixture.expect(name, value, outputs_32[name])
        if name != "loss":
            fixture.give(f"probe.{name}", probe(name, value.shape))
    for name, value in own.items():
        same(value, own_64[name], f"{case}: gradient of {name}", 10 * most)
    fixture.expect_gradients(own, own_32)
    fixture.write(folder)


# ------------------------------------------------------------------------------------------------ heads and places


def grouped(folder: Path, key_heads: int, case: str) -> None:
    """Fewer key heads, causal with two keys before the first query, a bias, padding, and a row that may see nothing."""
    dim, context_dim, heads, head_dim, queries, keys, lengths = 12, 9, 4, 5, 4, 6, [6, 3, 0]
    given = {
        "x": tensor(f"{case}.x", (3, queries, dim)),
        "context": tensor(f"{case}.context", (3, keys, context_dim)),
        "bias": tensor(f"{case}.bias", (1, heads * queries, keys)),
    }

    def compute(ops):
        def run(i, p):
            seen = lambda row, q, k: k < lengths[row] and k <= q + keys - queries
            bias = i["bias"].reshape(1, heads, queries, keys)
            return {"output": multi_head(ops, p, "", i["x"], i["context"], heads, seen, key_heads, bias)}

        return run

    shapes = shapes_of_attention("", dim, context_dim, heads * head_dim, key_heads * head_dim)
    config = dict(dim=dim, context_dim=context_dim, heads=heads, key_heads=key_heads, head_dim=head_dim, lengths=lengths)
    write(folder, case, config, given, shapes, compute(HAND), compute(TORCH))


def grouped_query(folder: Path) -> None:
    grouped(folder, 2, "grouped")


def multi_query(folder: Path) -> None:
    grouped(folder, 1, "multi_query")


def rotary(folder: Path, case: str, head_dim: int, dim: int, first: int) -> None:
    """Two heads at places from `first` on; `dim` of `head_dim` numbers are rotated."""
    heads, seq, base = 2, 5, 10_000.0
    given = {name: tensor(f"{case}.{name}", (2, heads * seq, head_dim)) for name in ("query", "key")}

    def rotated(x):
        """A complex number a pair, turned by multiplication."""
        x = x.reshape(2, heads, seq, head_dim)
        one, other = (x[..., : dim // 2], x[..., dim // 2 : dim]) if case == "rotary_halves" else (x[..., :dim:2], x[..., 1:dim:2])
        angles = torch.tensor([[(first + p) * base ** (-2 * i / dim) for i in range(dim // 2)] for p in range(seq)], dtype=torch.float64)
        turned = torch.complex(one, other) * torch.polar(torch.ones_like(angles), angles)
        parts = [turned.real, turned.imag]
        joined = torch.cat(parts, -1) if case == "rotary_halves" else torch.stack(parts, -1).flatten(-2)
        return torch.cat([joined, x[..., dim:]], -1).reshape(2, heads * seq, head_dim)

    def by_transformers(i, _):
        kind = i["query"].dtype
        angles = (torch.arange(first, first + seq).double()[:, None] / base ** (torch.arange(0, dim, 2).double() / dim))[None]
        both = [i[name].reshape(2, heads, seq, head_dim) for name in ("query", "key")]
        turning, still = [x[..., :dim] for x in both], [x[..., dim:] for x in both]
        if case == "rotary_halves":
            angles = torch.cat([angles, angles], -1)
            turned = rotate_halves(*turning, angles.cos().to(kind), angles.sin().to(kind))
        else:
            sine, cosine = angles.sin().to(kind), angles.cos().to(kind)
            turned = [rotate_neighbours(x.transpose(1, 2), sine, cosine).transpose(1, 2) for x in turning]
        joined = [torch.cat(parts, -1).reshape(2, heads * seq, head_dim) for parts in zip(turned, still)]
        return {"rotated_query": joined[0], "rotated_key": joined[1]}

    exactly = lambda i, _: {f"rotated_{name}": rotated(i[name]) for name in ("query", "key")}
    config = dict(heads=heads, dim=dim, first=first, base=base)
    write(folder, case, config, given, {}, exactly, by_transformers)


def rotary_halves(folder: Path) -> None:
    rotary(folder, "rotary_halves", 6, 6, 3)


def rotary_interleaved(folder: Path) -> None:
    rotary(folder, "rotary_interleaved", 8, 6, 4000)


def alibi(folder: Path) -> None:
    """Six heads, no power of two; BLOOM's bias differs by a number a query, which the softmax does not see."""
    dim, heads, seq, lengths = 12, 6, 5, [5, 3]
    given = {"x": tensor("alibi.x", (2, seq, dim))}
    seen = lambda row, q, k: k < lengths[row] and k <= q
    # Of four heads, and then the first, third, .. of eight.
    slopes = torch.tensor([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]).double()
    distance = torch.tensor([[abs(q - k) for k in range(seq)] for q in range(seq)]).double()
    own = (-slopes[:, None, None] * distance)[None]
    bloom = build_alibi_tensor(torch.ones(1, seq), heads, torch.float64).reshape(1, heads, 1, seq)

    def compute(ops, bias):
        return lambda i, p: {"output": multi_head(ops, p, "", i["x"], i["x"], heads, seen, None, bias.to(i["x"].dtype))}

    config = dict(dim=dim, heads=heads, lengths=lengths)
    write(folder, "alibi", config, given, shapes_of_attention("", dim, dim, dim, dim), compute(HAND, own), compute(TORCH, bloom))


def relative_bias(folder: Path, case: str, decoder: bool) -> None:
    """T5's buckets of all distances that matter, and its bias for a few queries with keys before them."""
    buckets, furthest, heads, queries, keys, far = 32, 128, 3, 4, 9, 300
    config = T5Config(
        d_model=12, d_kv=4, num_heads=heads, relative_attention_num_buckets=buckets, relative_attention_max_distance=furthest,
        is_decoder=decoder,
    )

    def bucket(distance):
        """Exact near the query, then by the logarithm, counted in whole buckets."""
        count = buckets if decoder else buckets // 2
        size, start = (max(-distance, 0), 0) if decoder else (abs(distance), count if distance > 0 else 0)
        exact = count // 2
        if size < exact:
            return start + size
        # Rounded to six digits before it is cut: at powers of the step a logarithm may come out a hair below a whole number.
        steps = round(math.log(size / exact) / math.log(furthest / exact) * (count - exact), 6)
        return start + min(exact + int(steps), count - 1)

    table = [bucket(d) for d in range(-far, far + 1)]
    theirs = T5Attention._relative_position_bucket(torch.arange(-far, far + 1), not decoder, buckets, furthest)
    assert theirs.tolist() == table, "T5's buckets"

    def by_hand(_, p):
        rows = [[p["table"][bucket(k - q - (keys - queries))] for k in range(keys)] for q in range(queries)]
        return {"bias": torch.stack([torch.stack(row) for row in rows]).permute(2, 0, 1)}

    def by_transformers(_, p):
        attention = T5Attention(config, has_relative_attention_bias=True)
        del attention.relative_attention_bias.weight
        attention.relative_attention_bias.weight = p["table"]
        return {"bias": attention.compute_bias(queries, keys, past_seen_tokens=keys - queries)[0]}

    settings = dict(buckets=buckets, furthest=furthest, heads=heads, queries=queries, keys=keys, far=far)
    fixed = {"buckets": torch.tensor(table)}
    write(folder, case, settings, {}, {"table": (buckets, heads)}, by_hand, by_transformers, fixed)


def relative_both(folder: Path) -> None:
    relative_bias(folder, "relative_bias_both", decoder=False)


def relative_past(folder: Path) -> None:
    relative_bias(folder, "relative_bias_past", decoder=True)


def window(folder: Path, case: str, before: int, after: int) -> None:
    """A sequence of several blocks, padding in one row."""
    dim, heads, key_heads, head_dim, seq, lengths = 8, 2, 1, 4, 37, [37, 22]
    given = {"x": tensor(f"{case}.x", (2, seq, dim))}
    seen = lambda row, q, k: k < lengths[row] and q - before <= k <= q + after
    if after == 0:
        mask = sliding_window_causal_mask_function(before + 1)
        places = range(seq)
        assert all(bool(mask(0, 0, torch.tensor(q), torch.tensor(k))) == (q - before <= k <= q) for q in places for k in places)

    def compute(ops):
        return lambda i, p: {"output": multi_head(ops, p, "", i["x"], i["x"], heads, seen, key_heads)}

    config = dict(dim=dim, heads=heads, key_heads=key_heads, before=before, after=after, lengths=lengths)
    shapes = shapes_of_attention("", dim, dim, heads * head_dim, key_heads * head_dim)
    write(folder, case, config, given, shapes, compute(HAND), compute(TORCH))


def window_causal(folder: Path) -> None:
    window(folder, "window_causal", 4, 0)


def window_around(folder: Path) -> None:
    window(folder, "window_around", 2, 3)


CASES = [
    grouped_query, multi_query, rotary_halves, rotary_interleaved, alibi, relative_both, relative_past, window_causal, window_around,
]
