#!/usr/bin/env python3
"""Writes the seeds of the fuzzing corpus: small valid files of every kind that a target reads, called good_*.

    python seeds.py            writes the folders beside it

Needs torch and safetensors, as tests/golden does. What fuzzing finds is added there by hand, called bad_*, and is not touched.
"""

import collections
import json
import struct
from pathlib import Path

import torch
from safetensors.torch import save_file

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
    """A few samples in two channels; compressed sounds to start from are beside `crates/florin-data/src/sound.rs`."""
    data = struct.pack("<8h", *range(0, 8000, 1000))
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, 8000, 32000, 4, 16)
    chunks = form + struct.pack("<4sI", b"data", len(data)) + data
    (folder("sound") / "good_short.wav").write_bytes(struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks)


def json_files() -> None:
    index = {"metadata": {"total_size": 8}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (folder("index") / "good_two.json").write_text(json.dumps(index))
    (folder("config") / "good_bert.json").write_text(json.dumps(CONFIG))
    heads = ["BertForMaskedLM", "BertForSequenceClassification", "BertForTokenClassification"]
    for head in heads:
        # These lack the weights of their heads: they are good only to start from.
        (folder("config") / f"start_{head}.json").write_text(json.dumps(CONFIG | {"architectures": [head], "num_labels": 3}))


if __name__ == "__main__":
    torch.manual_seed(0)
    torch_files()
    safetensors_files()
    ctranslate2_files()
    sound_files()
    json_files()
