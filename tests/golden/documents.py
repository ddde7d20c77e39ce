"""Four small documents as features, and how they become a batch: written from the description in `florin-models`, in plain loops."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import weights
from reference import Batch, BertSizes, DocumentSizes, LayoutSizes, VitSizes

SPECIAL = [1, 2, 0]  # before a text, after it, padding
FURTHEST = 64.0  # line heights
# The model knows only its own number of features of print; the Rust tests say when it has changed.
SOURCE = Path(__file__).parents[2] / "crates/florin-models/src/document/features.rs"
PRINT_FEATURES = int(re.search(r"pub const PRINT_FEATURES: usize = (\d+);", SOURCE.read_text())[1])

SIZES = DocumentSizes(
    fields=["company", "date", "total"],
    text=BertSizes(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=10,
    ),
    layout=LayoutSizes(bins=10, lines=6, words=5, print_features=PRINT_FEATURES, dim=12),
    image=VitSizes(
        height=16, width=8, patch=4, channels=1, dim=8, layers=1, heads=2, hidden=16, class_token=False, epsilon=1e-6
    ),
    dim=24,
    heads=3,
    blocks=2,
    distance_buckets=8,
    longest_span=4,
    window=8,
    pieces_per_word=3,
    text_context="document",
    text_states=[1, 2],
)
LINE_SIZES = replace(SIZES, text_context="line", text_states=[0, 2])

# Pieces of each word, before the cut to three. The first document needs several windows of eight pieces, and its fourth word
# stands as deep in the first window as in the second; the second has no picture; the third is one word.
COUNTS = [[1, 2, 1, 2, 2, 1, 2, 4], [2, 1, 1, 3], [2], [3, 3, 3, 1, 2]]
# The first line of the last document has more pieces than the encoder reads: its third word is cut, its fourth is not read.
LINES = [[0, 0, 0, 1, 1, 1, 2, 2], [0, 1, 2, 2], [0], [0, 0, 0, 0, 1]]
HAS_PICTURE = [True, False, True, True]


def documents() -> list[dict[str, np.ndarray]]:
    """The features of each."""
    image, layout = SIZES.image, SIZES.layout
    result = []
    for index, counts in enumerate(COUNTS):
        words, name = len(counts), f"document.{index}"
        lines = weights.whole_numbers(f"{name}.lines", (words, 2), layout.lines)
        places = weights.whole_numbers(f"{name}.places", (words, 2), layout.words)
        features = {
            "piece_counts": np.array(counts),
            # Ids from 3: the first three are special.
            "pieces": weights.whole_numbers(f"{name}.pieces", (sum(counts),), SIZES.text.vocab_size - 3) + 3,
            "boxes": weights.whole_numbers(f"{name}.boxes", (words, 6), layout.bins),
            "ordinals": np.concatenate([lines, places], axis=1),
            "print": weights.uniform(f"{name}.print", (words, PRINT_FEATURES)),
            "line_of": np.array(LINES[index]),
            "widths": np.float32(4.0) + weights.uniform(f"{name}.widths", (words,)) * np.float32(3.0),
            "heights": np.float32(1.0) + weights.uniform(f"{name}.heights", (words,)) * np.float32(0.3),
            "centres": centres(name, LINES[index]),
        }
        if HAS_PICTURE[index]:
            share = np.abs(weights.uniform(f"{name}.pooling", (words, image.patches)))
            share *= weights.uniform(f"{name}.overlaps", share.shape) > 0
            share[:, 0] += np.float32(0.1)
            features["ink"] = weights.whole_numbers(f"{name}.ink", (image.height, image.width), 256)
            features["pooling"] = (share / share.sum(1, keepdims=True)).astype(np.float32)
        result.append(features)
    return result


def centres(name: str, line_of: list[int]) -> np.ndarray:
    """Anywhere across the page; down the page, lines of even numbers share a row and so do the others."""
    across = weights.uniform(f"{name}.across", (len(line_of),)) * np.float32(40.0)
    jitter = weights.uniform(f"{name}.jitter", (len(line_of),)) * np.float32(0.5)
    down = jitter + np.array([line % 2 * 7.3 for line in line_of], dtype=np.float32)
    return np.stack([across, down], axis=1)


def windows_of(counts: list[int], room: int) -> list[tuple[int, int]]:
    """First and one past the last word of each window: as many words as fit, each window starting in the middle of the one before."""
    result, first = [], 0
    while True:
        last = first
        while last < len(counts) and sum(counts[first : last + 1]) <= room:
            last += 1
        result.append((first, last))
        if last == len(counts):
            return result
        first += max(1, (last - first) // 2)


def best_window(word: int, windows: list[tuple[int, int]], words: int) -> int:
    """The window in which the nearer cut is furthest; the document's own ends are no cuts. The first among equals."""

    def context(window: tuple[int, int]) -> float:
        first, last = window
        if not first <= word < last:
            return -1
        return min(word - first if first > 0 else math.inf, last - 1 - word if last < words else math.inf)

    return max(range(len(windows)), key=lambda index: (context(windows[index]), -index))


