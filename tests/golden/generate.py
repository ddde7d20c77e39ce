"""Makes the golden fixtures: `python tests/golden/generate.py OUT_DIR`, or compares with `--check tests/golden/fixtures`.

Every case is computed twice, in f64 (the oracle) and in f32 (torch's own error), from the same f32 weights and inputs.
"""

import argparse
import copy
import math
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

import attention
import attention_blocks
import attention_levels
import contrast
import contrast_memory
import contrast_more
import distillation
import fusion_vectors
import objectives
import fusion_tokens
import log_mels
import mixed_precision
import reference
import systems
import weights
from documents import LINE_SIZES, SIZES, SPECIAL, assemble, documents
from fixture import Fixture, differences, same
from weights import tensor


def twice(make):
    """A module in f64 and in f32 with the same weights."""
    module = make()
    return copy.deepcopy(module).double(), module.float()


def gradients(module: torch.nn.Module, rename=lambda name: name) -> dict[str, torch.Tensor]:
    """Gradients of all parameters that the loss touches."""
    return {rename(name): p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


# ---------------------------------------------------------------------------------------------------- text encoder


def own_bert_name(name: str) -> str:
    """Florin's name of one of BertModel's parameters."""
    name = name.replace("embeddings.LayerNorm.", "embedding_norm.").removeprefix("embeddings.")
    for theirs, own in [
        ("encoder.layer.", "layers."),
        (".attention.output.LayerNorm.", ".attention_norm."),
        (".attention.output.dense.", ".attention.output."),
        (".attention.self.", ".attention."),
        (".intermediate.dense.", ".mlp.up."),
        (".output.dense.", ".mlp.down."),
        (".output.LayerNorm.", ".mlp_norm."),
    ]:
        if not (theirs == ".output.dense." and ".attention.output.dense." in name):
            name = name.replace(theirs, own)
    return name


def kept_of(lengths: list[int], seq: int) -> torch.Tensor:
    return torch.arange(seq)[None, :] < torch.tensor(lengths)[:, None]


def bert(folder: Path) -> None:
    sizes = dict(
        vocab_size=40,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=12,
        type_vocab_size=2,
        layer_norm_eps=1e-12,
    )
    config = BertConfig(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager")

    def make() -> BertModel:
        model = BertModel(config).train()
        weights.fill(model, rename=own_bert_name)
        return model

    lengths, seq = [9, 4, 1], 9
    kept = kept_of(lengths, seq)
    # Not 0, for which BertModel computes no gradient because it pads.
    ids = (torch.from_numpy(weights.whole_numbers("bert.ids", (3, seq), 39)) + 1) * kept
    probe = tensor("bert.probe", (3, seq, 24)) * kept[..., None]
    fixture = Fixture("bert", {**sizes, "lengths": lengths})
    fixture.give("ids", ids)
    fixture.give("probe", probe)
    results = []
    for model in twice(make):
        found = model(input_ids=ids, attention_mask=kept.long(), output_hidden_states=True)
        loss = (found.last_hidden_state * probe.to(found.last_hidden_state.dtype)).sum()
        loss.backward()
        visible = kept[..., None].to(loss.dtype)
        states = [state * visible for state in found.hidden_states]
        own = {n: g for n, g in gradients(model, own_bert_name).items() if not n.startswith("pooler")}
        results.append((states, loss.reshape(1), own))
    (states, loss, own), (states_32, loss_32, own_32) = results
    for index, (state, state_32) in enumerate(zip(states, states_32)):
        fixture.expect(f"hidden.{index}", state, state_32)
    fixture.expect("loss", loss, loss_32)
    fixture.expect_gradients(own, own_32)
    plain = reference.Bert(reference.BertSizes(**sizes)).double()
    weights.fill(plain)
    same(plain(ids, kept)[-1] * kept[..., None], states[-1], "reference.Bert")
    fixture.write(folder)
    # The checkpoint that users' code opens; the pooler must be left out by it.
    checkpoint = folder / "bert-checkpoint"
    make().float().save_pretrained(checkpoint)
    stored = load_file(checkpoint / "model.safetensors")
    save_file(stored, checkpoint / "model.safetensors", metadata={"format": "pt"})
    (checkpoint / "model.safetensors").chmod(0o644)


# --------------------------------------------------------------------------------------------------- image encoder


def own_vit_name(name: str) -> str:
    """Florin's name of one of ViTModel's parameters."""
    exact = {
        "embeddings.cls_token": "class_token",
        "embeddings.position_embeddings": "position_embeddings",
        "embeddings.patch_embeddings.projection.weight": "patch_embedding.weight",
        "embeddings.patch_embeddings.projection.bias": "patch_embedding.bias",
        "layernorm.weight": "norm.weight",
        "layernorm.bias": "norm.bias",
    }
    if name in exact:
        return exact[name]
    for theirs, own in [
        ("encoder.layer.", "layers."),
        (".attention.attention.", ".attention."),
        (".attention.output.dense.", ".attention.output."),
        (".attention.q_proj.", ".attention.query."),
        (".attention.k_proj.", ".attention.key."),
        (".attention.v_proj.", ".attention.value."),
        (".attention.o_proj.", ".attention.output."),
        (".intermediate.dense.", ".mlp.up."),
        (".mlp.fc1.", ".mlp.up."),
        (".mlp.fc2.", ".mlp.down."),
        (".layernorm_before.", ".attention_norm."),
        (".layernorm_after.", ".mlp_norm."),
    ]:
        name = name.replace(theirs, own)
    return name if ".attention.output." in name else name.replace(".output.dense.", ".mlp.down.")


def vit(folder: Path) -> None:
    sizes = dict(height=12, width=20, patch=4, channels=3, dim=24, layers=2, heads=3, hidden=40)
    sizes |= dict(class_token=True, epsilon=1e-12)
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        image_size=(12, 20),
        patch_size=4,
        num_channels=3,
        layer_norm_eps=1e-12,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        # The eager one computes its softmax in f32 whatever the model's precision, which is no oracle.
        attn_implementation="sdpa",
    )

    def make() -> ViTModel:
        model = ViTModel(config, add_pooling_layer=False).train()
        weights.fill(model, rename=own_vit_name)
        return model

    pictures = tensor("vit.pictures", (2, 3, 12, 20))
    probe = tensor("vit.probe", (2, 16, 24))
    fixture = Fixture("vit", sizes, most_entries=640)
    fixture.give("pictures", pictures)
    fixture.give("probe", probe)
    results = []
    for model in twice(make):
        kind = next(model.parameters()).dtype
        found = model(pixel_values=pictures.to(kind), output_hidden_states=True)
        loss = (found.last_hidden_state * probe.to(kind)).sum()
        loss.backward()
        results.append((found.hidden_states, found.last_hidden_state, loss.reshape(1), gradients(model, own_vit_name)))
    (states, last, loss, own), (states_32, last_32, loss_32, own_32) = results
    for index, (state, state_32) in enumerate(zip(states, states_32)):
        fixture.expect(f"hidden.{index}", state, state_32)
    fixture.expect("last", last, last_32)
    fixture.expect("loss", loss, loss_32)
    fixture.expect_gradients(own, own_32)
    plain = reference.Vit(reference.VitSizes(**sizes)).double()
    weights.fill(plain)
    patches = torch.nn.functional.unfold(pictures.double(), 4, stride=4).transpose(1, 2)
    same(plain(patches), last, "reference.Vit")
    fixture.write(folder)


# -------------------------------------------------------------------------------------------------- layout encoder


def layout(folder: Path) -> None:
    sizes = dict(bins=11, lines=7, words=5, print_features=6, dim=16)
    boxes = torch.from_numpy(weights.whole_numbers("layout.boxes", (2, 6, 6), 11))
    lines = weights.whole_numbers("layout.lines", (2, 6, 2), 7)
    words = weights.whole_numbers("layout.words", (2, 6, 2), 5)
    ordinals = torch.from_numpy(np.concatenate([lines, words], axis=-1))
    features, probe = tensor("layout.print", (2, 6, 6)), tensor("layout.probe", (2, 6, 16))
    fixture = Fixture("layout", sizes)
    for name, value in dict(boxes=boxes, ordinals=ordinals, print=features, probe=probe).items():
        fixture.give(name, value)

    def make() -> reference.Layout:
        module = reference.Layout(reference.LayoutSizes(**sizes))
        weights.fill(module)
        return module

    results = []
    for module in twice(make):
        kind = next(module.parameters()).dtype
        found = module(boxes, ordinals, features.to(kind))
        loss = (found * probe.to(kind)).sum()
        loss.backward()
        results.append((found, loss.reshape(1), gradients(module)))
    same(results[0][0], layout_by_hand(boxes, ordinals, features), "reference.Layout")
    for name, exact, near in zip(["tokens", "loss"], results[0][:2], results[1][:2]):
        fixture.expect(name, exact, near)
    fixture.expect_gradients(results[0][2], results[1][2])
    fixture.write(folder)


def layout_by_hand(boxes: torch.Tensor, ordinals: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """One vector at a time, in numpy."""
    tables = ["horizontal", "vertical", "horizontal", "vertical", "width", "height"]
    tables += ["line_from_top", "line_from_bottom", "word_from_start", "word_from_end"]
    sizes = dict(horizontal=11, vertical=11, width=11, height=11) | dict(line_from_top=7, line_from_bottom=7)
    sizes |= dict(word_from_start=5, word_from_end=5)
    weight = {name: weights.values(f"{name}.weight", (size, 16)).astype(np.float64) for name, size in sizes.items()}
    matrix, shift = (weights.values(f"print.{n}", s).astype(np.float64) for n, s in [("weight", (16, 6)), ("bias", (16,))])
    scale, centre = (weights.values(f"norm.{n}", (16,)).astype(np.float64) for n in ["weight", "bias"])
    result = np.zeros((2, 6, 16))
    for row in range(2):
        for word in range(6):
            x = matrix @ features[row, word].double().numpy() + shift
            for table, index in zip(tables, [*boxes[row, word].tolist(), *ordinals[row, word].tolist()]):
                x = x + weight[table][index]
            result[row, word] = (x - x.mean()) / math.sqrt(x.var() + 1e-5) * scale + centre
    return torch.from_numpy(result)


# ---------------------------------------------------------------------------------------------------------- fusion


def token_attention(folder: Path) -> None:
    widths, dim, heads, lengths, seq = [10, 6, 8], 24, 3, [5, 3, 4], 5
    present = torch.tensor([[True, True, True], [True, True, False], [True, False, True]])
    kept = kept_of(lengths, seq)
    streams = [tensor(f"fusion.stream.{i}", (3, seq, width)) for i, width in enumerate(widths)]
    probe = tensor("fusion.probe", (3, seq, dim)) * kept[..., None]
    probe_weights = tensor("fusion.probe.weights", (3, 3))
    fixture = Fixture("token_attention", {"widths": widths, "dim": dim, "heads": heads, "lengths": lengths})
    for index, stream in enumerate(streams):
        fixture.give(f"stream.{index}", stream)
    for name, value in dict(present=present, probe=probe, probe_weights=probe_weights).items():
        fixture.give(name, value)

    def make() -> reference.TokenAttention:
        module = reference.TokenAttention(widths, dim, heads)
        weights.fill(module)
        return module

    results = []
    for module in twice(make):
        kind = next(module.parameters()).dtype
        inputs = [stream.to(kind, copy=True).requires_grad_() for stream in streams]
        tokens, leaned = module(inputs, present)
        leaned = reference.row_means(leaned, kept)
        loss = (tokens * probe.to(kind)).sum() + (leaned * probe_weights.to(kind)).sum()
        loss.backward()
        streamed = {f"stream.{index}": x.grad for index, x in enumerate(inputs)}
        visible = tokens * kept[..., None].to(kind)
        results.append((visible, leaned, loss.reshape(1), gradients(module) | streamed))
        if kind == torch.float64:
            by_hand, leaned_by_hand = fusion_by_hand(module, streams, present, heads)
            same(tokens, by_hand, "reference.TokenAttention")
            same(leaned, reference.row_means(leaned_by_hand, kept), "weights of reference.TokenAttention")
    for name, exact, near in zip(["tokens", "weights", "loss"], results[0], results[1]):
        fixture.expect(name, exact, near)
    fixture.expect_gradients(results[0][3], results[1][3])
    fixture.write(folder)


def fusion_by_hand(module, streams, present, heads):
    """The header's formula, word by word and head by head: s = Σ h_m, a_m = softmax_m(q(s)·k(h_m)/√d), norm(s + o(Σ a_m v(h_m)))."""
    batch, seq, _ = streams[0].shape
    dim = module.marks.shape[1]
    head_dim = dim // heads
    tokens, leaned = torch.zeros(batch, seq, dim).double(), torch.zeros(batch, seq, len(streams)).double()
    for row in range(batch):
        there = [m for m in range(len(streams)) if present[row, m]]
        for word in range(seq):
            h = {}
            for m in there:
                linear = module.projections[m]
                h[m] = linear.weight @ streams[m][row, word].double() + linear.bias + module.marks[m]
            s = sum(h.values())
            query = module.query.weight @ s + module.query.bias
            mixed = []
            for head in range(heads):
                part = slice(head * head_dim, (head + 1) * head_dim)
                key = {m: (module.key.weight @ h[m] + module.key.bias)[part] for m in there}
                value = {m: (module.value.weight @ h[m] + module.value.bias)[part] for m in there}
                grown = {m: torch.exp(query[part] @ key[m] / math.sqrt(head_dim)) for m in there}
                share = {m: grown[m] / sum(grown.values()) for m in there}
                mixed.append(sum(share[m] * value[m] for m in there))
                for m in there:
                    leaned[row, word, m] += share[m].detach() / heads
            x = s + module.output.weight @ torch.cat(mixed) + module.output.bias
            x = (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + 1e-5)
            tokens[row, word] = (x * module.norm.weight + module.norm.bias).detach()
    return tokens, leaned


# ------------------------------------------------------------------------------------------- block with a 2-D bias


class BiasedBlock(torch.nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int, buckets: int):
        super().__init__()
        self.relative_bias = reference.RelativeBias2d(buckets, heads)
        self.block = reference.Block(dim, heads, hidden, 1e-5, before=True)

    def forward(self, x, horizontal, vertical, kept):
        bias = self.relative_bias(horizontal, vertical)
        return self.block(x, bias.masked_fill(~kept[:, None, None, :], -math.inf)), bias


def block(folder: Path) -> None:
    dim, heads, hidden, buckets, lengths, seq = 24, 3, 40, 8, [6, 4], 6
    kept = kept_of(lengths, seq)
    x = tensor("block.x", (2, seq, dim))
    horizontal = torch.from_numpy(weights.whole_numbers("block.horizontal", (2, seq, seq), buckets))
    vertical = torch.from_numpy(weights.whole_numbers("block.vertical", (2, seq, seq), buckets))
    probe = tensor("block.probe", (2, seq, dim)) * kept[..., None]
    config = {"dim": dim, "heads": heads, "hidden": hidden, "buckets": buckets, "lengths": lengths}
    fixture = Fixture("block", config)
    for name, value in dict(x=x, horizontal=horizontal, vertical=vertical, probe=probe).items():
        fixture.give(name, value)

    def make() -> BiasedBlock:
        module = BiasedBlock(dim, heads, hidden, buckets)
        weights.fill(module)
        return module

    results = []
    for module in twice(make):
        kind = next(module.parameters()).dtype
        given = x.to(kind, copy=True).requires_grad_()
        y, bias = module(given, horizontal, vertical, kept)
        loss = (y * probe.to(kind)).sum()
        loss.backward()
        visible = y * kept[..., None].to(kind)
        results.append((bias, visible, loss.reshape(1), gradients(module) | {"x": given.grad}))
        if kind == torch.float64:
            by_hand = block_by_hand(module, x.double(), bias.detach(), lengths, heads) * kept[..., None]
            same(visible, by_hand, "reference.Block")
    for name, exact, near in zip(["bias", "output", "loss"], results[0], results[1]):
        fixture.expect(name, exact, near)
    fixture.expect_gradients(results[0][3], results[1][3])
    fixture.write(folder)


def block_by_hand(module: BiasedBlock, x, bias, lengths, heads):
    """A pre-norm block with loops over rows, heads and queries; hidden keys are left out rather than masked."""

    def norm(y, layer):
        centred = y - y.mean(-1, keepdim=True)
        return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5) * layer.weight + layer.bias

    attention, result = module.block.attention, torch.zeros_like(x)
    head_dim = x.shape[-1] // heads
    for row, length in enumerate(lengths):
        tokens = x[row, :length]
        normed = norm(tokens, module.block.attention_norm)
        query, key, value = (normed @ m.weight.T + m.bias for m in (attention.query, attention.key, attention.value))
        mixed = torch.zeros_like(tokens)
        for head in range(heads):
            part = slice(head * head_dim, (head + 1) * head_dim)
            for q in range(length):
                scores = key[:, part] @ query[q, part] / math.sqrt(head_dim) + bias[row, head, q, :length]
                grown = torch.exp(scores)
                mixed[q, part] = (grown / grown.sum()) @ value[:, part]
        tokens = tokens + mixed @ attention.output.weight.T + attention.output.bias
        up = norm(tokens, module.block.mlp_norm) @ module.block.mlp.up.weight.T + module.block.mlp.up.bias
        gelu = up * 0.5 * (1 + torch.erf(up / math.sqrt(2)))
        result[row, :length] = tokens + gelu @ module.block.mlp.down.weight.T + module.block.mlp.down.bias
    return result.detach()


# ------------------------------------------------------------------------------------------------------- span loss


def span_loss_by_hand(scores, lengths, gold, weight, longest):
    """Every span of every document, in loops: the sum, its parts, and autograd's gradients of it in f64."""
    batch, fields, _ = scores["start"].shape
    losses = []
    for row in range(batch):
        for f in range(fields):
            start, inside, end = (scores[name][row, f] for name in ("start", "inside", "end"))
            none = torch.exp(scores["none"][row, f])
            every, right = none, None
            for i in range(lengths[row]):
                for j in range(i, min(lengths[row], i + longest)):
                    grown = torch.exp(start[i] + end[j] + sum(inside[k] for k in range(i, j + 1)))
                    every = every + grown
                    if gold[row, f, i, j]:
                        right = grown if right is None else right + grown
            losses.append(torch.log(every) - torch.log(none if right is None else right))
    losses = torch.stack(losses).view(batch, fields)
    total = (losses * weight).sum() / max(float(weight.sum()), 1.0)
    per_field = [(losses[:, f] * weight[:, f]).sum() / max(float(weight[:, f].sum()), 1.0) for f in range(fields)]
    return total, torch.stack(per_field)


def span_loss(folder: Path) -> None:
    lengths, fields, words, longest = [9, 6, 1, 4], 3, 9, 4
    gold = torch.zeros(4, fields, words, words, dtype=torch.bool)
    # Several right spans; one; none; spans at the first and last word; one too long and one beyond the end, beside others.
    for place in [(0, 0, 1, 2), (0, 0, 5, 8), (0, 0, 1, 3), (0, 1, 0, 0), (1, 0, 2, 5), (1, 1, 5, 5), (1, 1, 0, 5)]:
        gold[place] = True
    for place in [(2, 0, 0, 0), (3, 0, 3, 3), (3, 0, 3, 6), (3, 2, 0, 3)]:
        gold[place] = True
    weight = torch.tensor([[1.0, 2.0, 0.5], [1.0, 0.0, 1.0], [0.25, 1.0, 1.0], [1.0, 1.0, 3.0]])
    given = {name: tensor(f"span.{name}", (4, fields, words), 3.0) for name in ("start", "inside", "end")}
    given["none"] = tensor("span.none", (4, fields), 3.0)
    fixture = Fixture("span_loss", {"lengths": lengths, "longest": longest})
    for name, value in {**given, "gold": gold, "weight": weight}.items():
        fixture.give(name, value)

    exact = {name: value.double().requires_grad_() for name, value in given.items()}
    total, per_field = span_loss_by_hand(exact, lengths, gold, weight.double(), longest)
    total.backward()
    near = {name: value.clone().requires_grad_() for name, value in given.items()}
    losses = reference.span_losses(near, lengths, gold, longest)
    total_32 = reference.weighted_mean(losses, weight)
    total_32.backward()
    per_field_32 = (losses * weight).sum(0) / weight.sum(0).clamp(min=1)
    fixture.expect("loss", total.reshape(1), total_32.reshape(1))
    fixture.expect("per_field", per_field, per_field_32)
    fixture.expect_gradients({n: x.grad for n, x in exact.items()}, {n: x.grad for n, x in near.items()})
    plain = reference.span_losses({n: x.detach() for n, x in exact.items()}, lengths, gold, longest)
    same(reference.weighted_mean(plain, weight.double()), total, "reference.span_losses")
    fixture.write(folder)


# -------------------------------------------------------------------------------------------------- document model


def make_document(sizes: reference.DocumentSizes = SIZES) -> reference.Document:
    module = reference.Document(sizes)
    weights.fill(module)
    return module


GOLD = [(0, 0, 1, 2), (0, 0, 5, 5), (0, 1, 0, 3), (1, 0, 3, 3), (1, 2, 0, 1), (2, 1, 0, 0), (3, 2, 2, 4)]
WEIGHT = [[1.0, 1.0, 0.5], [1.0, 0.0, 2.0], [1.0, 1.0, 1.0], [1.0, 0.25, 1.0]]


def document_gold(lengths: list[int]) -> torch.Tensor:
    gold = torch.zeros(len(lengths), len(SIZES.fields), max(lengths), max(lengths), dtype=torch.bool)
    for place in GOLD:
        gold[place] = True
    return gold


def document_loss(module, batch, lengths, gold, weight):
    """Scores and what is minimised."""
    scores = module(batch)
    losses = reference.span_losses(scores, lengths, gold, SIZES.longest_span)
    return scores, reference.weighted_mean(losses, weight.to(losses.dtype))


def give_documents(fixture: Fixture, read, gold, weight) -> None:
    for index, document in enumerate(read):
        for name, value in document.items():
            fixture.give(f"document.{index}.{name}", value)
    fixture.give("gold", gold)
    fixture.give("weight", weight)


def visible_scores(scores, lengths):
    """Scores with those of padding set to zero: no one may read them."""
    kept = kept_of(lengths, scores["start"].shape[-1])[:, None, :]
    return {n: x * kept.to(x.dtype) if n in ("start", "inside", "end") else x for n, x in scores.items()}


def document(folder: Path) -> None:
    document_case(folder, "document", SIZES)


def document_lines(folder: Path) -> None:
    """The text read line by line by an encoder that does not learn."""
    document_case(folder, "document_lines", LINE_SIZES)


def document_case(folder: Path, case: str, sizes: reference.DocumentSizes) -> None:
    read = documents()
    lengths = [len(d["piece_counts"]) for d in read]
    gold, weight = document_gold(lengths), torch.tensor(WEIGHT)
    config = {"config": asdict(sizes), "special": SPECIAL, "documents": len(read)}
    fixture = Fixture(case, config, most_entries=600, entries=48)
    give_documents(fixture, read, gold, weight)
    results = []
    for module in twice(lambda: make_document(sizes)):
        batch = assemble(read, next(module.parameters()).dtype, sizes)
        scores, loss = document_loss(module, batch, lengths, gold, weight)
        loss.backward()
        results.append((visible_scores(scores, lengths), loss.reshape(1), gradients(module)))
        if loss.dtype == torch.float64:
            by_hand, _ = span_loss_by_hand(scores, lengths, gold, weight.double(), sizes.longest_span)
            same(loss, by_hand, "loss of the document model")
    for name in ("start", "inside", "end", "none", "weights"):
        fixture.expect(f"output.{name}", results[0][0][name], results[1][0][name])
    fixture.expect("loss", results[0][1], results[1][1])
    fixture.expect_gradients(results[0][2], results[1][2])
    fixture.write(folder)


# -------------------------------------------------------------------------------------------------- training trace

TRACE = {
    "steps": 10,
    "warmup": 3,
    "floor": 0.1,
    "clip": 0.5,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-6,
    "groups": [
        {"prefix": "", "learning_rate": 0.01, "weight_decay": 0.05},
        {"prefix": "text.", "learning_rate": 0.003, "weight_decay": 0.01},
    ],
}


def schedule(step: int) -> float:
    """A linear rise, then half a cosine down to the floor."""
    warmup, total, floor = TRACE["warmup"], TRACE["steps"], TRACE["floor"]
    if step < warmup:
        return (step + 1) / warmup
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def torch_groups(module: torch.nn.Module) -> list[dict]:
    """Matrices decay, vectors do not; the text encoder has its own rate."""
    rest, text = TRACE["groups"]
    groups = []
    for settings, chosen in [(rest, False), (text, True)]:
        for matrices in (True, False):
            named = module.named_parameters()
            found = [p for name, p in named if name.startswith("text.") == chosen and (p.ndim > 1) == matrices]
            decay = settings["weight_decay"] if matrices else 0.0
            groups.append({"params": found, "lr": settings["learning_rate"], "weight_decay": decay})
    return groups


def train(module, read, lengths, gold, weight):
    batch = assemble(read, next(module.parameters()).dtype)
    betas = (TRACE["beta_1"], TRACE["beta_2"])
    optimiser = torch.optim.AdamW(torch_groups(module), betas=betas, eps=TRACE["epsilon"], foreach=False)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule)
    losses, norms = [], []
    for _ in range(TRACE["steps"]):
        optimiser.zero_grad()
        _, loss = document_loss(module, batch, lengths, gold, weight)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), TRACE["clip"])
        losses.append(loss.detach())
        norms.append(norm.detach())
        # An unused row of a table has no gradient and a parameter that the loss does not touch no step, as in Florin.
        optimiser.step()
        scheduler.step()
    return torch.stack(losses), torch.stack(norms), {name: p.detach() for name, p in module.named_parameters()}


