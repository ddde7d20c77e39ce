"""Losses that contrast nothing: reconstruction, language, codes, several tasks. Oracles are written out, and held to transformers,
torch and torchjd."""

import math
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as functional
from torchjd.aggregation import PCGrad
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from transformers.loss.loss_utils import ForCausalLMLoss, ForMaskedLMLoss

import weights
from fixture import Fixture, same


def write(folder: Path, case: str, config: dict, given: dict, tracked: dict, exactly, nearly) -> None:
    """`exactly` in f64 is the oracle, `nearly` in f32 says how far torch's usual form is from it; in f64 both must agree. `given` is
    handed over as it is, `tracked` gets gradients. Parts may be of any shape; the part `loss` is differentiated."""
    fixture = Fixture(case, config)
    results = []
    for function, kind in [(exactly, torch.float64), (nearly, torch.float32), (nearly, torch.float64)]:
        fixed = {name: value.to(kind) if value.is_floating_point() else value for name, value in given.items()}
        inputs = {name: value.to(kind).clone().requires_grad_() for name, value in tracked.items()}
        parts = function(**fixed, **inputs)
        parts["loss"].sum().backward()
        results.append((parts, {name: value.grad for name, value in inputs.items()}))
    (parts, own), (parts_32, own_32), (parts_64, own_64) = results
    for name, value in (given | tracked).items():
        fixture.give(name, value)
    for name in own:
        same(own[name], own_64[name], f"{case}: gradient of {name}", 1e-9)
    for name, value in parts.items():
        same(value.reshape(-1), parts_64[name].reshape(-1), f"{case}: {name}", 1e-9)
        fixture.expect(name, value.reshape(-1), parts_32[name].reshape(-1))
    fixture.expect_gradients(own, own_32)
    fixture.write(folder)


# ------------------------------------------------------------------------------------------------------- masked pictures

PATCH, CHANNELS, HEIGHT, WIDTH = 2, 3, 4, 6
MASKED = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)  # one picture with nothing masked


def masked_image_by_hand(normalised: bool):
    def compute(pictures, masked, predicted):
        total, per_picture = 0, []
        for picture, marks, guesses in zip(pictures, masked, predicted):
            errors = []
            for index in range(len(marks)):
                row, column = index // (WIDTH // PATCH) * PATCH, index % (WIDTH // PATCH) * PATCH
                pixels = [picture[c, row + y, column + x] for y in range(PATCH) for x in range(PATCH) for c in range(CHANNELS)]
                if normalised:
                    mean = sum(pixels) / len(pixels)
                    variance = sum((p - mean) ** 2 for p in pixels) / (len(pixels) - 1)
                    pixels = [(p - mean) / torch.sqrt(variance + 1e-6) for p in pixels]
                if marks[index]:
                    errors.append(sum((g - p) ** 2 for g, p in zip(guesses[index], pixels)) / len(pixels))
            total = total + sum(errors)
            per_picture.append(sum(errors) / len(errors) if errors else torch.zeros((), dtype=pictures.dtype))
        return {"loss": total / masked.sum(), "per_picture": torch.stack(per_picture)}

    return compute


class Given(torch.nn.Module):
    """Stands for a part of the model whose result is known."""

    def __init__(self, **result):
        super().__init__()
        self.result = SimpleNamespace(**result)

    def forward(self, *_, **__):
        return self.result


def masked_image_by_transformers(normalised: bool):
    def compute(pictures, masked, predicted):
        config = ViTMAEConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, decoder_hidden_size=8, decoder_num_hidden_layers=1,
            decoder_num_attention_heads=1, decoder_intermediate_size=8, image_size=HEIGHT, patch_size=PATCH, norm_pix_loss=normalised,
        )
        model = ViTMAEForPreTraining(config)

        def loss(rows):
            mask = masked[rows].to(predicted.dtype)
            model.vit = Given(last_hidden_state=None, ids_restore=None, mask=mask, hidden_states=None, attentions=None)
            model.decoder = Given(logits=predicted[rows])
            return model(pictures[rows], interpolate_pos_encoding=True).loss

        # A picture with nothing masked alone would be 0 / 0 there.
        each = [loss(slice(i, i + 1)) if masked[i].any() else torch.zeros((), dtype=predicted.dtype) for i in range(len(masked))]
        return {"loss": loss(slice(None)), "per_picture": torch.stack(each)}

    return compute


