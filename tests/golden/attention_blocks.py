"""Blocks of several modalities and few tokens for many: the same loops in f64, held to transformers' Idefics or torch's matrices."""

from pathlib import Path

import torch
import torch.nn.functional as functional
from transformers import IdeficsConfig
from transformers.models.idefics.perceiver import IdeficsPerceiverResampler

from attention import (
    HAND, TORCH, linear, mlp, multi_head, shapes_of_attention, shapes_of_linear, shapes_of_mlp, shapes_of_norm, within, write,
)
from weights import tensor

# ------------------------------------------------------------------------------------------------- two modalities


def cross_modal(folder: Path) -> None:
    """The second row's source is padded, the third row has none."""
    dim, source_dim, heads, hidden, lengths = 12, 8, 3, 20, [5, 2, 0]
    given = {"x": tensor("cross_modal.x", (3, 4, dim)), "source": tensor("cross_modal.source", (3, 5, source_dim))}
    there = torch.tensor([length > 0 for length in lengths]).double()[:, None, None]

    def compute(ops):
        def run(i, p):
            x, source = i["x"], ops.norm(i["source"], p, "source_norm", 1e-5)
            asking = ops.norm(x, p, "attention_norm", 1e-5)
            x = x + multi_head(ops, p, "attention.", asking, source, heads, within(lengths)) * there.to(x.dtype)
            return {"output": x + mlp(p, "mlp", ops.norm(x, p, "mlp_norm", 1e-5))}

        return run

    shapes = shapes_of_norm("attention_norm", "mlp_norm", dim=dim) | shapes_of_norm("source_norm", dim=source_dim)
    shapes |= shapes_of_attention("attention.", dim, source_dim, dim, dim) | shapes_of_mlp("mlp", dim, hidden)
    config = dict(dim=dim, source_dim=source_dim, heads=heads, hidden=hidden, lengths=lengths)
    write(folder, "cross_modal", config, given, shapes, compute(HAND), compute(TORCH))


def co_attention(folder: Path) -> None:
    """Streams of other widths, heads and lengths; a row that lacks the second."""
    dims, heads, hidden, seqs, lengths = [12, 8], [3, 2], [20, 16], [4, 5], [[4, 3, 2], [5, 2, 0]]
    names = ["first", "second"]
    given = {name: tensor(f"co_attention.{name}", (3, seq, dim)) for name, seq, dim in zip(names, seqs, dims)}

    def compute(ops):
        def run(i, p):
            outputs = {}
            for own, other in ((0, 1), (1, 0)):
                name, x, context = names[own], i[names[own]], i[names[other]]
                there = torch.tensor([length > 0 for length in lengths[other]]).to(x.dtype)[:, None, None]
                read = multi_head(ops, p, f"{name}.attention.", x, context, heads[own], within(lengths[other])) * there
                x = ops.norm(x + read, p, f"{name}.attention_norm", 1e-12)
                x = ops.norm(x + mlp(p, f"{name}.mlp", x), p, f"{name}.mlp_norm", 1e-12)
                kept = torch.tensor([[[k < length] for k in range(seqs[own])] for length in lengths[own]])
                outputs[f"{name}_output"] = x * kept.to(x.dtype)
            return outputs

        return run

    shapes = {}
    for own, other in ((0, 1), (1, 0)):
        name = names[own]
        shapes |= shapes_of_attention(f"{name}.attention.", dims[own], dims[other], dims[own], dims[own])
        shapes |= shapes_of_norm(f"{name}.attention_norm", f"{name}.mlp_norm", dim=dims[own])
        shapes |= shapes_of_mlp(f"{name}.mlp", dims[own], hidden[own])
    config = dict(dims=dims, heads=heads, hidden=hidden, lengths=lengths)
    write(folder, "co_attention", config, given, shapes, compute(HAND), compute(TORCH), most=1e-10)


# ------------------------------------------------------------------------------------------------------- few tokens


def perceiver(folder: Path) -> None:
    """Flamingo's definition, held to Idefics, whose perceptrons have ReLU."""
    dim, latents, depth, heads, head_dim = 8, 3, 2, 2, 5
    given = {"media": tensor("perceiver.media", (2, 6, dim))}

    def run(ops, media, p):
        z = p["latents"].expand(2, -1, -1)
        for layer in range(depth):
            name = f"layers.{layer}"
            asking = ops.norm(z, p, f"{name}.latents_norm", 1e-5)
            answering = torch.cat([ops.norm(media, p, f"{name}.media_norm", 1e-5), asking], 1)
            z = z + multi_head(ops, p, f"{name}.attention.", asking, answering, heads, lambda *_: True)
            z = z + mlp(p, f"{name}.mlp", ops.norm(z, p, f"{name}.mlp_norm", 1e-5), functional.relu)
        return {"output": ops.norm(z, p, "norm", 1e-5)}

    def by_idefics(i, p):
        config = IdeficsConfig(vision_config={"embed_dim": dim}, perceiver_config={"qk_layer_norms_perceiver": False})
        module = IdeficsPerceiverResampler(config, dim, depth, heads, head_dim, latents)
        theirs = {"latents": p["latents"], "layer_norm.weight": p["norm.weight"], "layer_norm.bias": p["norm.bias"]}
        renamed = {
            "0.context_layer_norm": "media_norm", "0.latents_layer_norm": "latents_norm", "0.q_proj": "attention.query",
            "0.k_proj": "attention.key", "0.v_proj": "attention.value", "0.output_proj": "attention.output",
            "1.ln": "mlp_norm", "1.fc": "mlp.up", "1.c_proj": "mlp.down",
        }
        for layer in range(depth):
            for their, own in renamed.items():
                for part in ("weight", "bias"):
                    if f"layers.{layer}.{own}.{part}" in p:
                        theirs[f"blocks.{layer}.{their}.{part}"] = p[f"layers.{layer}.{own}.{part}"]
        assert set(theirs) == set(dict(module.named_parameters())), "every parameter of Idefics has one of ours"
        return {"output": torch.func.functional_call(module, theirs, (i["media"],))}

    config = dict(dim=dim, latents=latents, depth=depth, heads=heads, head_dim=head_dim)
    shapes = shapes_of_perceiver(dim, latents, depth, heads * head_dim)
    write(folder, "perceiver", config, given, shapes, lambda i, p: run(HAND, i["media"], p), by_idefics)


