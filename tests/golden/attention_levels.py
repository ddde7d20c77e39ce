"""Attention that pools, and attention that decides: loops in f64 that leave out what is absent, held to masked matrices."""

import math
from pathlib import Path

import torch
import torch.nn.functional as functional

from attention import join, linear, shapes_of_attention, shapes_of_linear, split, write
from weights import tensor

# ---------------------------------------------------------------------------------------------------------- levels

DIM, WIDTH = 6, 5
# Tokens of every row, step and segment: empty segments, an empty step, a row without anything.
COUNTS = [[[4, 2, 0], [0, 0, 0], [1, 3, 2]], [[0, 4, 1], [2, 0, 0], [0, 0, 0]], [[0, 0, 0]] * 3]


def pool(p, level, parts):
    """Additive attention over a list of vectors; nothing for none."""
    if not parts:
        return None
    scores = [torch.tanh(linear(h, p, f"{level}.pooling.projection")) @ p[f"{level}.pooling.context"] for h in parts]
    shares = torch.exp(torch.stack(scores))
    return sum(share / shares.sum() * part for share, part in zip(shares, parts))


def or_zero(vector, like):
    return torch.zeros(DIM, dtype=like.dtype) if vector is None else vector


def levels_by_hand(i, p):
    x = i["tokens"].reshape(3, 3, 3, 4, DIM)
    segments, steps, whole = [], [], []
    for row, counts in enumerate(COUNTS):
        days = []
        for step, counts_of_step in enumerate(counts):
            parts = [pool(p, "within", list(x[row, step, s, :count])) for s, count in enumerate(counts_of_step)]
            segments += [or_zero(part, x) for part in parts]
            days.append(pool(p, "across", [part for part in parts if part is not None]))
        steps += [or_zero(day, x) for day in days]
        whole.append(or_zero(pool(p, "over_time", [day for day in days if day is not None]), x))
    return {
        "segments": torch.stack(segments).reshape(9, 3, DIM),
        "steps": torch.stack(steps).reshape(3, 3, DIM),
        "whole": torch.stack(whole).reshape(3, 1, DIM),
    }


def levels_by_matrix(i, p):
    def level(name, x, hidden):
        scores = torch.tanh(linear(x, p, f"{name}.pooling.projection")) @ p[f"{name}.pooling.context"]
        shares = torch.softmax(scores.masked_fill(hidden, -1e30), -1).masked_fill(hidden, 0.0)
        return (shares[..., None] * x).sum(-2), hidden.all(-1)

    x = i["tokens"].reshape(3, 3, 3, 4, DIM)
    hidden = torch.arange(4) >= torch.tensor(COUNTS)[..., None]
    segments, hidden = level("within", x, hidden)
    steps, hidden = level("across", segments, hidden)
    whole, _ = level("over_time", steps, hidden)
    return {"segments": segments.reshape(9, 3, DIM), "steps": steps, "whole": whole[:, None]}


def hierarchical(folder: Path) -> None:
    given = {"tokens": tensor("hierarchical.tokens", (27, 4, DIM), 2.0)}
    shapes = {}
    for level in ("within", "across", "over_time"):
        shapes |= shapes_of_linear(f"{level}.pooling.projection", WIDTH, DIM) | {f"{level}.pooling.context": (WIDTH,)}
    config = dict(dim=DIM, attention_dim=WIDTH, counts=COUNTS)
    write(folder, "hierarchical", config, given, shapes, levels_by_hand, levels_by_matrix)


# ------------------------------------------------------------------------------------------------------- sparsemax


def sparsemax_by_hand(z):
    """Without sorting: an entry has weight exactly if all that lies above it adds up to less than one."""
    inside = [i for i in range(len(z)) if sum(max((other - z[i]).item(), 0.0) for other in z) < 1.0]
    threshold = (sum(z[i] for i in inside) - 1.0) / len(inside)
    return torch.stack([z[i] - threshold if i in inside else z[i] * 0.0 for i in range(len(z))])


def sparsemax_by_sorting(z):
    """Algorithm 1 of Martins and Astudillo."""
    falling = z.sort(dim=-1, descending=True).values
    ranks = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype)
    count = (1 + ranks * falling > falling.cumsum(-1)).sum(-1, keepdim=True)
    threshold = (falling.cumsum(-1).gather(-1, count - 1) - 1) / count
    return torch.clamp(z - threshold, min=0)


def sparsemax(folder: Path) -> None:
    given = {"scores": tensor("sparsemax.scores", (1, 7, 9), 1.5)}
    exactly = lambda i, _: {"weights": torch.stack([sparsemax_by_hand(row) for row in i["scores"][0]])[None]}
    nearly = lambda i, _: {"weights": sparsemax_by_sorting(i["scores"])}
    # Weights are never below zero: with a probe around one the loss does not cancel to nothing but rounding.
    write(folder, "sparsemax", {}, given, {}, exactly, nearly, around=1.0)