def masked_image(normalised: bool):
    def case(folder: Path) -> None:
        shape = (len(MASKED), CHANNELS, HEIGHT, WIDTH)
        given = {"pictures": weights.tensor("masked_image.pictures", shape, 2.0), "masked": MASKED}
        predicted = weights.tensor("masked_image.predicted", (*MASKED.shape, PATCH * PATCH * CHANNELS))
        name = "masked_image_normalised" if normalised else "masked_image_raw"
        exactly, nearly = masked_image_by_hand(normalised), masked_image_by_transformers(normalised)
        write(folder, name, {"patch": PATCH}, given, {"predicted": predicted}, exactly, nearly)

    return case


# ------------------------------------------------------------------------------------------------------------- language

BATCH, SEQ, VOCABULARY, DIM = 3, 5, 11, 4
IDS = torch.from_numpy(weights.whole_numbers("language.ids", (BATCH, SEQ), VOCABULARY))
# Of the second text one token counts, of the third none.
COUNTS = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)


def surprise(scores, right):
    """-log p of one token."""
    return torch.log(sum(torch.exp(score) for score in scores)) - scores[right]


def over_rows(costs: list[list], dtype) -> dict:
    """The mean over all, and over each row."""
    flat = [cost for row in costs for cost in row]
    return {
        "loss": sum(flat) / len(flat),
        "per_row": torch.stack([sum(row) / len(row) if row else torch.zeros((), dtype=dtype) for row in costs]),
    }


def masked_language_by_hand(ids, counts, logits):
    costs = [[surprise(logits[b, t], ids[b, t]) for t in range(SEQ) if counts[b, t]] for b in range(BATCH)]
    return over_rows(costs, logits.dtype)


def ignored(ids, counts):
    return torch.where(counts, ids, -100)


def by_row(loss, counts, dtype):
    rows = [loss(b) if counts[b].any() else torch.zeros((), dtype=dtype) for b in range(BATCH)]
    return torch.stack(rows)


def masked_language_by_transformers(ids, counts, logits):
    labels = ignored(ids, counts)
    if logits.dtype == torch.float32:  # theirs is always in f32
        loss = ForMaskedLMLoss(logits, labels, VOCABULARY)
    else:
        loss = functional.cross_entropy(logits.reshape(-1, VOCABULARY), labels.reshape(-1))
        same(loss.detach(), ForMaskedLMLoss(logits, labels, VOCABULARY).detach().double(), "transformers' masked loss", 1e-6)
    return {"loss": loss, "per_row": by_row(lambda b: functional.cross_entropy(logits[b], labels[b]), counts, logits.dtype)}


def masked_language(folder: Path) -> None:
    logits = weights.tensor("masked_language.logits", (BATCH, SEQ, VOCABULARY), 3.0)
    given = {"ids": IDS, "counts": COUNTS}
    write(folder, "masked_language_loss", {}, given, {"logits": logits}, masked_language_by_hand, masked_language_by_transformers)


def decoded(compute):
    def with_decoder(ids, counts, hidden, table, bias):
        return compute(ids, counts, hidden @ table.T + bias)

    return with_decoder


def masked_language_decoded(folder: Path) -> None:
    given = {"ids": IDS, "counts": COUNTS}
    tracked = {
        "hidden": weights.tensor("masked_language.hidden", (BATCH, SEQ, DIM), 2.0),
        "table": weights.tensor("masked_language.table", (VOCABULARY, DIM)),
        "bias": weights.tensor("masked_language.bias", (VOCABULARY,)),
    }
    exactly, nearly = decoded(masked_language_by_hand), decoded(masked_language_by_transformers)
    write(folder, "masked_language_decoded", {}, given, tracked, exactly, nearly)


def captioning_by_hand(smoothing: float):
    def compute(ids, counts, logits):
        costs = []
        for b in range(BATCH):
            row = []
            for t in range(SEQ - 1):
                if counts[b, t + 1]:
                    even = sum(surprise(logits[b, t], k) for k in range(VOCABULARY)) / VOCABULARY
                    row.append((1 - smoothing) * surprise(logits[b, t], ids[b, t + 1]) + smoothing * even)
            costs.append(row)
        return over_rows(costs, logits.dtype)

    return compute


def captioning_by_transformers(smoothing: float):
    def compute(ids, counts, logits):
        labels = ignored(ids, counts)
        loss = lambda x, y: functional.cross_entropy(x.reshape(-1, VOCABULARY), y.reshape(-1), label_smoothing=smoothing)
        own = loss(logits[:, :-1], labels[:, 1:])
        if smoothing == 0:
            theirs = ForCausalLMLoss(logits, labels, VOCABULARY)
            same(own.detach().double(), theirs.detach().double(), "transformers' causal loss", 1e-6)
            own = theirs if logits.dtype == torch.float32 else own
        rows = by_row(lambda b: loss(logits[b, :-1], labels[b, 1:]), counts, logits.dtype)
        return {"loss": own, "per_row": rows}

    return compute


