"""What a student learns from its teacher. Oracles are written out, and held to torch's own losses in the form that the papers' code has."""

import itertools
from pathlib import Path

import torch
import torch.nn.functional as functional

import weights
from objectives import write

ROWS, CLASSES = 5, 6
COUNTS = torch.tensor([1, 1, 0, 1, 1], dtype=torch.bool)
LABELLED = torch.tensor([1, 0, 0, 1, 1], dtype=torch.bool)
LABELS = torch.from_numpy(weights.whole_numbers("distillation.labels", (ROWS,), CLASSES))


def shares(scores, temperature=1.0):
    total = sum(torch.exp(score / temperature) for score in scores)
    return [torch.exp(score / temperature) / total for score in scores]


def divergence(teacher, student, temperature=1.0):
    """KL of one row of scores from the teacher's."""
    return sum(p * torch.log(p / q) for p, q in zip(shares(teacher, temperature), shares(student, temperature)))


def surprise(scores, right):
    return -torch.log(shares(scores)[right])


def mean(values):
    values = list(values)
    return sum(values) / len(values)


# --------------------------------------------------------------------------------------------------------------- logits

TEMPERATURE, ALPHA = 3.0, 0.7


def logits_by_hand(labels, labelled, counts, teacher, student):
    soft = TEMPERATURE**2 * mean(divergence(teacher[i], student[i], TEMPERATURE) for i in range(ROWS) if counts[i])
    hard = mean(surprise(student[i], labels[i]) for i in range(ROWS) if labelled[i])
    return {"loss": ALPHA * soft + (1 - ALPHA) * hard, "soft": soft, "hard": hard}


def logits_by_torch(labels, labelled, counts, teacher, student):
    own, other = (functional.log_softmax(x[counts] / TEMPERATURE, 1) for x in (student, teacher))
    soft = functional.kl_div(own, other, reduction="batchmean", log_target=True) * TEMPERATURE**2
    hard = functional.cross_entropy(student[labelled], labels[labelled])
    return {"loss": ALPHA * soft + (1 - ALPHA) * hard, "soft": soft, "hard": hard}


def logits(folder: Path) -> None:
    given = {"labels": LABELS, "labelled": LABELLED, "counts": COUNTS, "teacher": weights.tensor("distillation.teacher", (ROWS, CLASSES), 4.0)}
    student = weights.tensor("distillation.student", (ROWS, CLASSES), 4.0)
    config = {"temperature": TEMPERATURE, "alpha": ALPHA}
    write(folder, "distil_logits", config, given, {"student": student}, logits_by_hand, logits_by_torch)


# -------------------------------------------------------------------------------------------------------------- features

BATCH, SEQ, SMALL, LARGE = 2, 3, 4, 5
KEPT = torch.tensor([[1, 1, 1], [1, 0, 0]], dtype=torch.bool)


def features_by_hand(cosine: bool):
    def compute(counts, teacher, student, projection):
        rows = []
        for b in range(BATCH):
            row = []
            for t in [t for t in range(SEQ) if counts[b, t]]:
                own = [sum(projection[o, i] * student[b, t, i] for i in range(SMALL)) for o in range(LARGE)]
                other = teacher[b, t]
                if cosine:
                    inner = sum(x * y for x, y in zip(own, other))
                    sizes = [torch.sqrt(sum(x * x for x in v)) for v in (own, other)]
                    row.append(1 - inner / (sizes[0] * sizes[1]))
                else:
                    row.append(sum((x - y) ** 2 for x, y in zip(own, other)) / LARGE)
            rows.append(row)
        return {"loss": mean(cost for row in rows for cost in row), "per_row": torch.stack([mean(row) for row in rows])}

    return compute


def features_by_torch(cosine: bool):
    def loss(own, other):
        if cosine:  # as DistilBERT's distiller calls it
            return functional.cosine_embedding_loss(own, other, own.new_ones(len(own)))
        return functional.mse_loss(own, other)

    def compute(counts, teacher, student, projection):
        own = student @ projection.T
        each = [loss(own[b][counts[b]], teacher[b][counts[b]]) for b in range(BATCH)]
        return {"loss": loss(own[counts], teacher[counts]), "per_row": torch.stack(each)}

    return compute