def trace(folder: Path) -> None:
    read = documents()
    lengths = [len(d["piece_counts"]) for d in read]
    gold, weight = document_gold(lengths), torch.tensor(WEIGHT)
    config = {"config": asdict(SIZES), "special": SPECIAL, "documents": len(read), "train": TRACE}
    fixture = Fixture("trace", config, most_entries=64, entries=24)
    give_documents(fixture, read, gold, weight)
    results = [train(module, read, lengths, gold, weight) for module in twice(make_document)]
    fixture.expect("losses", results[0][0], results[1][0])
    fixture.expect("norms", results[0][1], results[1][1])
    for name in sorted(results[0][2]):
        # A key's bias shifts all scores of a query alike, so its true gradient is zero and Adam turns rounding into steps.
        if not name.endswith("key.bias"):
            fixture.expect(f"weight.{name}", results[0][2][name], results[1][2][name])
    print("losses:", [round(float(x), 4) for x in results[0][0]], "norms:", [round(float(x), 3) for x in results[0][1]])
    fixture.write(folder)


CASES = [
    bert,
    span_loss,
    token_attention,
    document,
    document_lines,
    trace,
    vit,
    layout,
    block,
    *attention.CASES,
    *attention_blocks.CASES,
    *attention_levels.CASES,
    *contrast.CASES,
    *contrast_memory.CASES,
    *contrast_more.CASES,
    *distillation.CASES,
    *fusion_tokens.CASES,
    *fusion_vectors.CASES,
    *log_mels.CASES,
    *mixed_precision.CASES,
    *objectives.CASES,
    *systems.CASES,
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where fixtures go, or with --check where the committed ones are")
    parser.add_argument("--only", default="", help="only cases whose function or module has this in its name")
    parser.add_argument("--check", action="store_true", help="make them again elsewhere and compare")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = [case for case in CASES if arguments.only in f"{case.__module__}.{case.__name__}"]
    if not arguments.check:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        for case in cases:
            case(arguments.folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        for case in cases:
            case(fresh)
        found = []
        for path in sorted(fresh.glob("*.safetensors")):
            committed = arguments.folder / path.name
            found += differences(committed, path) if committed.exists() else [f"{committed} is missing"]
        if not (fresh / "bert-checkpoint").exists():
            sys.exit("\n".join(found) or 0)
        stored, made = (load_file(f / "bert-checkpoint/model.safetensors") for f in (arguments.folder, fresh))
        if stored.keys() != made.keys() or any(not torch.equal(stored[n], made[n]) for n in made):
            found.append("bert-checkpoint differs")
    print("\n".join(found) or "all fixtures are as committed")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