def captioning(smoothing: float):
    def case(folder: Path) -> None:
        logits = weights.tensor("captioning.logits", (BATCH, SEQ, VOCABULARY), 3.0)
        name = "captioning_smoothed" if smoothing else "captioning_loss"
        exactly, nearly = captioning_by_hand(smoothing), captioning_by_transformers(smoothing)
        write(folder, name, {"smoothing": smoothing}, {"ids": IDS, "counts": COUNTS}, {"logits": logits}, exactly, nearly)

    return case


# --------------------------------------------------------------------------------------------------------------- codes

ROWS, CODES, BETA = 7, 5, 0.25
ROW_COUNTS = torch.tensor([1, 1, 0, 1, 1, 1, 0], dtype=torch.bool)


def quantisation_by_hand(counts, weight, x, codes):
    """`weight` is what a model behind the codes would send back."""
    chosen, codebook, commitment, through = [], 0, 0, 0
    for row in [i for i in range(ROWS) if counts[i]]:
        best = min(range(CODES), key=lambda k: float(sum((a - b) ** 2 for a, b in zip(x[row], codes[k]))))
        chosen.append(best)
        number = DIM * int(counts.sum())
        codebook = codebook + sum((a.detach() - b) ** 2 for a, b in zip(x[row], codes[best])) / number
        commitment = commitment + sum((a - b.detach()) ** 2 for a, b in zip(x[row], codes[best])) / number
        quantised = [a + (b - a).detach() for a, b in zip(x[row], codes[best])]
        through = through + sum(q * w for q, w in zip(quantised, weight[row]))
    shares = [chosen.count(k) / len(chosen) for k in range(CODES)]
    perplexity = math.exp(-sum(p * math.log(p) for p in shares if p))
    own = codebook + BETA * commitment
    return {"loss": own + through, "own": own, "codebook": codebook, "commitment": commitment, "perplexity": x.new_tensor(perplexity)}


def quantisation_by_torch(counts, weight, x, codes):
    x, weight = x[counts], weight[counts]
    ids = torch.cdist(x, codes).argmin(1)
    quantised = codes[ids]
    codebook, commitment = functional.mse_loss(quantised, x.detach()), functional.mse_loss(x, quantised.detach())
    through = ((x + (quantised - x).detach()) * weight).sum()
    shares = functional.one_hot(ids, CODES).to(x.dtype).mean(0)
    perplexity = torch.exp(-torch.special.xlogy(shares, shares).sum())
    own = codebook + BETA * commitment
    return {"loss": own + through, "own": own, "codebook": codebook, "commitment": commitment, "perplexity": perplexity}


def vector_quantisation(folder: Path) -> None:
    given = {"counts": ROW_COUNTS, "weight": weights.tensor("codes.weight", (ROWS, DIM))}
    tracked = {"x": weights.tensor("codes.x", (ROWS, DIM)), "codes": weights.tensor("codes.codes", (CODES, DIM))}
    write(folder, "vector_quantisation", {}, given, tracked, quantisation_by_hand, quantisation_by_torch)


def moving_codes(x, counts, codes, decay: float, steps: int, plain: bool):
    chosen, sums = torch.ones(CODES, dtype=x.dtype), codes.clone()
    for _ in range(steps):
        distances = torch.cdist(x, codes)
        ids = distances.argmin(1)
        if plain:
            new_chosen, new_sums = torch.zeros_like(chosen), torch.zeros_like(sums)
            for row in range(ROWS):
                if counts[row]:
                    new_chosen[ids[row]] += 1
                    new_sums[ids[row]] += x[row]
        else:
            choices = functional.one_hot(ids, CODES).to(x.dtype) * counts[:, None]
            new_chosen, new_sums = choices.sum(0), choices.T @ x
        chosen = decay * chosen + (1 - decay) * new_chosen
        sums = decay * sums + (1 - decay) * new_sums
        codes = sums / chosen[:, None]
    return codes, chosen


def moving_codebook(folder: Path) -> None:
    config = {"decay": 0.9, "steps": 5}
    x, codes = weights.tensor("codes.x", (ROWS, DIM)), weights.tensor("codes.codes", (CODES, DIM))
    fixture = Fixture("moving_codebook", config)
    for name, value in {"x": x, "codes": codes, "counts": ROW_COUNTS}.items():
        fixture.give(name, value)
    exactly = moving_codes(x.double(), ROW_COUNTS, codes.double(), **config, plain=True)
    other = moving_codes(x.double(), ROW_COUNTS, codes.double(), **config, plain=False)
    nearly = moving_codes(x, ROW_COUNTS, codes, **config, plain=False)
    for name, one, two, near in zip(["codes", "chosen"], exactly, other, nearly):
        same(one, two, f"moving codebook: {name}")
        fixture.expect(name, one, near)
    fixture.write(folder)


