"""The cases of `florin bench` in PyTorch, ONNX Runtime, sentence-transformers and Pillow, with the same weights and inputs.

`make FOLDER` writes the checkpoints (FOLDER/CASE, as transformers saves them; random weights, fixed by a seed), the pictures and the
ONNX graphs. `run FOLDER CASE` times a case on every engine that has it and prints one JSON object a line:
`{"case": .., "engine": .., "median_seconds": .., .., "result": [..]}`, or with `"failed"` and why. `cargo xtask bench peers models` runs
both sides by turns and sets them beside each other.

Fairness: f32 unless the engine's name says otherwise, two threads, no gradients and `inference_mode` where nothing learns, scaled dot
product attention, AdamW fused, dropout zero (Florin's encoders have none), matrices decay and vectors do not, gradients clipped to a
common norm of 1. ONNX Runtime optimises its graphs as it does by default; int8 is its dynamic quantisation of the weights.
"""

import argparse
import json
import os
import statistics
import time
import warnings
from pathlib import Path
from typing import Callable, Iterator

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "true"
warnings.filterwarnings("ignore")

import numpy as np
import torch
import transformers
from torch import Tensor

transformers.logging.set_verbosity_error()

FEWEST = 5
# An engine that is very slow (bf16 on a processor without it) is not waited for beyond so many times its time.
PATIENCE = 10
TOLD = 16
TEXTS_AT_ONCE = 128
WARM_UP = 0.2
END_OF_TEXT = 49_407
# What names processors that multiply bfloat16, in Linux's words.
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
PATCHES = {"vision_config": {"patch_size": 32}}

# Case, its model and what one call takes.
TEXTS = {"bert-base-8x128": (8, 128), "bert-base-1x128": (1, 128), "minilm-32x32": (32, 32)}
CLASSES = {"train-bert-base-8x128": (8, 128, 3), "train-minilm-32x32": (32, 32, 77)}
PICTURES = 32
PICTURES_AT_ONCE = 16


def ids(rows: int, seq: int) -> Tensor:
    """As `florin bench` makes them."""
    return 1_000 + torch.arange(rows * seq).reshape(rows, seq) * 7_919 % 28_000


def pixels(*shape: int) -> Tensor:
    """As `florin bench` makes them."""
    places = np.arange(np.prod(shape))
    return torch.from_numpy((places * 7_919 % 1_000 / 500.0 - 1.0).astype(np.float32)).reshape(shape)


def make(folder: Path) -> None:
    """Writes what is not there yet."""
    torch.manual_seed(7)
    bert = transformers.BertConfig(**NO_DROPOUT)
    minilm = transformers.BertConfig(**NO_DROPOUT, **MINILM)
    models = {
        "bert-base-8x128": lambda: transformers.BertModel(bert, add_pooling_layer=False),
        "vit-b16-4": lambda: transformers.ViTModel(transformers.ViTConfig(), add_pooling_layer=False),
        "minilm-32x32": lambda: transformers.BertModel(minilm, add_pooling_layer=False),
        "clip-b32-images": lambda: transformers.CLIPModel(transformers.CLIPConfig(**PATCHES)),
        "train-bert-base-8x128": lambda: classifier(bert, 3),
        "train-minilm-32x32": lambda: classifier(minilm, 77),
    }
    for case, model in models.items():
        if not (folder / case / "model.safetensors").exists():
            model().save_pretrained(folder / case)
    # The same weights under another name.
    for case, same in {"bert-base-1x128": "bert-base-8x128", "train-clip-b32-8": "clip-b32-images"}.items():
        if not (folder / case).exists():
            (folder / case).symlink_to(same, target_is_directory=True)
    images = folder / "clip-b32-images"
    transformers.CLIPImageProcessorPil().save_pretrained(images)
    draw(images / "pictures")
    for case in [*TEXTS, "vit-b16-4", "clip-b32-images"]:
        graph(folder, case)


