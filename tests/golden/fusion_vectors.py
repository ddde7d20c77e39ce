"""Fusions of vectors: each row written out by its formula, over the modalities that the row has, is the oracle in f64; the usual batched
form with masks, held to it, says how far torch's f32 is off."""

import itertools
import math
from pathlib import Path

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

import weights
from fixture import Fixture, same

WIDTHS, DIM = [5, 4, 6], 7
PRESENT = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]]).bool()


def linears(widths, output) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(width, output) for width in widths)


def shares(scores: Tensor, absent: Tensor, dim: int) -> Tensor:
    """Softmax over what is there; zeros where nothing is."""
    nothing = absent.all(dim, keepdim=True)
    return scores.masked_fill(absent & ~nothing, -math.inf).softmax(dim).masked_fill(absent, 0.0)


def share(scores: list[Tensor]) -> list[Tensor]:
    """The same of a list."""
    grown = [torch.exp(score) for score in scores]
    return [one / sum(grown) for one in grown]


def zeroed(streams, present):
    return [x.masked_fill(~present[:, m : m + 1], 0.0) for m, x in enumerate(streams)]


def there(present, row):
    return [m for m in range(present.shape[1]) if present[row, m]]


class Late(nn.Module):
    def __init__(self, combination: str, hidden: int = 6):
        super().__init__()
        count, self.combination = len(WIDTHS), combination
        self.hidden = linears(WIDTHS, hidden)
        if combination == "concatenated":
            self.placeholders = nn.Parameter(torch.zeros(count, hidden))
            self.output = nn.Linear(count * (hidden + 1), DIM)
        else:
            self.experts = linears([hidden] * count, DIM)
        if combination == "weighted_sum":
            self.scores = nn.Parameter(torch.zeros(count))

    def forward(self, streams, present):
        hidden = [functional.gelu(layer(x)) for layer, x in zip(self.hidden, zeroed(streams, present))]
        if self.combination == "concatenated":
            parts = [torch.where(present[:, m : m + 1], h, self.placeholders[m]) for m, h in enumerate(hidden)]
            return {"embedding": self.output(torch.cat([*parts, present.to(parts[0].dtype)], 1))}
        experts = [layer(h) for layer, h in zip(self.experts, hidden)]
        if self.combination == "product_of_experts":
            logs = torch.stack([expert.log_softmax(1) for expert in experts], 1)
            return {"embedding": logs.masked_fill(~present[..., None], 0.0).sum(1).log_softmax(1)}
        share = shares(self.scores.expand(len(present), -1), ~present, 1)
        return {"embedding": (torch.stack(experts, 1) * share[..., None]).sum(1), "weights": share}

    def by_hand(self, streams, present, row):
        def heard(m):
            z = self.hidden[m].weight @ streams[m][row] + self.hidden[m].bias
            return z * (1 + torch.erf(z / math.sqrt(2))) / 2

        if self.combination == "concatenated":
            parts = [heard(m) if present[row, m] else self.placeholders[m] for m in range(len(streams))]
            return {"embedding": self.output.weight @ torch.cat([*parts, present[row].to(parts[0].dtype)]) + self.output.bias}
        experts = {m: self.experts[m].weight @ heard(m) + self.experts[m].bias for m in there(present, row)}
        if self.combination == "product_of_experts":
            odds = torch.ones(DIM).double()
            for expert in experts.values():
                odds = odds * torch.exp(expert) / torch.exp(expert).sum()
            return {"embedding": torch.log(odds / odds.sum())}
        leaned, result = [torch.zeros(()).double() for _ in streams], torch.zeros(DIM).double()
        for (m, expert), part in zip(experts.items(), share([self.scores[m] for m in experts]) if experts else []):
            leaned[m], result = part, result + part * expert
        return {"embedding": result, "weights": torch.stack(leaned)}


class Gated(nn.Module):
    def __init__(self, widths=WIDTHS):
        super().__init__()
        self.values, self.gates = linears(widths, DIM), nn.Linear(sum(widths), len(widths) * DIM)

    def mix(self, vectors, present):
        scores = self.gates(torch.cat(vectors, 1)).view(len(present), len(vectors), DIM)
        gates = shares(scores, ~present[..., None].expand_as(scores), 1)
        return (gates * torch.stack([torch.tanh(layer(x)) for layer, x in zip(self.values, vectors)], 1)).sum(1), gates

    def forward(self, streams, present):
        result, gates = self.mix(zeroed(streams, present), present)
        return {"embedding": result, "weights": gates.mean(2)}

    def by_hand(self, streams, present, row):
        """Number by number, with the gates' columns of absent modalities left out."""
        known, starts = there(present, row), [0, *itertools.accumulate(x.shape[1] for x in streams)]
        result, leaned = [], [torch.zeros(()).double() for _ in streams]
        for number in range(DIM):
            scores = []
            for m in known:
                line = m * DIM + number
                parts = [self.gates.weight[line, starts[n] : starts[n + 1]] @ streams[n][row] for n in known]
                scores.append(sum(parts) + self.gates.bias[line])
            gates = share(scores) if known else []
            total = torch.zeros(()).double()
            for m, gate in zip(known, gates):
                said = torch.tanh(self.values[m].weight[number] @ streams[m][row] + self.values[m].bias[number])
                total, leaned[m] = total + gate * said, leaned[m] + gate / DIM
            result.append(total)
        return {"embedding": torch.stack(result), "weights": torch.stack(leaned)}


