"""Contrast over time and with a memory: CPC with its gated recurrent unit, and CMC over two batches."""

import math
from pathlib import Path

import torch
import torch.nn.functional as functional

import weights
from contrast import picks
from contrast_more import record
from fixture import Fixture, same

BATCH, TIME, DIM, CONTEXT, STEPS = 4, 6, 3, 5, 3
LENGTHS = [6, 4, 6, 2]


def cpc_anchors(kind: str, k: int) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Each (row, time) that has a future k steps on, with the (row, time) of all that compete for it, itself included."""
    there = [(row, t) for row in range(BATCH) for t in range(TIME) if t + k < LENGTHS[row]]
    rule = {
        "OtherRows": lambda a, b: a[1] == b[1],
        "OtherTimes": lambda a, b: a[0] == b[0],
        "Everything": lambda a, b: True,
    }[kind]
    groups = {anchor: [other for other in there if rule(anchor, other)] for anchor in there}
    return {anchor: group for anchor, group in groups.items() if len(group) > 1}


def cpc_by_hand(kind):
    def compute(z, c, *projections):
        parts, losses = {}, []
        for index, w in enumerate(projections):
            k, costs, hits, logs = index + 1, [], [], []
            for (row, t), group in cpc_anchors(kind, k).items():
                predicted = w @ c[row, t]
                scores = [z[r, s + k] @ predicted for r, s in group]
                right = group.index((row, t))
                costs.append(picks(scores, right))
                hits.append(all(scores[right] > score for i, score in enumerate(scores) if i != right))
                logs.append(math.log(len(group)))
            zero = z.sum() * 0
            parts[f"step.{index}.loss"] = sum(costs) / len(costs) if costs else zero
            parts[f"step.{index}.accuracy"] = torch.tensor(sum(hits) / max(len(hits), 1), dtype=z.dtype)
            parts[f"step.{index}.bound"] = (sum(logs) / len(logs) - sum(costs) / len(costs)) if costs else zero
            losses += [parts[f"step.{index}.loss"]] if costs else []
        return {"loss": sum(losses) / len(losses), **parts}

    return compute


def cpc_by_matrix(kind):
    def compute(z, c, *projections):
        parts, losses = {}, []
        lengths = torch.tensor(LENGTHS)
        for index, w in enumerate(projections):
            k = index + 1
            rows, times = torch.meshgrid(torch.arange(BATCH), torch.arange(TIME - k), indexing="ij")
            rows, times = rows.reshape(-1), times.reshape(-1)
            kept = times + k < lengths[rows]
            scores = (c[rows, times] @ w.T) @ z[rows, times + k].T
            strange = {"OtherRows": times[:, None] != times, "OtherTimes": rows[:, None] != rows}.get(kind, torch.zeros_like(scores).bool())
            open_ = ~(strange | ~kept[None])
            kept = kept & (open_.sum(1) > 1)
            seen = scores.masked_fill(~open_, -torch.inf)[kept]
            right = torch.arange(len(rows))[kept]
            if len(right) == 0:
                parts |= {f"step.{index}.{name}": z.sum() * 0 for name in ("loss", "accuracy", "bound")}
                continue
            loss = functional.cross_entropy(seen, right)
            parts[f"step.{index}.loss"] = loss
            parts[f"step.{index}.accuracy"] = (seen.argmax(1) == right).to(z.dtype).mean()
            parts[f"step.{index}.bound"] = open_.sum(1)[kept].to(z.dtype).log().mean() - loss
            losses.append(loss)
        return {"loss": sum(losses) / len(losses), **parts}

    return compute


def cpc(folder: Path) -> None:
    z, c = weights.tensor("cpc.encoded", (BATCH, TIME, DIM), 4.0), weights.tensor("cpc.context", (BATCH, TIME, CONTEXT), 4.0)
    names = [f"steps.{k}.weight" for k in range(STEPS)]
    matrices = {name: torch.from_numpy(weights.values(name, (DIM, CONTEXT))) for name in names}
    for case, kind in [("cpc_other_rows", "OtherRows"), ("cpc_other_times", "OtherTimes"), ("cpc_everything", "Everything")]:
        config = {"lengths": LENGTHS, "dim": DIM, "context_dim": CONTEXT, "steps": STEPS}
        given = {"encoded": z, "context": c, **matrices}
        record(folder, case, config, given, cpc_by_hand(kind), cpc_by_matrix(kind))


# --------------------------------------------------------------------------------------------------------------- GRU


def gru_by_hand(x, state, w, b, u, c):
    states, hidden = [], state.shape[1]
    for t in range(x.shape[1]):
        rows = []
        for row in range(x.shape[0]):
            now, before = w @ x[row, t] + b, u @ state[row] + c
            reset = torch.sigmoid(now[:hidden] + before[:hidden])
            update = torch.sigmoid(now[hidden : 2 * hidden] + before[hidden : 2 * hidden])
            new = torch.tanh(now[2 * hidden :] + reset * before[2 * hidden :])
            rows.append((1 - update) * new + update * state[row])
        state = torch.stack(rows)
        states.append(state)
    return torch.stack(states, 1)


def gru(folder: Path) -> None:
    names = ["input.weight", "input.bias", "recurrent.weight", "recurrent.bias"]
    shapes = [(12, 3), (12,), (12, 4), (12,)]
    matrices = {name: torch.from_numpy(weights.values(name, shape)) * 4 for name, shape in zip(names, shapes)}
    probe = weights.tensor("gru.probe", (2, 5, 4))

    def by_hand(x, state, *parameters):
        states = gru_by_hand(x, state, *parameters)
        return {"loss": (states * probe.to(x.dtype)).sum(), "states": states}

    def by_torch(x, state, w, b, u, c):
        theirs = dict(zip(["weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0"], [w, b, u, c]))
        module = torch.nn.GRU(3, 4, batch_first=True).to(x.dtype)
        states, _ = torch.func.functional_call(module, theirs, (x, state[None]))
        return {"loss": (states * probe.to(x.dtype)).sum(), "states": states}

    given = {"x": weights.tensor("gru.x", (2, 5, 3), 2.0), "state": weights.tensor("gru.state", (2, 4)), **matrices}
    record(folder, "gru", {"input": 3, "hidden": 4}, given, by_hand, by_torch, [("probe", probe)])


# --------------------------------------------------------------------------------------------------------------- CMC

SAMPLES, WIDTH, DRAWN, TAU, MOMENTUM, KEPT = 11, 4, 6, 0.07, 0.5, 0.99
PLACES = [[2, 7, 7, 0, 10], [7, 3, 2, 9, 4]]  # a sample twice in the first batch
PAIRS = [(a, b) for a in range(3) for b in range(3) if a != b]


def cmc_by_hand(views, bank, z, places, negatives):
    """The formula with its probabilities, anchor by anchor; `bank` and `z` are changed in place, after scoring."""
    parts, total = {}, 0
    for a, b in PAIRS:
        scores = []
        for row, place in enumerate(places):
            x = views[a][row] / views[a][row].norm()
            scores.append([x @ bank[b][j] / TAU for j in [place, *negatives[row].tolist()]])
        fresh = SAMPLES * sum(math.exp(s.item()) for row in scores for s in row) / (len(places) * (DRAWN + 1))
        z[a, b] = fresh if (a, b) not in z else KEPT * z[a, b] + (1 - KEPT) * fresh
        noise, positive, negative = DRAWN / SAMPLES, 0, 0
        for row in scores:
            p = [torch.exp(s) / z[a, b] for s in row]
            positive = positive - torch.log(p[0] / (p[0] + noise)) / len(places)
            negative = negative - sum(torch.log(noise / (q + noise)) for q in p[1:]) / len(places)
        parts[f"positive.{a}.{b}"], parts[f"negative.{a}.{b}"] = positive, negative
        total = total + positive + negative
    for view, vectors in enumerate(views):
        old, bank[view] = bank[view], bank[view].clone()
        for row, place in enumerate(places):  # from what was there before the batch: of a sample named twice the last counts
            x = vectors[row].detach() / vectors[row].detach().norm()
            mixed = MOMENTUM * old[place] + (1 - MOMENTUM) * x
            bank[view][place] = mixed / mixed.norm()
    return {"loss": total, **parts}


def cmc_by_matrix(views, bank, z, places, negatives):
    """As the released NCEAverage and NCECriterion, with Z averaged."""
    index, parts, total = torch.cat([torch.tensor(places)[:, None], negatives], 1), {}, 0
    for a, b in PAIRS:
        scores = torch.einsum("rcd,rd->rc", bank[b][index], functional.normalize(views[a])) / TAU
        fresh = (scores.detach().exp().mean() * SAMPLES).item()
        z[a, b] = fresh if (a, b) not in z else KEPT * z[a, b] + (1 - KEPT) * fresh
        logits = scores - math.log(z[a, b]) - math.log(DRAWN / SAMPLES)
        positive = functional.softplus(-logits[:, 0]).sum() / len(places)
        negative = functional.softplus(logits[:, 1:]).sum() / len(places)
        parts[f"positive.{a}.{b}"], parts[f"negative.{a}.{b}"] = positive, negative
        total = total + positive + negative
    for view, vectors in enumerate(views):
        last = {place: row for row, place in enumerate(places)}
        rows, where = list(last.values()), list(last)
        mixed = MOMENTUM * bank[view][where] + (1 - MOMENTUM) * functional.normalize(vectors.detach()[rows])
        bank[view] = bank[view].clone()
        bank[view][where] = functional.normalize(mixed)
    return {"loss": total, **parts}


def cmc(folder: Path) -> None:
    start = [functional.normalize(weights.tensor(f"cmc.bank.{v}", (SAMPLES, WIDTH))) for v in range(3)]
    negatives = [torch.from_numpy(weights.whole_numbers(f"cmc.negatives.{n}", (5, DRAWN), SAMPLES)) for n in range(2)]
    names = [f"batch.{n}.view.{v}" for n in range(2) for v in range(3)]
    given = {name: weights.tensor(f"cmc.{name}", (5, WIDTH), 3.0) for name in names}

    def two_batches(one_batch):
        def compute(*tensors):
            bank, z, parts, total = [x.to(tensors[0].dtype).clone() for x in start], {}, {}, 0
            for n in range(2):
                found = one_batch(tensors[3 * n : 3 * n + 3], bank, z, PLACES[n], negatives[n])
                total = total + found["loss"]
                parts |= {f"batch.{n}.{name}": value for name, value in found.items()}
                parts |= {f"batch.{n}.bank.{v}": bank[v].clone() for v in range(3)}
                logs = {f"batch.{n}.log_normaliser.{a}.{b}": torch.tensor(math.log(z[a, b]), dtype=total.dtype) for a, b in PAIRS}
                parts |= logs
            return {"loss": total, **parts}

        return compute

    config = {"places": PLACES, "temperature": TAU}
    constants = [(f"bank.{v}", x) for v, x in enumerate(start)] + [(f"negatives.{n}", x) for n, x in enumerate(negatives)]
    record(folder, "cmc_loss", config, given, two_batches(cmc_by_hand), two_batches(cmc_by_matrix), constants)


CASES = [cpc, gru, cmc]
