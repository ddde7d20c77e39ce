#!/usr/bin/env python3
"""Writes the seeds of the fuzzing corpus: small valid files of every kind that a target reads, called good_*.

    python seeds.py            writes the folders beside it

Needs what tests/golden needs, and ffmpeg. What fuzzing finds is added there by hand, called bad_*, and is not touched.
"""

import collections
import json
import struct
import subprocess
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

CORPUS = Path(__file__).parent
KINDS = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
CONFIG = dict(
    model_type="bert", architectures=["BertModel"], vocab_size=3, hidden_size=2, num_hidden_layers=1, num_attention_heads=1,
    intermediate_size=2, max_position_embeddings=2, type_vocab_size=1,
)  # fmt: skip


def folder(name: str) -> Path:
    path = CORPUS / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def numbers(*shape: int) -> torch.Tensor:
    return torch.arange(1, 1 + int(torch.tensor(shape).prod()), dtype=torch.float32).reshape(shape)


def torch_files() -> None:
    base = numbers(4, 6)
    cases = {
        "layer": {"weight": numbers(2, 2), "bias": numbers(2)},
        "kinds": {str(kind)[6:]: numbers(3).to(kind) for kind in KINDS} | {"bool": torch.tensor([True, False])},
        "views": {"transposed": base.T, "rows": base[1:3], "columns": base[:, 2:4], "steps": base[::2, ::3], "same": base},
        "number_and_empty": {"number": torch.tensor(7.0), "empty": torch.zeros(0, 3)},
        "parameter": {"weight": torch.nn.Parameter(numbers(2, 2))},
        "state": torch.nn.Linear(2, 2).state_dict(),
        "ordered": collections.OrderedDict(weight=numbers(2, 2)),
    }
    for name, tensors in cases.items():
        torch.save(tensors, folder("torch") / f"good_{name}.bin")
    torch.save(cases["views"], folder("torch") / "good_old_views.bin", _use_new_zipfile_serialization=False)
    torch.save(cases["layer"], folder("torch") / "good_old_layer.bin", _use_new_zipfile_serialization=False)


def safetensors_files() -> None:
    save_file({"weight": numbers(2, 2), "bias": numbers(2)}, folder("safetensors") / "good_layer.safetensors")
    save_file({str(kind)[6:]: numbers(3).to(kind) for kind in KINDS}, folder("safetensors") / "good_kinds.safetensors")
    save_file({"number": torch.tensor(7.0), "empty": torch.zeros(0, 3)}, folder("safetensors") / "good_number_and_empty.safetensors")
    reference = {"input.input_ids": torch.tensor([[1, 2]]), "input.pixel_values": numbers(1, 2), "output.logits": numbers(1, 3).double()}
    save_file(reference, folder("reference") / "good_small.safetensors")


def packed_file() -> None:
    """Weights as Florin packs them, of every precision, in parts, and turned."""
    described = {
        "a": {"precision": "f32", "shape": [4, 3], "parts": 1, "turned": False},
        "b": {"precision": "int8", "shape": [4, 2], "parts": 2, "turned": False},
        "c": {"precision": "bf16", "shape": [3, 2], "parts": 1, "turned": True},
        "weight": {"precision": "f32", "shape": [2, 2], "parts": 1, "turned": False},
    }
    # Panels fill 32 columns; inner places stand together by four in eight bits, where four weights add up to 128 at most, and by two in sixteen.
    tensors = {"a": numbers(32 * 3), "weight": numbers(32 * 2), "c": numbers(32 * 4).to(torch.bfloat16), "bias": numbers(2)}
    for part in ["b/0", "b/1"]:
        tensors |= {part: (numbers(32 * 4) % 32).to(torch.int8), part + "/scales": torch.full((32,), 0.01)}
    table = json.dumps({"version": 2, "weights": described})
    save_file(tensors, folder("safetensors") / "good_packed.safetensors", metadata={"florin.packed": table})