def features(cosine: bool):
    def case(folder: Path) -> None:
        given = {"counts": KEPT, "teacher": weights.tensor("features.teacher", (BATCH, SEQ, LARGE))}
        tracked = {"student": weights.tensor("features.student", (BATCH, SEQ, SMALL)), "projection": weights.tensor("features.projection", (LARGE, SMALL))}
        name = "distil_features_cosine" if cosine else "distil_features_square"
        write(folder, name, {"cosine": cosine}, given, tracked, features_by_hand(cosine), features_by_torch(cosine))

    return case


# ------------------------------------------------------------------------------------------------------------- relations

DISTANCE, ANGLE = 25.0, 50.0


def huber(one, other):
    gap = (one - other).abs()
    return gap**2 / 2 if gap <= 1 else gap - 0.5


def relations_by_hand(teacher, student):
    def length(v):
        return torch.sqrt((v * v).sum())

    def distances(x):
        all_pairs = {(i, j): length(x[i] - x[j]) for i, j in itertools.permutations(range(ROWS), 2)}
        average = mean(all_pairs.values())
        return {pair: distance / average for pair, distance in all_pairs.items()}

    def angle(x, i, j, k):
        one, other = x[j] - x[i], x[k] - x[i]
        return (one * other).sum() / (length(one) * length(other))

    own, other = distances(student), distances(teacher)
    distance = mean(huber(own[pair], other[pair]) for pair in own)
    angles = mean(huber(angle(student, *t), angle(teacher, *t)) for t in itertools.permutations(range(ROWS), 3))
    return {"loss": DISTANCE * distance + ANGLE * angles, "distance": distance, "angle": angles}


def relations_by_torch(teacher, student):
    """As the authors' code has it, which divides by batch² and batch³, brought to the number of pairs and triples."""

    def apart(x):
        squares = (x[:, None] - x[None]).square().sum(2)
        eye = torch.eye(len(x), dtype=torch.bool)
        lengths = torch.where(eye, torch.zeros_like(squares), torch.where(eye, torch.ones_like(squares), squares).sqrt())
        return lengths / lengths[lengths > 0].mean()

    def angles(x):
        directions = functional.normalize(x[None] - x[:, None], dim=2)
        return torch.bmm(directions, directions.transpose(1, 2))

    def diagonal_free(x):
        i, j, k = torch.meshgrid(*[torch.arange(ROWS)] * 3, indexing="ij")
        return x[(i != j) & (i != k) & (j != k)]

    distance = functional.smooth_l1_loss(apart(student), apart(teacher)) * ROWS / (ROWS - 1)
    angle = functional.smooth_l1_loss(diagonal_free(angles(student)), diagonal_free(angles(teacher)))
    return {"loss": DISTANCE * distance + ANGLE * angle, "distance": distance, "angle": angle}


def relations(folder: Path) -> None:
    given = {"teacher": weights.tensor("relations.teacher", (ROWS, LARGE))}
    # One student far from the others: its distances are on the straight part of the Huber loss.
    student = weights.tensor("relations.student", (ROWS, SMALL)) + torch.eye(ROWS, SMALL)[[1, 2, 3, 0, 4]] * 3.0
    config = {"distance": DISTANCE, "angle": ANGLE}
    write(folder, "distil_relations", config, given, {"student": student}, relations_by_hand, relations_by_torch)


# ------------------------------------------------------------------------------------------------------------- attention

HEADS = 2
PLACES = [(b, h, q) for b in range(BATCH) for h in range(HEADS) for q in range(SEQ) if KEPT[b, q]]