def shapes_of_perceiver(dim, latents, depth, inner):
    shapes = {"latents": (latents, dim)} | shapes_of_norm("norm", dim=dim)
    for layer in range(depth):
        name = f"layers.{layer}"
        shapes |= shapes_of_norm(*[f"{name}.{part}_norm" for part in ("media", "latents", "mlp")], dim=dim)
        shapes |= shapes_of_attention(f"{name}.attention.", dim, dim, inner, inner, bias=False)
        shapes |= shapes_of_mlp(f"{name}.mlp", dim, 4 * dim, bias=False)
    return shapes


def perceiver_latents_ask(folder: Path) -> None:
    """Keys from the media alone, of another width; padding, and a row without media."""
    dim, context_dim, latents, depth, heads, head_dim, lengths = 8, 6, 3, 2, 2, 5, [5, 2, 0]
    given = {"media": tensor("perceiver_latents_ask.media", (3, 5, context_dim))}

    def compute(ops):
        def run(i, p):
            media, z = linear(i["media"], p, "projection"), p["latents"].expand(3, -1, -1)
            for layer in range(depth):
                name = f"layers.{layer}"
                asking, answering = (ops.norm(x, p, f"{name}.{part}_norm", 1e-5) for x, part in ((z, "latents"), (media, "media")))
                z = z + multi_head(ops, p, f"{name}.attention.", asking, answering, heads, within(lengths))
                z = z + mlp(p, f"{name}.mlp", ops.norm(z, p, f"{name}.mlp_norm", 1e-5))
            return {"output": ops.norm(z, p, "norm", 1e-5)}

        return run

    shapes = shapes_of_perceiver(dim, latents, depth, heads * head_dim) | shapes_of_linear("projection", dim, context_dim, bias=False)
    config = dict(dim=dim, context_dim=context_dim, latents=latents, depth=depth, heads=heads, head_dim=head_dim, lengths=lengths)
    write(folder, "perceiver_latents_ask", config, given, shapes, compute(HAND), compute(TORCH))


def bottleneck(folder: Path) -> None:
    """Three modalities, of which the second row lacks one and the third row all."""
    dim, heads, hidden, count, seqs, lengths = 8, 2, 12, 2, [3, 4, 2], [[3, 2, 0], [4, 0, 0], [1, 2, 0]]
    given = {f"stream_{m}": tensor(f"bottleneck.{m}", (3, seq, dim)) for m, seq in enumerate(seqs)}
    given["bottleneck"] = tensor("bottleneck.shared", (3, count, dim))

    def compute(ops):
        def block(p, name, x, seen):
            normed = ops.norm(x, p, f"{name}.attention_norm", 1e-6)
            x = x + multi_head(ops, p, f"{name}.attention.", normed, normed, heads, seen)
            return x + mlp(p, f"{name}.mlp", ops.norm(x, p, f"{name}.mlp_norm", 1e-6))

        def run(i, p):
            outputs, made = {}, []
            for m, seq in enumerate(seqs):
                seen = lambda row, _, key: key < lengths[m][row] or key >= seq
                joined = block(p, f"blocks.{m}", torch.cat([i[f"stream_{m}"], i["bottleneck"]], 1), seen)
                kept = torch.tensor([[[k < length] for k in range(seq)] for length in lengths[m]])
                outputs[f"output_{m}"] = joined[:, :seq] * kept.to(joined.dtype)
                made.append(joined[:, seq:])
            rows = []
            for row in range(3):
                those = [made[m][row] for m in range(3) if lengths[m][row] > 0] or [i["bottleneck"][row]]
                rows.append(sum(those) / len(those))
            return outputs | {"mixed": torch.stack(rows)}

        return run

    shapes = {}
    for m in range(3):
        name = f"blocks.{m}"
        shapes |= shapes_of_norm(f"{name}.attention_norm", f"{name}.mlp_norm", dim=dim)
        shapes |= shapes_of_attention(f"{name}.attention.", dim, dim, dim, dim) | shapes_of_mlp(f"{name}.mlp", dim, hidden)
    config = dict(dim=dim, heads=heads, hidden=hidden, lengths=lengths)
    write(folder, "bottleneck", config, given, shapes, compute(HAND), compute(TORCH))


CASES = [cross_modal, co_attention, perceiver, perceiver_latents_ask, bottleneck]