def classifier(config: transformers.BertConfig, classes: int) -> torch.nn.Module:
    config = transformers.BertConfig(**{**config.to_dict(), "num_labels": classes})
    return transformers.BertForSequenceClassification(config)


def draw(folder: Path) -> None:
    """Pictures of soft colours with grain, 640 x 480."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(7)
    y, x = np.mgrid[0:480, 0:640]
    for number in range(PICTURES):
        tones = [x // 3 + y // 5, x // 7 + y // 2, x // 4 + y // 9]
        values = np.stack([(tone + 40 * number) % 224 for tone in tones], axis=2) + random.integers(0, 16, (480, 640, 1))
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{number:02}.jpg", quality=75)


class Single(torch.nn.Module):
    """A model whose call gives one tensor, as a graph has it."""

    def __init__(self, model: torch.nn.Module, case: str) -> None:
        super().__init__()
        self.model, self.is_clip = model, case == "clip-b32-images"

    def forward(self, x: Tensor) -> Tensor:
        if self.is_clip:
            vectors = self.model.visual_projection(self.model.vision_model(x)[1])
            return vectors / vectors.norm(dim=-1, keepdim=True)
        return self.model(x)[0]


def opened(folder: Path, case: str) -> torch.nn.Module:
    """A model of a case that does not learn."""
    path = folder / case
    if case in TEXTS:
        return transformers.BertModel.from_pretrained(path, add_pooling_layer=False).eval()
    if case == "vit-b16-4":
        return transformers.ViTModel.from_pretrained(path, add_pooling_layer=False).eval()
    return transformers.CLIPModel.from_pretrained(path).eval()


def given(case: str) -> Tensor:
    """The input of a case; of pictures the size alone counts."""
    if case in TEXTS:
        return ids(*TEXTS[case])
    return pixels(4 if case == "vit-b16-4" else PICTURES_AT_ONCE, 3, 224, 224)


def graph(folder: Path, case: str) -> None:
    """Writes FOLDER/CASE.onnx, and CASE.int8.onnx with weights of one byte."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    single, small = folder / f"{case}.onnx", folder / f"{case}.int8.onnx"
    if not single.exists():
        call = Single(opened(folder, case), case)
        with torch.no_grad():
            torch.onnx.export(call, (given(case),), str(single), input_names=["x"], dynamo=False, opset_version=17)
    if not small.exists():
        quantize_dynamic(single, small, weight_type=QuantType.QInt8)


class Skipped(Exception):
    """An engine of which this machine tells nothing."""


def with_bfloat16(make: Callable) -> Callable:
    """The same where the processor has bfloat16: elsewhere PyTorch imitates it, several times slower than f32, which is no rival."""

    def checked() -> object:
        if not BFLOAT16 & set(Path("/proc/cpuinfo").read_text().split()):
            raise Skipped("this processor does not multiply bfloat16, and PyTorch imitates it")
        return make()

    return checked


def timed(call: Callable[[], object], seconds: float) -> dict:
    """A warm-up, then calls until the time is over and at least five, or two of something slow: as `florin bench` has it."""
    began = time.perf_counter()
    result = call()
    while time.perf_counter() - began < WARM_UP * seconds:
        result = call()
    laps, began = [], time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds or len(laps) < FEWEST:
        if len(laps) > 1 and spent > PATIENCE * max(seconds, 1.0):
            break
        start = time.perf_counter()
        result = call()
        laps.append(time.perf_counter() - start)
    return told(laps, np.asarray(result, dtype=np.float32).reshape(-1))