def attention_by_hand(maps: bool):
    def compute(counts, teacher, student):
        costs = []
        for b, h, q in PLACES:
            keys = [k for k in range(SEQ) if counts[b, k]]
            own, other = student[b, h, q, keys], teacher[b, h, q, keys]
            costs += [divergence(other, own)] if maps else [(x - y) ** 2 for x, y in zip(own, other)]
        return {"loss": mean(costs)}

    return compute


def attention_by_torch(maps: bool):
    def compute(counts, teacher, student):
        hidden = ~counts[:, None, None, :]
        if maps:
            own, other = (functional.log_softmax(x.masked_fill(hidden, -1e9), 3) for x in (student, teacher))
            costs = functional.kl_div(own, other, reduction="none", log_target=True).sum(3).transpose(1, 2)
            return {"loss": costs[counts].mean()}
        both = (counts[:, None, :, None] & counts[:, None, None, :]).expand_as(student)
        return {"loss": functional.mse_loss(student[both], teacher[both])}

    return compute


def attention(maps: bool):
    def case(folder: Path) -> None:
        shape = (BATCH, HEADS, SEQ, SEQ)
        given = {"counts": KEPT, "teacher": weights.tensor("attention.teacher", shape, 2.0)}
        student = weights.tensor("attention.student", shape, 2.0)
        name = "distil_attention_maps" if maps else "distil_attention_scores"
        write(folder, name, {"maps": maps}, given, {"student": student}, attention_by_hand(maps), attention_by_torch(maps))

    return case


# ------------------------------------------------------------------------------------------------------------- two towers

FEATURE, INTERACTIVE, INTERACTIVE_RELATION, RELATION = 20.0, 1.0, 0.5, 2.0


def cosine(one, other):
    return (one * other).sum() / (one.square().sum().sqrt() * other.square().sum().sqrt())


def clip_parts(feature, interactive, interactive_relation, relation):
    parts = {"feature": feature, "interactive": interactive, "interactive_relation": interactive_relation, "relation": relation}
    factors = [FEATURE, INTERACTIVE, INTERACTIVE_RELATION, RELATION]
    return {"loss": sum(factor * part for factor, part in zip(factors, parts.values()))} | parts


def clip_by_hand(teacher_image, teacher_text, teacher_log_scale, image, text, image_projection, text_projection, log_scale, interactive_log_scale):
    def rows(queries, keys, scale):
        return [[torch.exp(scale) * cosine(query, key) for key in keys] for query in queries]

    near_image, near_text = [image_projection @ x for x in image], [text_projection @ x for x in text]
    unit = lambda v: v / v.square().sum().sqrt()
    error = lambda own, other: mean(((unit(x) - unit(y)) ** 2).mean() for x, y in zip(own, other))
    wanted = [rows(teacher_image, teacher_text, teacher_log_scale), rows(teacher_text, teacher_image, teacher_log_scale)]
    between = [rows(near_image, teacher_text, interactive_log_scale), rows(near_text, teacher_image, interactive_log_scale)]
    own = [rows(image, text, log_scale), rows(text, image, log_scale)]
    away = lambda found: mean(divergence(t, s) for side, other in zip(wanted, found) for t, s in zip(side, other))
    return clip_parts(
        error(near_image, teacher_image) + error(near_text, teacher_text),
        mean(surprise(row, i) for side in between for i, row in enumerate(side)),
        away(between),
        away(own),
    )


def clip_by_authors(teacher_image, teacher_text, teacher_log_scale, image, text, image_projection, text_projection, log_scale, interactive_log_scale):
    """The parts as the released KDClipLoss computes them, with the exponential of the interactive scale that it lacks."""
    image, text, near_image, near_text, teacher_image, teacher_text = (
        functional.normalize(x)
        for x in (image, text, image @ image_projection.T, text @ text_projection.T, teacher_image, teacher_text)
    )
    kl = lambda own, other: functional.kl_div(functional.log_softmax(own, 1), functional.softmax(other, 1), reduction="batchmean")
    wanted = teacher_log_scale.exp() * teacher_image @ teacher_text.T
    own = log_scale.exp() * image @ text.T
    to_text = interactive_log_scale.exp() * near_image @ teacher_text.T
    to_image = interactive_log_scale.exp() * near_text @ teacher_image.T
    right = torch.arange(len(image))
    return clip_parts(
        functional.mse_loss(near_image, teacher_image) + functional.mse_loss(near_text, teacher_text),
        (functional.cross_entropy(to_text, right) + functional.cross_entropy(to_image, right)) / 2,
        (kl(to_text, wanted) + kl(to_image, wanted.T)) / 2,
        (kl(own, wanted) + kl(own.T, wanted.T)) / 2,
    )