def bucket(distance: float) -> int:
    """A half for each sign; in a half, exact up to half of it, then logarithmic up to the furthest."""
    half = SIZES.distance_buckets // 2
    exact = half // 2
    size = abs(distance)
    if size < exact:
        within = int(size)
    else:
        place = exact + math.log(size / exact) / math.log(FURTHEST / exact) * (half - exact)
        assert abs(place - round(place)) > 1e-4, f"{distance} lies on the edge of a bucket: choose other centres"
        within = min(int(place), half - 1)
    return within + half if distance > 0 else within


def lines_of(counts: list[int], line_of: list[int], room: int) -> list[tuple[int, int, list[int]]]:
    """First and one past the last word of each line, and how many pieces of each word fit into the encoder."""
    result = []
    for line in sorted(set(line_of)):
        chosen = [word for word in range(len(counts)) if line_of[word] == line]
        fit, left = [], room
        for word in chosen:
            fit.append(min(counts[word], left))
            left -= fit[-1]
        result.append((chosen[0], chosen[-1] + 1, fit))
    return result


def read_pieces(pieces: list[list[int]], line_of: list[int], sizes: DocumentSizes):
    """Ids of each of a document's windows, and for each word its window and the places of its pieces there."""
    counts, room = [len(p) for p in pieces], sizes.text.max_position_embeddings - 2
    windows, places = [], []
    if sizes.text_context == "line":
        for number, (first, last, fit) in enumerate(lines_of(counts, line_of, room)):
            inner = [piece for word, count in zip(pieces[first:last], fit) for piece in word[:count]]
            windows.append([SPECIAL[0], *inner, SPECIAL[1]])
            places += [(number, 1 + sum(fit[:word]), fit[word]) for word in range(last - first)]
        return windows, places
    cut = windows_of(counts, room)
    for first, last in cut:
        windows.append([SPECIAL[0], *[piece for word in pieces[first:last] for piece in word], SPECIAL[1]])
    for word in range(len(counts)):
        window = best_window(word, cut, len(counts))
        places.append((window, 1 + sum(counts[cut[window][0] : word]), counts[word]))
    return windows, places