class TensorFusion(nn.Module):
    def __init__(self, width: int = 3):
        super().__init__()
        self.projections, self.output = linears(WIDTHS, width), nn.Linear((width + 1) ** len(WIDTHS), DIM)

    def forward(self, streams, present):
        projected = [layer(x) for layer, x in zip(self.projections, zeroed(streams, present))]
        one = torch.ones(len(present), 1, dtype=projected[0].dtype)
        vectors = [torch.cat([one, x], 1) for x in zeroed(projected, present)]
        return {"embedding": self.output(torch.einsum("bi,bj,bk->bijk", *vectors).flatten(1))}

    def by_hand(self, streams, present, row):
        """Term by term, those that hold an absent modality left out."""
        z = {m: self.projections[m].weight @ streams[m][row] + self.projections[m].bias for m in there(present, row)}
        size = self.projections[0].out_features + 1
        result = self.output.bias
        for place, term in enumerate(itertools.product(range(size), repeat=len(streams))):
            factors = [(m, index) for m, index in enumerate(term) if index > 0]
            if all(m in z for m, _ in factors):
                value = torch.ones(()).double()
                for m, index in factors:
                    value = value * z[m][index - 1]
                result = result + self.output.weight[:, place] * value
        return {"embedding": result}


class LowRank(nn.Module):
    def __init__(self, rank: int = 3):
        super().__init__()
        self.factors, self.rank = linears(WIDTHS, rank * DIM), rank

    def forward(self, streams, present):
        product = torch.ones((), dtype=streams[0].dtype)
        for layer, x in zip(self.factors, zeroed(streams, present)):
            product = product * layer(x)
        return {"embedding": product.view(-1, self.rank, DIM).sum(1)}

    def by_hand(self, streams, present, row):
        """Tensor fusion with the reconstructed tensor: T = Σ_r ⊗_m W_r^m, applied to the outer product of [1; x], or of [1; 0]."""
        vectors = []
        for m, x in enumerate(streams):
            x = x[row] if present[row, m] else torch.zeros_like(x[row])
            vectors.append(torch.cat([torch.ones(1).double(), x]))
        factors = [torch.cat([layer.bias[:, None], layer.weight], 1).view(self.rank, DIM, -1) for layer in self.factors]
        reconstructed = torch.einsum("rdi,rdj,rdk->dijk", *factors)
        return {"embedding": torch.einsum("dijk,ijk->d", reconstructed, torch.einsum("i,j,k->ijk", *vectors))}