def clip(folder: Path) -> None:
    given = {
        "teacher_image": weights.tensor("clip_kd.teacher_image", (ROWS, LARGE)),
        "teacher_text": weights.tensor("clip_kd.teacher_text", (ROWS, LARGE)),
        "teacher_log_scale": torch.tensor([1.5]),
    }
    tracked = {
        "image": weights.tensor("clip_kd.image", (ROWS, SMALL)),
        "text": weights.tensor("clip_kd.text", (ROWS, SMALL)),
        "image_projection": weights.tensor("clip_kd.image_projection", (LARGE, SMALL)),
        "text_projection": weights.tensor("clip_kd.text_projection", (LARGE, SMALL)),
        "log_scale": torch.tensor([1.0]),
        "interactive_log_scale": torch.tensor([0.5]),
    }
    config = {"feature": FEATURE, "interactive": INTERACTIVE, "interactive_relation": INTERACTIVE_RELATION, "relation": RELATION}
    write(folder, "distil_clip", config, given, tracked, clip_by_hand, clip_by_authors)


# ------------------------------------------------------------------------------------------------------ distillation token


def token_by_hand(hard: bool):
    def compute(labels, counts, teacher, class_logits, token_logits):
        rows = [i for i in range(ROWS) if counts[i]]
        own = mean(surprise(class_logits[i], labels[i]) for i in rows)
        if hard:
            token = mean(surprise(token_logits[i], max(range(CLASSES), key=lambda k: float(teacher[i, k]))) for i in rows)
        else:
            total = sum(divergence(teacher[i], token_logits[i], TEMPERATURE) for i in rows)
            token = TEMPERATURE**2 * total / (len(rows) * CLASSES)
        return {"loss": (1 - ALPHA) * own + ALPHA * token, "class": own, "token": token}

    return compute


def token_by_deit(hard: bool):
    """As DeiT's DistillationLoss has it."""

    def compute(labels, counts, teacher, class_logits, token_logits):
        teacher, class_logits, token_logits = teacher[counts], class_logits[counts], token_logits[counts]
        own = functional.cross_entropy(class_logits, labels[counts])
        if hard:
            token = functional.cross_entropy(token_logits, teacher.argmax(dim=1))
        else:
            student, other = (functional.log_softmax(x / TEMPERATURE, dim=1) for x in (token_logits, teacher))
            token = functional.kl_div(student, other, reduction="sum", log_target=True) * TEMPERATURE**2 / token_logits.numel()
        return {"loss": own * (1 - ALPHA) + token * ALPHA, "class": own, "token": token}

    return compute


def token(hard: bool):
    def case(folder: Path) -> None:
        given = {"labels": LABELS, "counts": COUNTS, "teacher": weights.tensor("token.teacher", (ROWS, CLASSES), 4.0)}
        tracked = {
            "class_logits": weights.tensor("token.class", (ROWS, CLASSES), 4.0),
            "token_logits": weights.tensor("token.token", (ROWS, CLASSES), 4.0),
        }
        name = "distil_token_hard" if hard else "distil_token_soft"
        write(folder, name, {"temperature": TEMPERATURE, "alpha": ALPHA}, given, tracked, token_by_hand(hard), token_by_deit(hard))

    return case


CASES = [
    logits,
    features(False),
    features(True),
    relations,
    attention(False),
    attention(True),
    clip,
    token(True),
    token(False),
]