def neighbours(document: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of each word's line, of what stands left of it (before it in its line, or in another line, further left, and no
    further up or down than half the smaller height), and of the next row above that overlaps it."""
    line_of, heights = document["line_of"], document["heights"].astype(np.float64)
    widths = document["widths"].astype(np.float64)
    across, down = document["centres"].astype(np.float64).T
    words = len(line_of)
    line, left = np.zeros((words, words)), np.zeros((words, words))
    for word in range(words):
        for other in range(words):
            apart, most = abs(down[word] - down[other]), 0.5 * min(heights[word], heights[other])
            assert line_of[word] == line_of[other] or abs(apart - most) > 1e-4, "on the edge: choose other centres"
            line[word, other] = line_of[word] == line_of[other]
            if line_of[word] == line_of[other]:
                left[word, other] = other < word
            else:
                left[word, other] = across[other] < across[word] and apart < most
    above = np.zeros((words, words))
    for word in range(words):
        overlaps = np.abs(across - across[word]) < 0.5 * (widths + widths[word])
        rise = down[word] - down
        candidates = overlaps & (rise > 0.5)
        if candidates.any():
            nearest = rise[candidates].min()
            assert (np.abs(rise[candidates] - nearest - 0.5) > 1e-4).all(), "on the edge: choose other centres"
            above[word] = candidates & (rise < nearest + 0.5)
    return tuple(shares / np.maximum(shares.sum(1, keepdims=True), 1) for shares in (line, left, above))


def assemble(read: list[dict[str, np.ndarray]], kind: torch.dtype, sizes: DocumentSizes = SIZES) -> Batch:
    """The documents as one padded batch."""
    words = max(len(document["piece_counts"]) for document in read)
    windows, places = [], []  # ids of each window; for each document and word, its window and the places of its pieces
    for document in read:
        given = document["piece_counts"].tolist()
        starts = np.cumsum([0, *given]).tolist()
        pieces = [document["pieces"][s : s + min(n, sizes.pieces_per_word)].tolist() for s, n in zip(starts, given)]
        own, chosen = read_pieces(pieces, document["line_of"].tolist(), sizes)
        places.append([(len(windows) + window, place, count) for window, place, count in chosen])
        windows += own
    seq = max(len(ids) for ids in windows)
    piece_ids = torch.full((len(windows), seq), SPECIAL[2])
    piece_kept = torch.zeros(len(windows), seq, dtype=torch.bool)
    for row, ids in enumerate(windows):
        piece_ids[row, : len(ids)] = torch.tensor(ids)
        piece_kept[row, : len(ids)] = True
    index = torch.zeros(len(read), words, sizes.pieces_per_word, dtype=torch.int64)
    weight = torch.zeros(len(read), words, sizes.pieces_per_word, dtype=kind)
    for row, chosen in enumerate(places):
        for word, (window, place, count) in enumerate(chosen):
            index[row, word, :count] = window * seq + torch.arange(place, place + count)
            weight[row, word, :count] = 1 / max(count, 1)
    beside = torch.zeros(3, len(read), words, words, dtype=kind)
    for row, document in enumerate(read):
        for axis, shares in enumerate(neighbours(document)):
            beside[axis, row, : len(shares), : len(shares)] = torch.from_numpy(shares).to(kind)

    def padded(name: str, width: int, dtype: torch.dtype) -> torch.Tensor:
        result = torch.zeros(len(read), words, width, dtype=dtype)
        for row, document in enumerate(read):
            if name in document:
                result[row, : len(document[name])] = torch.from_numpy(document[name]).to(dtype)
        return result

    distance = torch.zeros(2, len(read), words, words, dtype=torch.int64)
    for row, document in enumerate(read):
        centres = document["centres"]
        for axis in range(2):
            for i in range(len(centres)):
                for j in range(len(centres)):
                    distance[axis, row, i, j] = bucket(float(centres[j, axis] - centres[i, axis]))
    image = SIZES.image
    pictures = torch.zeros(len(read), 1, image.height, image.width, dtype=kind)
    for row, document in enumerate(read):
        if "ink" in document:
            pictures[row, 0] = torch.from_numpy(document["ink"]).to(kind) / 255
    lengths = torch.tensor([len(document["piece_counts"]) for document in read])
    return Batch(
        piece_ids=piece_ids,
        piece_kept=piece_kept,
        piece_index=index,
        piece_weight=weight,
        vectors=None,
        line_mean=beside[0],
        left_mean=beside[1],
        above_mean=beside[2],
        boxes=padded("boxes", 6, torch.int64),
        ordinals=padded("ordinals", 4, torch.int64),
        print=padded("print", PRINT_FEATURES, kind),
        horizontal=distance[0],
        vertical=distance[1],
        kept=torch.arange(words)[None, :] < lengths[:, None],
        patches=torch.nn.functional.unfold(pictures, image.patch, stride=image.patch).transpose(1, 2),
        pooling=padded("pooling", image.patches, kind),
        picture_present=torch.tensor(HAS_PICTURE),
    )