# -------------------------------------------------------------------------------------------------------- several tasks

TASKS, STEPS, RATE = 3, 10, 0.1
KINDS = ["regression", "classification", "regression"]
LABELLED = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=torch.bool)  # of the third task, none


def uncertainty_by_hand(labelled, costs, log_variances):
    per_task = []
    for task, kind in enumerate(KINDS):
        own = [costs[i, task] for i in range(len(costs)) if labelled[i, task]]
        factor = 0.5 if kind == "regression" else 1.0
        s = log_variances[task]
        per_task.append(factor * torch.exp(-s) * sum(own) / len(own) + s / 2 if own else 0 * s)
    return {"loss": sum(per_task), "per_task": torch.stack(per_task)}


def uncertainty_by_torch(labelled, costs, log_variances):
    counts = labelled.sum(0)
    means = (costs * labelled).sum(0) / counts.clamp_min(1)
    factor = torch.tensor([0.5 if kind == "regression" else 1.0 for kind in KINDS], dtype=costs.dtype)
    per_task = (factor * torch.exp(-log_variances) * means + log_variances / 2) * (counts > 0)
    return {"loss": per_task.sum(), "per_task": per_task}


def uncertainty(folder: Path) -> None:
    costs = weights.tensor("uncertainty.costs", LABELLED.shape, 2.0).square()
    tracked = {"costs": costs, "log_variances": weights.tensor("uncertainty.log_variances", (TASKS,), 2.0)}
    write(folder, "uncertainty_weights", {}, {"labelled": LABELLED}, tracked, uncertainty_by_hand, uncertainty_by_torch)


SAMPLES, SHARED = 6, 4


def toy_inputs() -> dict:
    """Two regressions with one layer in common, whose targets pull against each other and differ in size."""
    return {
        "x": weights.tensor("toy.x", (2, SAMPLES, SHARED)),
        "y": weights.tensor("toy.y", (2, SAMPLES)) * torch.tensor([[1.0], [4.0]]),
        "w": weights.tensor("toy.w", (SHARED,)),
    }


def toy_losses(x, y, w):
    return [(x[task] @ w - y[task]).square().mean() for task in range(2)]


def uncertainty_steps(x, y, w, **_):
    w, s = w.clone().requires_grad_(), torch.zeros(2, dtype=x.dtype, requires_grad=True)
    losses = []
    for _ in range(STEPS):
        each = toy_losses(x, y, w)
        loss = sum(torch.exp(-s[task]) * each[task] * 0.5 + s[task] / 2 for task in range(2))
        losses.append(loss.detach())
        of_w, of_s = torch.autograd.grad(loss, [w, s])
        w, s = (w - RATE * of_w).detach().requires_grad_(), (s - RATE * of_s).detach().requires_grad_()
    return {"losses": torch.stack(losses), "w": w.detach(), "state": s.detach()}


def uncertainty_steps_by_hand(x, y, w, **_):
    """The same with every derivative worked out."""
    s, losses = [torch.zeros((), dtype=x.dtype)] * 2, []
    for _ in range(STEPS):
        errors = [x[task] @ w - y[task] for task in range(2)]
        each = [(error**2).mean() for error in errors]
        losses.append(sum(torch.exp(-s[task]) * each[task] / 2 + s[task] / 2 for task in range(2)))
        of_w = sum(torch.exp(-s[task]) * (x[task].T @ errors[task]) / SAMPLES for task in range(2))
        w = w - RATE * of_w
        s = [s[task] - RATE * (1 - torch.exp(-s[task]) * each[task]) / 2 for task in range(2)]
    return {"losses": torch.stack(losses), "w": w, "state": torch.stack(s)}


PULL, WEIGHT_RATE = 1.5, 0.1