class AdaptiveHierarchical(nn.Module):
    def __init__(self):
        super().__init__()
        self.pairs = list(itertools.combinations(range(len(WIDTHS)), 2))
        self.projections = linears(WIDTHS, DIM)
        self.unimodal, self.pairwise = linears([DIM] * len(WIDTHS), DIM), linears([DIM] * len(self.pairs), DIM)
        self.joint = nn.Linear(DIM, DIM)
        self.member_scores, self.level_scores = linears([DIM] * 2, 1), linears([DIM] * 3, 1)

    def forward(self, streams, present):
        seen = [torch.tanh(layer(x)) for layer, x in zip(self.projections, zeroed(streams, present))]
        single = torch.stack([layer(x) for layer, x in zip(self.unimodal, seen)], 1)
        double = torch.stack([layer(seen[m] * seen[n]) for layer, (m, n) in zip(self.pairwise, self.pairs)], 1)
        full = torch.stack(seen, 1).masked_fill(~present[..., None], 1.0).prod(1)
        both = torch.stack([present[:, m] & present[:, n] for m, n in self.pairs], 1)
        alpha = [shares(score(x).squeeze(2), ~has, 1) for score, x, has in zip(self.member_scores, [single, double], [present, both])]
        levels = [(alpha[0][..., None] * single).sum(1), (alpha[1][..., None] * double).sum(1), self.joint(full)]
        count = present.sum(1, keepdim=True)
        scores = torch.cat([score(level) for score, level in zip(self.level_scores, levels)], 1)
        beta = shares(scores, torch.cat([count < 1, count < 2, count < 3], 1), 1)
        halves = torch.zeros(len(self.pairs), len(streams), dtype=beta.dtype)
        for index, pair in enumerate(self.pairs):
            halves[index, list(pair)] = 0.5
        even = present.to(beta.dtype) / count.clamp(min=1)
        leaned = beta[:, :1] * alpha[0] + beta[:, 1:2] * (alpha[1] @ halves) + beta[:, 2:] * even
        return {"embedding": sum(beta[:, i : i + 1] * level for i, level in enumerate(levels)), "weights": leaned}

    def by_hand(self, streams, present, row):
        known, leaned = there(present, row), [torch.zeros(()).double() for _ in streams]
        apply = lambda layer, x: layer.weight @ x + layer.bias
        a = {m: torch.tanh(apply(self.projections[m], streams[m][row])) for m in known}
        levels = []  # of (value, [(share, modalities)])
        for index, size in enumerate([1, 2]):
            groups = [group for group in itertools.combinations(range(len(streams)), size) if all(m in a for m in group)]
            layers = {(m,): layer for m, layer in enumerate(self.unimodal)} | dict(zip(self.pairs, self.pairwise))
            members = [apply(layers[group], math.prod([a[m] for m in group])) for group in groups]
            if members:
                part = share([apply(self.member_scores[index], member)[0] for member in members])
                levels.append((sum(p * member for p, member in zip(part, members)), list(zip(part, groups))))
        if len(known) > 2:
            levels.append((apply(self.joint, math.prod(a.values())), [(1.0, known)]))
        result = torch.zeros(DIM).double()
        beta = share([apply(score, value)[0] for score, (value, _) in zip(self.level_scores, levels)]) if levels else []
        for weight, (value, members) in zip(beta, levels):
            result = result + weight * value
            for part, group in members:
                for m in group:
                    leaned[m] = leaned[m] + weight * part / len(group)
        return {"embedding": result, "weights": torch.stack(leaned)}


class Branch(nn.Module):
    def __init__(self, kind: str, reads: list[int], hidden: int):
        super().__init__()
        self.kind, self.reads = kind, reads
        width = sum(WIDTHS[m] for m in reads)
        if kind == "gated":
            self.gated = Gated([WIDTHS[m] for m in reads])
            self.work = width * DIM * (1 + len(reads))
            return
        width, between = (width + len(reads), hidden) if kind == "joint" else (width, DIM)
        self.hidden, self.output = nn.Linear(width, between), nn.Linear(between, DIM)
        self.work = between * (width + DIM)

    def forward(self, vectors, present):
        read, own = [vectors[m] for m in self.reads], present[:, self.reads]
        if self.kind == "gated":
            return self.gated.mix(read, own)[0]
        if self.kind == "joint":
            read = [*read, own.to(read[0].dtype)]
        return self.output(functional.gelu(self.hidden(torch.cat(read, 1))))


class Dynamic(nn.Module):
    temperature, price, balance, decision = 0.7, 0.3, 0.2, 0.4

    def __init__(self, hidden: int = 9, gate: int = 4):
        super().__init__()
        kinds = [("alone", [0]), ("alone", [1]), ("alone", [2]), ("gated", [0, 1]), ("joint", [0, 1, 2])]
        self.branches = nn.ModuleList(Branch(kind, reads, hidden) for kind, reads in kinds)
        self.gate_hidden, self.gate_output = nn.Linear(sum(WIDTHS) + len(WIDTHS), gate), nn.Linear(gate, len(kinds))

    def open(self, present):
        return torch.stack([present[:, b.reads].sum(1) >= min(2, len(b.reads)) for b in self.branches], 1)

    def scores(self, vectors, present):
        return self.gate_output(functional.gelu(self.gate_hidden(torch.cat([*vectors, present.to(vectors[0].dtype)], 1))))

    def forward(self, streams, present):
        vectors, is_open = zeroed(streams, present), self.open(present)
        kind = vectors[0].dtype
        gates = shares(self.scores(vectors, present) / self.temperature, ~is_open, 1)
        values = torch.stack([branch(vectors, present) for branch in self.branches], 1)
        read = torch.stack([torch.isin(torch.arange(len(streams)), torch.tensor(b.reads)) for b in self.branches])
        own = (read[None] & present[:, None]).to(kind)
        leaned = (gates[..., None] * own / own.sum(2, keepdim=True).clamp(min=1)).sum(1)
        rows = present.any(1).sum()
        work = torch.tensor([branch.work for branch in self.branches], dtype=kind)
        mean = gates.sum(0) / rows
        even = (is_open.to(kind) / is_open.sum(1, keepdim=True).clamp(min=1)).sum(0) / rows
        cost = self.price * (gates * work / work.max()).sum() / rows + self.balance * (mean * (mean / even).log()).sum()
        cost = cost - self.decision * torch.xlogy(gates, gates.masked_fill(~is_open, 1.0)).sum() / rows
        return {"embedding": (gates[..., None] * values).sum(1), "weights": leaned, "cost": cost.reshape(1)}

    def by_hand(self, streams, present, row):
        vectors = [x[row] if present[row, m] else torch.zeros_like(x[row]) for m, x in enumerate(streams)]
        result, leaned = torch.zeros(DIM).double(), [torch.zeros(()).double() for _ in streams]
        alone, own = [x[None] for x in vectors], present[row : row + 1]
        scores = self.scores(alone, own)[0] / self.temperature
        taken = [i for i, b in enumerate(self.branches) if sum(bool(own[0, m]) for m in b.reads) >= min(2, len(b.reads))]
        for index, part in zip(taken, share([scores[i] for i in taken]) if taken else []):
            branch = self.branches[index]
            result = result + part * branch(alone, own)[0]
            read = [m for m in branch.reads if own[0, m]]
            for m in read:
                leaned[m] = leaned[m] + part / len(read)
        return {"embedding": result, "weights": torch.stack(leaned)}


