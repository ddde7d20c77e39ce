"""The receipts model at real size in plain PyTorch: what a training step and a prediction cost there.

Prints one JSON object, `{"CASE": {...}}`, with the same names that `florin bench` prints from Rust; `cargo xtask bench peers`
runs both by turns. Weights are random and receipts are drawn at random with the usual sizes (130 words of two pieces, 45
lines): neither changes the time. The model is that of `tests/golden/reference.py`, with torch's fused attention, norms
and optimiser; run eagerly, as most people do.

Cases:

- `receipts_frozen_text`: the usual run. The text encoder does not learn, so its vectors are computed once a line and
  training starts above it; a prediction has to compute them.
- `receipts_learned_text`: the encoder reads the whole receipt; its lowest `--frozen-layers` layers do not learn.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))

from documents import PRINT_FEATURES
from reference import Batch, BertSizes, Document, DocumentSizes, LayoutSizes, VitSizes, span_losses, weighted_mean

PIECES_PER_WORD, WORDS_PER_LINE = 2, 3
SIZES = DocumentSizes(
    fields=["company", "date", "address", "total"],
    text=BertSizes(30522, 384, 6, 12, 1536, 512),
    layout=LayoutSizes(bins=128, lines=64, words=16, print_features=PRINT_FEATURES, dim=192),
    image=VitSizes(512, 256, patch=16, channels=1, dim=128, layers=2, heads=4, hidden=256, class_token=False, epsilon=1e-6),
    dropout=0.15,
)
CASES = {
    "receipts_frozen_text": replace(SIZES, text_context="line", text_states=[0, 2, 4, 6]),
    "receipts_learned_text": replace(SIZES, text_context="document", text_states=[6]),
}


def window_of_words(sizes: DocumentSizes, words: int) -> tuple[list[int], list[int]]:
    """For each word its window (a line, or the whole receipt), and its place in it."""
    if sizes.text_context == "document":
        return [0] * words, list(range(words))
    return [word // WORDS_PER_LINE for word in range(words)], [word % WORDS_PER_LINE for word in range(words)]


def batch_of(sizes: DocumentSizes, count: int, words: int) -> Batch:
    """Receipts of random content."""
    window, place = window_of_words(sizes, words)
    windows, per_window = max(window) + 1, max(place) + 1
    seq = per_window * PIECES_PER_WORD + 2
    lengths = torch.tensor([2 + PIECES_PER_WORD * window.count(number) for number in range(windows)]).repeat(count)
    pieces = torch.arange(PIECES_PER_WORD)
    first = torch.tensor(window) * seq + 1 + torch.tensor(place) * PIECES_PER_WORD
    index = (first[:, None] + pieces)[None] + torch.arange(count)[:, None, None] * windows * seq
    line = torch.arange(words) // WORDS_PER_LINE
    same_line = (line[:, None] == line[None, :]).float()
    before = same_line.tril(-1)
    buckets, layout, image = sizes.distance_buckets, sizes.layout, sizes.image
    pooling = torch.rand(count, words, image.patches) * (torch.rand(count, words, image.patches) < 6 / image.patches)
    return Batch(
        piece_ids=torch.randint(1000, sizes.text.vocab_size, (count * windows, seq)),
        piece_kept=torch.arange(seq)[None, :] < lengths[:, None],
        piece_index=index,
        piece_weight=torch.full((count, words, PIECES_PER_WORD), 1 / PIECES_PER_WORD),
        vectors=None,
        line_mean=(same_line / same_line.sum(1, keepdim=True)).expand(count, -1, -1),
        left_mean=(before / before.sum(1, keepdim=True).clamp(min=1)).expand(count, -1, -1),
        above_mean=(line[:, None] == line[None, :] + 1).float().div(WORDS_PER_LINE).expand(count, -1, -1),
        boxes=torch.randint(0, layout.bins, (count, words, 6)),
        ordinals=torch.randint(0, layout.words, (count, words, 4)),
        print=torch.rand(count, words, layout.print_features),
        horizontal=torch.randint(0, buckets, (count, words, words)),
        vertical=torch.randint(0, buckets, (count, words, words)),
        kept=torch.ones(count, words, dtype=torch.bool),
        patches=torch.rand(count, image.patches, image.patch**2),
        pooling=pooling / pooling.sum(-1, keepdim=True).clamp(min=1e-6),
        picture_present=torch.ones(count, dtype=torch.bool),
    )


def model_of(sizes: DocumentSizes, frozen_layers: int) -> Document:
    """Frozen as in Florin: the word embeddings always, the rest below the lowest layer that learns."""
    model = Document(sizes)
    if sizes.text_context == "line":
        frozen_layers = sizes.text.num_hidden_layers
    model.text.word_embeddings.requires_grad_(False)
    if frozen_layers > 0:
        for part in (model.text.position_embeddings, model.text.token_type_embeddings, model.text.embedding_norm):
            part.requires_grad_(False)
    model.text.layers[:frozen_layers].requires_grad_(False)
    return model


def training(sizes: DocumentSizes, options: argparse.Namespace) -> dict[str, float]:
    """Forward, backward and AdamW with clipping, over batches of one size."""
    model = model_of(sizes, options.frozen_layers).train()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decays = [{"params": [p for p in learned if p.ndim > 1], "weight_decay": 0.01}]
    decays += [{"params": [p for p in learned if p.ndim == 1], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(decays, lr=1e-4)
    batch = batch_of(sizes, options.batch, options.words)
    if sizes.text_context == "line":
        batch.vectors = model.encode_text(batch)
    gold = torch.zeros(options.batch, len(sizes.fields), options.words, options.words, dtype=torch.bool)
    gold[:, :, 5, 7] = True
    weight, lengths = torch.ones(options.batch, len(sizes.fields)), [options.words] * options.batch

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = weighted_mean(span_losses(model(batch), lengths, gold, sizes.longest_span), weight)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        return loss.item()

    seconds = timed(step, options.seconds, options.warm_up)
    middle = statistics.median(seconds)
    return {"training_receipts_per_second": options.batch / middle, "training_step_seconds": middle, "steps": len(seconds)}


def prediction(sizes: DocumentSizes, options: argparse.Namespace) -> dict[str, float]:
    """One receipt at a time, from word pieces and pixels to scores."""
    model = model_of(sizes, options.frozen_layers).eval()
    batch = batch_of(sizes, 1, options.words)

    @torch.inference_mode()
    def read() -> float:
        return float(model(batch)["none"].sum())

    seconds = sorted(timed(read, options.seconds, options.warm_up))
    at = lambda share: seconds[min(len(seconds) - 1, int(share * len(seconds)))]
    return {"prediction_p50_seconds": at(0.5), "prediction_p99_seconds": at(0.99), "predictions": len(seconds)}


def timed(action, seconds: float, warm_up: int) -> list[float]:
    """How long each call took, over the given time and at least three calls."""
    for _ in range(warm_up):
        action()
    found, end = [], time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < end:
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--part", choices=["training", "prediction", "both"], default="both", help="for its own peak memory")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--words", type=int, default=130)
    parser.add_argument("--frozen-layers", type=int, default=0, help="of the text encoder, and its embeddings with them")
    parser.add_argument("--seconds", type=float, default=20.0, help="of timing for each part")
    parser.add_argument("--warm-up", type=int, default=2, help="calls before the timing")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(7)
    sizes = CASES[options.case]
    figures = {"side": "torch", "version": torch.__version__.split("+")[0], "threads": options.threads}
    figures |= {"batch": options.batch, "words": options.words, "pieces": options.words * PIECES_PER_WORD}
    figures |= {"parameters": sum(p.numel() for p in Document(sizes).parameters())}
    if options.part in ("training", "both"):
        figures |= training(sizes, options)
    if options.part in ("prediction", "both"):
        figures |= prediction(sizes, options)
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    figures["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({options.case: figures}))


if __name__ == "__main__":
    main()