def ctranslate2_files() -> None:
    """Matrices in whole numbers with scales, a half, a number, and an alias."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    def variable(name: str, shape: list[int], kind: int, data: bytes) -> bytes:
        return text(name) + struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, kind, len(data)) + data

    variables = [
        variable("weight", [2, 2], 1, bytes([1, 2, 3, 4])),
        variable("weight_scale", [2], 0, struct.pack("<2f", 1, 2)),
        variable("bias", [2], 4, struct.pack("<2e", 1, 2)),
        variable("heads", [], 2, struct.pack("<h", 6)),
    ]
    head = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    aliases = struct.pack("<I", 1) + text("other") + text("bias")
    (folder("ctranslate2") / "good_layer.bin").write_bytes(head + b"".join(variables) + aliases)


def sound_files() -> None:
    """A few samples in two channels, and an instant of a tone in the compressed formats: small, so that millions can be decoded."""
    data = struct.pack("<8h", *range(0, 8000, 1000))
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, 8000, 32000, 4, 16)
    chunks = form + struct.pack("<4sI", b"data", len(data)) + data
    (folder("sound") / "good_short.wav").write_bytes(struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks)
    tone = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=16000:duration=0.05", "-bitexact", "-map_metadata", "-1"]
    for kind, more in {"flac": [], "mp3": ["-write_xing", "0"], "ogg": []}.items():
        subprocess.run([*tone, *more, folder("sound") / f"good_short.{kind}"], check=True)
    flac = folder("sound") / "good_short.flac"
    flac.write_bytes(without_padding(flac.read_bytes()))


def without_padding(flac: bytes) -> bytes:
    """A FLAC file with its first block of metadata alone: the others are comments and padding."""
    at, first = 4, None
    while True:
        last, size = flac[at] & 0x80, int.from_bytes(flac[at + 1 : at + 4])
        first = first or bytes([flac[at] | 0x80]) + flac[at + 1 : at + 4 + size]
        at += 4 + size
        if last:
            return flac[:4] + first + flac[at:]


def json_files() -> None:
    index = {"metadata": {"total_size": 8}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (folder("index") / "good_two.json").write_text(json.dumps(index))
    (folder("config") / "good_bert.json").write_text(json.dumps(CONFIG))
    heads = ["BertForMaskedLM", "BertForSequenceClassification", "BertForTokenClassification"]
    for head in heads:
        # These lack the weights of their heads: they are good only to start from.
        (folder("config") / f"start_{head}.json").write_text(json.dumps(CONFIG | {"architectures": [head], "num_labels": 3}))


def preprocessor_files() -> None:
    sides = {"height": 4, "width": 6}
    clip = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 4}, "crop_size": sides, "resample": 3}
    vit = {"image_processor_type": "ViTImageProcessor", "size": sides, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    sound = dict(sampling_rate=800, hop_length=8, n_fft=16, chunk_length=1, feature_size=4)
    kinds = {
        "clip": clip,
        "vit": {"image_processor": vit},
        "whisper": {"feature_extractor_type": "WhisperFeatureExtractor"} | sound,
        "ast": dict(feature_extractor_type="ASTFeatureExtractor", sampling_rate=16000, num_mel_bins=8, max_length=16, mean=-4.2, std=4.6),
        "clap": dict(feature_extractor_type="ClapFeatureExtractor", sampling_rate=8000, hop_length=8, fft_window_size=64, feature_size=8, max_length_s=1),
    }  # fmt: skip
    for name, settings in kinds.items():
        (folder("preprocessor") / f"good_{name}.json").write_text(json.dumps(settings))


def tokenizer_files() -> None:
    """One of each algorithm, with what the checkpoints of that kind put around it."""
    letters = [chr(letter) for letter in range(ord("a"), ord("g"))]
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
    words = {word: place for place, word in enumerate([*special, "net", "income", "rose", *letters, *["##" + letter for letter in letters]])}
    pieces = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    pieces.add_special_tokens(special)
    pieces.enable_padding(pad_id=3, pad_token="[PAD]")
    bytes_of = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = Tokenizer(models.BPE({byte: place for place, byte in enumerate(bytes_of)} | {"ne": 256, "net": 257}, [("n", "e"), ("ne", "t")]))
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel()
    pairs.post_processor = processors.RobertaProcessing(("s", 0), ("p", 1))
    chances = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁", -2.0), *[(letter, -3.0) for letter in letters], ("▁net", -1.0)], unk_id=0))
    chances.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    chances.pre_tokenizer = pre_tokenizers.Metaspace()
    for name, tokenizer in {"pieces": pieces, "pairs": pairs, "chances": chances}.items():
        (folder("tokenizer") / f"good_{name}.json").write_text(tokenizer.to_str())


def picture_files() -> None:
    """Every format in several colours and ways to store them; as small as they come."""
    grey = Image.fromarray((torch.arange(77, dtype=torch.uint8).reshape(7, 11) * 3).numpy())
    colours = Image.merge("RGB", [grey, grey.rotate(180), grey.point(lambda value: 255 - value)])
    shaded = Image.merge("RGBA", [*colours.split(), grey])
    to = folder("picture")
    for name, picture in {"grey": grey, "colours": colours, "shaded": shaded, "palette": colours.quantize(5), "two": grey.convert("1")}.items():
        picture.save(to / f"good_{name}.png")
    grey.save(to / "good_grey.jpg")
    colours.save(to / "good_colours.jpg", subsampling=2)
    colours.save(to / "good_progressive.jpg", progressive=True)
    colours.save(to / "good_lossy.webp")
    shaded.save(to / "good_exact.webp", lossless=True)
    frames = [colours.rotate(90 * turn) for turn in range(3)]
    frames[0].save(folder("clip") / "good_three.gif", save_all=True, append_images=frames[1:])
    frames[0].save(folder("clip") / "good_one.gif")


if __name__ == "__main__":
    torch.manual_seed(0)
    torch_files()
    safetensors_files()
    packed_file()
    ctranslate2_files()
    sound_files()
    json_files()
    preprocessor_files()
    tokenizer_files()
    picture_files()