# --------------------------------------------------------------------------------------------------------- dynamic

HEADS, SEQ, LENGTHS = 2, 7, [7, 4]
SPAN, RAMP = 4.0, 2.0


def dynamic_by_hand(sparse, causal):
    def run(i, p):
        x = i["x"]
        queries, keys, values = (split(linear(x, p, name), HEADS) for name in ("query", "key", "value"))
        decided = {name: linear(x, p, name) for name in ("span", "sharpness", "gate")}
        mixed, all_weights = [], []
        for row in range(len(x)):
            for head in range(HEADS):
                for q in range(SEQ):
                    span, sharpness, gate = (decided[name][row, q, head] for name in ("span", "sharpness", "gate"))
                    span, gate = SPAN / (1 + torch.exp(-span)), 1 / (1 + torch.exp(-gate))
                    sharpness = torch.log(1 + torch.exp(sharpness)) / math.log(2)
                    reach = {k: torch.clamp((RAMP + span - abs(q - k)) / RAMP, 0, 1) for k in range(LENGTHS[row])}
                    places = [k for k, m in reach.items() if m > 0 and not (causal and k > q)]
                    size = queries.shape[-1]
                    scores = [queries[row, head, q] @ keys[row, head, k] / math.sqrt(size) * sharpness for k in places]
                    if sparse:
                        shares = sparsemax_by_hand(torch.stack([s + torch.log(reach[k]) for s, k in zip(scores, places)]))
                    else:
                        shares = torch.stack([torch.exp(s) * reach[k] for s, k in zip(scores, places)])
                        shares = shares / shares.sum()
                    mixed.append(gate * sum(share * values[row, head, k] for share, k in zip(shares, places)))
                    line = [shares[places.index(k)] if k in places else x[0, 0, 0] * 0 for k in range(SEQ)]
                    all_weights.append(torch.stack(line))
        joined = join(torch.stack(mixed).reshape(len(x), HEADS, SEQ, -1))
        weights = torch.stack(all_weights).reshape(len(x), HEADS * SEQ, SEQ)
        return of_kept(linear(joined, p, "output"), weights)

    return run


def of_kept(output, weights):
    """What padded queries give means nothing."""
    kept = (torch.arange(SEQ) < torch.tensor(LENGTHS)[:, None]).to(output.dtype)[..., None]
    return {"output": output * kept, "weights": weights * kept.repeat(1, HEADS, 1)}


def dynamic_by_matrix(sparse, causal):
    def run(i, p):
        x = i["x"]
        queries, keys, values = (split(linear(x, p, name), HEADS) for name in ("query", "key", "value"))
        span, sharpness, gate = (linear(x, p, name).transpose(1, 2)[..., None] for name in ("span", "sharpness", "gate"))
        scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1]) * functional.softplus(sharpness) / math.log(2)
        places = torch.arange(SEQ)
        distance = (places[:, None] - places).abs().to(x.dtype)
        reach = torch.clamp((RAMP + SPAN * torch.sigmoid(span) - distance) / RAMP, 0, 1)
        hidden = (places >= torch.tensor(LENGTHS)[:, None])[:, None, None, :] | (reach <= 0)
        hidden = hidden | (places > places[:, None]) if causal else hidden
        if sparse:
            weights = sparsemax_by_sorting((scores + torch.log(reach.masked_fill(hidden, 1.0))).masked_fill(hidden, -1e4))
        else:
            shares = torch.exp(scores.masked_fill(hidden, -1e4)) * reach
            weights = shares / shares.sum(-1, keepdim=True)
        mixed = weights @ values * torch.sigmoid(gate)
        return of_kept(linear(join(mixed), p, "output"), weights.reshape(len(x), HEADS * SEQ, SEQ))

    return run


def dynamic(folder: Path, case: str, sparse: bool, causal: bool) -> None:
    dim = 8
    given = {"x": tensor(f"{case}.x", (2, SEQ, dim), 4.0)}
    shapes = shapes_of_attention("", dim, dim, dim, dim)
    for name in ("span", "sharpness", "gate"):
        shapes |= shapes_of_linear(name, HEADS, dim)
    config = dict(dim=dim, heads=HEADS, span=SPAN, ramp=RAMP, lengths=LENGTHS)
    write(folder, case, config, given, shapes, dynamic_by_hand(sparse, causal), dynamic_by_matrix(sparse, causal))


def dynamic_soft(folder: Path) -> None:
    dynamic(folder, "dynamic_soft", sparse=False, causal=True)


def dynamic_sparse(folder: Path) -> None:
    dynamic(folder, "dynamic_sparse", sparse=True, causal=False)


CASES = [hierarchical, sparsemax, dynamic_soft, dynamic_sparse]