def write(folder: Path, case: str, make, config: dict) -> None:
    streams = [weights.tensor(f"{case}.stream.{m}", (len(PRESENT), width), 1.5) for m, width in enumerate(WIDTHS)]
    fixture = Fixture(case, {"widths": WIDTHS, "dim": DIM} | config)
    for m, stream in enumerate(streams):
        fixture.give(f"stream.{m}", stream)
    fixture.give("present", PRESENT)
    results = []
    for kind in [torch.float64, torch.float32]:
        module = make()
        weights.fill(module)
        module = module.to(kind)
        inputs = [stream.to(kind).clone().requires_grad_() for stream in streams]
        found = module(inputs, PRESENT)
        if kind == torch.float64:
            rows = [module.by_hand(inputs, PRESENT, row) for row in range(len(PRESENT))]
            for name in rows[0]:
                same(found[name], torch.stack([row[name] for row in rows]), f"{case}: {name}")
        loss = sum((value * weights.tensor(f"{case}.probe.{name}", tuple(value.shape)).to(kind)).sum() for name, value in found.items())
        loss.backward()
        # What stands in an absent row has no gradient, which here is zero by the mask.
        own = {f"stream.{m}": x.grad for m, x in enumerate(inputs)}
        own |= {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
        results.append((found, loss.reshape(1), own))
    (found, loss, own), (found_32, loss_32, own_32) = results
    for name, value in found.items():
        fixture.give(f"probe.{name}", weights.tensor(f"{case}.probe.{name}", tuple(value.shape)))
        fixture.expect(name, value, found_32[name])
    fixture.expect("loss", loss, loss_32)
    fixture.expect_gradients(own, own_32)
    fixture.write(folder)


def late(combination: str):
    config = {"kind": "late", "hidden": 6, "combination": combination}
    return lambda folder: write(folder, f"fusion_late_{combination}", lambda: Late(combination), config)


def gated(folder: Path) -> None:
    write(folder, "fusion_gated", Gated, {"kind": "gated"})


def tensor(folder: Path) -> None:
    write(folder, "fusion_tensor", TensorFusion, {"kind": "tensor", "width": 3})


def low_rank(folder: Path) -> None:
    write(folder, "fusion_low_rank", LowRank, {"kind": "low_rank", "rank": 3})


def adaptive_hierarchical(folder: Path) -> None:
    write(folder, "fusion_adaptive_hierarchical", AdaptiveHierarchical, {"kind": "adaptive_hierarchical"})


def dynamic(folder: Path) -> None:
    names = ["text", "image", "series"]
    module = Dynamic()
    branches = [{"strategy": b.kind, "modalities": [names[m] for m in b.reads]} for b in module.branches]
    own = {"temperature": Dynamic.temperature, "price": Dynamic.price, "balance": Dynamic.balance, "decision": Dynamic.decision}
    write(folder, "fusion_dynamic", Dynamic, {"kind": "dynamic", "hidden": 9, "gate": 4, "branches": branches} | own)


COMBINATIONS = ["concatenated", "weighted_sum", "product_of_experts"]
CASES = [*map(late, COMBINATIONS), gated, tensor, low_rank, adaptive_hierarchical, dynamic]