def told(laps: list[float], answer: np.ndarray) -> dict:
    """Quartiles, and numbers evenly spread over the answer."""
    first, _, third = statistics.quantiles(laps, n=4, method="inclusive")
    if len(answer) > TOLD:
        answer = answer[[place * (len(answer) - 1) // (TOLD - 1) for place in range(TOLD)]]
    times = {"median_seconds": statistics.median(laps), "quartile_1_seconds": first, "quartile_3_seconds": third}
    return {"runs": len(laps), **times, "result": answer.tolist()}


def session(folder: Path, case: str, kind: str, threads: int):
    """A graph ready to run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    name = f"{case}.onnx" if kind == "f32" else f"{case}.int8.onnx"
    return onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])


def callers(folder: Path, case: str, threads: int) -> Iterator[tuple[str, Callable[[], Callable[[Tensor], np.ndarray]]]]:
    """Engines that turn an input into an answer, each made when it is asked for."""

    def in_torch(dtype: torch.dtype, compiled: bool) -> Callable[[Tensor], np.ndarray]:
        call = Single(opened(folder, case), case).to(dtype)
        call = torch.compile(call) if compiled else call

        @torch.inference_mode()
        def forward(x: Tensor) -> np.ndarray:
            return call(x.to(dtype) if x.is_floating_point() else x).float().numpy()

        return forward

    def in_runtime(kind: str) -> Callable[[Tensor], np.ndarray]:
        runtime = session(folder, case, kind, threads)
        return lambda x: runtime.run(None, {"x": x.numpy()})[0]

    yield "torch", lambda: in_torch(torch.float32, False)
    yield "onnxruntime", lambda: in_runtime("f32")
    yield "torch-bf16", with_bfloat16(lambda: in_torch(torch.bfloat16, False))
    yield "onnxruntime-int8", lambda: in_runtime("int8")
    yield "torch-compile", lambda: in_torch(torch.float32, True)


def inference(folder: Path, case: str, seconds: float, threads: int) -> Iterator[tuple[str, Callable[[], dict]]]:
    """A call with an input that is ready."""
    x = given(case)
    for engine, make_call in callers(folder, case, threads):

        def run(make_call=make_call) -> dict:
            call = make_call()
            return timed(lambda: call(x), seconds)

        yield engine, run


def images(folder: Path, case: str, seconds: float, threads: int) -> Iterator[tuple[str, Callable[[], dict]]]:
    """From files to vectors, sixteen at once, with Pillow."""
    from PIL import Image

    paths = sorted((folder / case / "pictures").iterdir())
    processor = transformers.CLIPImageProcessorPil.from_pretrained(folder / case)

    for engine, make_call in callers(folder, case, threads):

        def run(make_call=make_call) -> dict:
            call = make_call()

            def all_of_them() -> np.ndarray:
                vectors = []
                for start in range(0, len(paths), PICTURES_AT_ONCE):
                    pictures = [Image.open(path).convert("RGB") for path in paths[start : start + PICTURES_AT_ONCE]]
                    vectors.append(call(processor(images=pictures, return_tensors="pt")["pixel_values"]))
                return np.concatenate(vectors)

            return timed(all_of_them, seconds)

        yield engine, run


class Mean(torch.nn.Module):
    """The mean of the last layer over what is no padding."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        kept = mask[..., None].float()
        return (states * kept).sum(1) / kept.sum(1)


def queries(folder: Path, case: str, seconds: float, threads: int) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Texts to vectors, tokenising included, by sentence-transformers and by ONNX Runtime: batches of 128 by length, the best of 32 to 256 here."""
    import pandas

    data, cache = os.environ.get("FLORIN_DATA"), os.environ.get("FLORIN_CACHE", str(Path.home() / ".cache/florin"))
    if not data:
        return
    texts, minilm = pandas.read_parquet(Path(data) / "banking77/train.parquet")["text"].tolist(), str(Path(cache) / "models/minilm")

    def in_sentence_transformers() -> dict:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Pooling, Transformer

        words = Transformer(minilm, max_seq_length=512)
        model = SentenceTransformer(modules=[words, Pooling(384, pooling_mode="mean")], device="cpu")
        return timed(lambda: model.encode(texts, batch_size=TEXTS_AT_ONCE, show_progress_bar=False), seconds)

    def in_runtime(kind: str) -> dict:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        single, small = folder / f"{case}.onnx", folder / f"{case}.int8.onnx"
        if not small.exists():
            export_of_any_length(minilm, single)
            quantize_dynamic(single, small, weight_type=QuantType.QInt8)
        tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
        runtime, order = session(folder, case, kind, threads), np.argsort([len(text) for text in texts])

        def all_of_them() -> np.ndarray:
            vectors = np.zeros((len(texts), 384), np.float32)
            for first in range(0, len(order), TEXTS_AT_ONCE):
                places = order[first : first + TEXTS_AT_ONCE]
                given = tokenizer([texts[place] for place in places], padding=True, truncation=True, max_length=512, return_tensors="np")
                given = {"ids": given["input_ids"].astype(np.int64), "mask": given["attention_mask"].astype(np.int64)}
                vectors[places] = runtime.run(None, given)[0]
            return vectors

        return timed(all_of_them, seconds)

    yield "sentence-transformers", in_sentence_transformers
    yield "onnxruntime", lambda: in_runtime("f32")
    yield "onnxruntime-int8", lambda: in_runtime("int8")


def export_of_any_length(model: str, into: Path) -> None:
    """Writes a sentence encoder for texts of any number and length."""
    mean = Mean(transformers.AutoModel.from_pretrained(model, attn_implementation="eager")).eval()
    given = transformers.AutoTokenizer.from_pretrained(model)(["a b c", "two of them"], padding=True, return_tensors="pt")
    axes = {name: {0: "batch", 1: "seq"} for name in ["ids", "mask"]}
    inputs = (given["input_ids"], given["attention_mask"])
    torch.onnx.export(mean, inputs, str(into), input_names=list(axes), dynamic_axes=axes, dynamo=False, opset_version=17)


def training(folder: Path, case: str, seconds: float, _threads: int) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Steps with AdamW: loss, gradients, clipping, update. The result is the losses of the first three."""
    if case in CLASSES:
        rows, seq, classes = CLASSES[case]
        kind = transformers.BertForSequenceClassification
        batch = {"input_ids": ids(rows, seq), "labels": torch.arange(rows) * 7 % classes}
    else:
        kind, words = transformers.CLIPModel, ids(8, 77)
        words[:, -1] = END_OF_TEXT
        batch = {"input_ids": words, "pixel_values": pixels(8, 3, 224, 224), "return_loss": True}

    def steps(compiled: bool, mixed: bool = False) -> dict:
        model = kind.from_pretrained(folder / case).train()
        own = list(model.parameters())
        groups = [
            {"params": [tensor for tensor in own if tensor.ndim > 1], "weight_decay": 0.01},
            {"params": [tensor for tensor in own if tensor.ndim < 2], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=5e-5, fused=True)
        call = torch.compile(model) if compiled else model
        losses: list[float] = []

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                loss = call(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(own, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            losses.append(loss.item())

        for _ in range(3):
            step()
        first = losses[:3]
        return {**timed(lambda: [step(), 0.0][1:], seconds), "result": first}

    yield "torch", lambda: steps(False)
    yield "torch-compile", lambda: steps(True)
    yield "torch-bf16", with_bfloat16(lambda: steps(False, mixed=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("case", nargs="?")
    parser.add_argument("--engines", nargs="*", help="only these")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing for each engine")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    if options.what == "make":
        options.folder.mkdir(parents=True, exist_ok=True)
        return make(options.folder)
    case = options.case or parser.error("expected the name of a case")
    kinds = {"banking-queries": queries, "clip-b32-images": images}
    kind = kinds.get(case, training if case.startswith("train-") else inference)
    for engine, run in kind(options.folder, case, options.seconds, options.threads):
        if options.engines and engine not in options.engines:
            continue
        try:
            found = run()
        except Skipped as reason:
            found = {"skipped": str(reason)}
        except Exception as error:  # An engine that cannot is a result: which, and why.
            found = {"failed": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps({"case": case, "engine": engine, **found}), flush=True)


if __name__ == "__main__":
    main()