def grad_norm_steps(x, y, w, **_):
    """As the paper writes it: the gradient norms are differentiated with respect to the weights, the target is not."""
    w, scales, first, losses = w.clone().requires_grad_(), torch.ones(2, dtype=x.dtype), None, []
    for _ in range(STEPS):
        scales = scales.detach().requires_grad_()
        each = torch.stack(toy_losses(x, y, w))
        first = each.detach() if first is None else first
        losses.append((scales * each).sum().detach())
        norms = torch.stack([torch.autograd.grad(scales[t] * each[t], w, create_graph=True)[0].norm() for t in range(2)])
        ratios = (each / first).detach()
        target = (norms.mean() * (ratios / ratios.mean()) ** PULL).detach()
        of_scales = torch.autograd.grad((norms - target).abs().sum(), scales, retain_graph=True)[0]
        of_w = torch.autograd.grad((scales * each).sum(), w)[0]
        w = (w - RATE * of_w).detach().requires_grad_()
        scales = scales.detach() - WEIGHT_RATE * of_scales
        scales = scales * 2 / scales.sum()
    return {"losses": torch.stack(losses), "w": w.detach(), "state": scales}


def grad_norm_steps_by_hand(x, y, w, **_):
    scales, first, losses = [torch.ones((), dtype=x.dtype)] * 2, None, []
    for _ in range(STEPS):
        errors = [x[task] @ w - y[task] for task in range(2)]
        each = [(error**2).mean() for error in errors]
        first = first or each
        losses.append(sum(a * b for a, b in zip(scales, each)))
        gradients = [2 * x[task].T @ errors[task] / SAMPLES for task in range(2)]
        sizes = [(gradient**2).sum().sqrt() for gradient in gradients]
        mean = sum(a * b for a, b in zip(scales, sizes)) / 2
        ratios = [now / then for now, then in zip(each, first)]
        w = w - RATE * sum(a * b for a, b in zip(scales, gradients))
        new = []
        for task in range(2):
            gap = scales[task] * sizes[task] - mean * (ratios[task] / (sum(ratios) / 2)) ** PULL
            new.append(scales[task] - WEIGHT_RATE * torch.sign(gap) * sizes[task])
        scales = [2 * weight / sum(new) for weight in new]
    return {"losses": torch.stack(losses), "w": w, "state": torch.stack(scales)}


def steps(name: str, by_hand, by_torch):
    def case(folder: Path) -> None:
        given = toy_inputs()
        fixture = Fixture(name, {"steps": STEPS, "rate": RATE, "pull": PULL, "weight_rate": WEIGHT_RATE})
        for key, value in given.items():
            fixture.give(key, value)
        exactly, other = (function(**{k: v.double() for k, v in given.items()}) for function in (by_hand, by_torch))
        nearly = by_torch(**given)
        for key in exactly:
            same(exactly[key], other[key], f"{name}: {key}")
            fixture.expect(key, exactly[key], nearly[key])
        fixture.write(folder)

    return case


def pc_grad_by_hand(gradients, orders):
    total = torch.zeros_like(gradients[0])
    for task, order in enumerate(orders):
        own = gradients[task]
        for other in order:
            inner = (own * gradients[other]).sum()
            if inner < 0:
                own = own - inner / (gradients[other] ** 2).sum() * gradients[other]
        total = total + own
    return total


def pc_grad(folder: Path) -> None:
    """torchjd draws its orders from torch's generator: the same seed says which they were."""
    tasks, size, seed = 4, 9, 3
    gradients = weights.tensor("pc_grad.gradients", (tasks, size))
    torch.manual_seed(seed)
    orders = [[int(j) for j in torch.randperm(tasks) if j != task] for task in range(tasks)]
    results = []
    for kind in (torch.float64, torch.float32):
        torch.manual_seed(seed)
        results.append(PCGrad()(gradients.to(kind)))
    exactly = pc_grad_by_hand(gradients.double(), orders)
    same(exactly, results[0], "torchjd's PCGrad")
    conflicts = sum(int(gradients[i].double() @ gradients[j].double() < 0) for i in range(tasks) for j in range(i))
    assert conflicts >= 3, "a case without conflicts shows nothing"
    forwards = pc_grad_by_hand(gradients.double(), [[j for j in range(tasks) if j != i] for i in range(tasks)])
    assert (exactly - forwards).abs().max() > 1e-3, "the orders must matter"
    fixture = Fixture("pc_grad", {"orders": orders, "conflicts": conflicts})
    fixture.give("gradients", gradients)
    fixture.expect("sum", exactly, results[1])
    fixture.write(folder)


CASES = [
    masked_image(True),
    masked_image(False),
    masked_language,
    masked_language_decoded,
    captioning(0.0),
    captioning(0.1),
    vector_quantisation,
    moving_codebook,
    uncertainty,
    steps("uncertainty_steps", uncertainty_steps_by_hand, uncertainty_steps),
    steps("grad_norm_steps", grad_norm_steps_by_hand, grad_norm_steps),
    pc_grad,
]
