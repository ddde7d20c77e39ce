#!/usr/bin/env python3
"""Writes the reference that `florin verify` compares with: inputs of a transformers checkpoint and what transformers makes of them.

    python exporter.py DIR [--text "..." ...] [--image PATH] [--precision float32] [--seed 0] [--out FILE]

DIR is a folder with config.json and weights. Its class is the first of the configuration's `architectures`. Inputs are drawn from the
seed, as the class and its configuration want them, unless a text or a picture is given, which the folder's own tokenizer and image
processor prepare. FILE (DIR/reference.safetensors) holds `input.NAME` and `output.NAME`, hidden states as `output.hidden_states.K`.
Needs torch, transformers and safetensors; nothing is downloaded.
"""

import argparse
import inspect
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

BATCH = 2
SEQ = 12


def main() -> None:
    arguments = parse()
    folder = Path(arguments.folder)
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    if not config.architectures:
        raise SystemExit(f"{folder}/config.json names no `architectures`")
    kind = getattr(transformers, config.architectures[0], None)
    if kind is None:
        raise SystemExit(f"transformers {transformers.__version__} has no class {config.architectures[0]}")
    torch.manual_seed(arguments.seed)
    model = kind.from_pretrained(folder, dtype=getattr(torch, arguments.precision), local_files_only=True).eval()
    accepted = set(inspect.signature(model.forward).parameters)
    if config.is_encoder_decoder and "decoder_input_ids" in accepted:
        # Only the encoder is an encoder; its decoder would need a text to continue.
        model = model.get_encoder()
        accepted = set(inspect.signature(model.forward).parameters)
    inputs = given(folder, arguments, config, accepted)
    cast = {name: value.to(model.dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    more = {"output_hidden_states": True} if takes_hidden_states(accepted) else {}
    with torch.no_grad():
        found = model(**cast, **more)
    tensors = {f"input.{name}": value.contiguous() for name, value in inputs.items()}
    tensors |= {f"output.{name}": value.contiguous().clone() for name, value in flat(found).items()}
    about = {"class": type(model).__name__, "transformers": transformers.__version__, "torch": torch.__version__}
    about |= {"precision": arguments.precision, "seed": str(arguments.seed), "format": "pt"}
    out = Path(arguments.out or folder / "reference.safetensors")
    save_file(tensors, out, metadata=about)
    for name, value in tensors.items():
        print(f"{name:40} {str(list(value.shape)):24} {value.dtype}")
    print(out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--text", nargs="+", help="sentences for the folder's tokenizer")
    parser.add_argument("--image", nargs="+", help="pictures for the folder's image processor")
    parser.add_argument("--precision", choices=["float32", "float64"], default="float64", help="float64 is the sharper yardstick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", metavar="FILE")
    return parser.parse_args()


def takes_hidden_states(accepted: set[str]) -> bool:
    return bool(accepted & {"output_hidden_states", "kwargs"})


def flat(found) -> dict[str, torch.Tensor]:
    """Tensors by name, those of a tuple by their number; outputs within outputs (CLIP's towers) are left out."""
    named = {}
    for name, value in found.items():
        if torch.is_tensor(value):
            named[name] = value
        elif isinstance(value, (tuple, list)):
            named |= {f"{name}.{place}": part for place, part in enumerate(value) if torch.is_tensor(part)}
    return named


def given(folder: Path, arguments: argparse.Namespace, config, accepted: set[str]) -> dict[str, torch.Tensor]:
    """One input for everything that the class accepts and that this script knows how to make."""
    inputs: dict[str, torch.Tensor] = {}
    if "input_ids" in accepted:
        inputs |= text(folder, arguments.text, config, accepted)
    if "pixel_values" in accepted:
        inputs |= picture(folder, arguments.image, config)
    if "input_features" in accepted or "input_values" in accepted:
        inputs |= sound(config, accepted)
    if "past_values" in accepted:
        shape = (BATCH, config.context_length, config.num_input_channels)
        observed = torch.rand(shape) > 0.1
        # Where nothing was observed transformers wants zeros.
        inputs |= {"past_values": torch.randn(shape) * observed, "past_observed_mask": observed}
    inputs |= masks(config, accepted, inputs)
    kept = {name: value for name, value in inputs.items() if name in accepted}
    if not kept:
        raise SystemExit(f"do not know how to make any of {sorted(accepted)}")
    return kept


def part(config, *names: str):
    """The part of a configuration that a modality has for itself, or all of it."""
    parts = (getattr(config, name, None) for name in names)
    return next((part for part in parts if part is not None), config)


def text(folder: Path, sentences: list[str] | None, config, accepted: set[str]) -> dict[str, torch.Tensor]:
    if sentences:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return dict(tokenizer(sentences, padding=True, truncation=True, return_tensors="pt"))
    own = part(config, "text_config")
    # RoBERTa's positions begin behind the padding's.
    seq = min(SEQ, getattr(own, "max_position_embeddings", SEQ) - 2)
    padding = getattr(own, "pad_token_id", None)
    ids = torch.randint(0, own.vocab_size, (BATCH, seq))
    if padding is not None and 0 <= padding < own.vocab_size:
        ids[ids == padding] = (padding + 1) % own.vocab_size
    mask = torch.ones_like(ids)
    short = max(1, seq - 3)
    mask[-1, short:] = 0
    end = getattr(own, "eos_token_id", None)
    if isinstance(end, int) and end < own.vocab_size:
        # CLIP's towers read the vector of the first end of text.
        ids[ids == end] = (end + 1) % own.vocab_size
        ids[0, -1] = end
        ids[-1, short - 1] = end
    if padding is not None and 0 <= padding < own.vocab_size:
        ids[mask == 0] = padding
    types = torch.randint(0, getattr(own, "type_vocab_size", None) or 1, (BATCH, seq))
    named = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    if "bbox" in accepted:
        corner = torch.randint(0, 500, (BATCH, seq, 2))
        named["bbox"] = torch.cat([corner, corner + torch.randint(1, 400, (BATCH, seq, 2))], dim=-1)
    return named


def picture(folder: Path, paths: list[str] | None, config) -> dict[str, torch.Tensor]:
    if paths:
        from PIL import Image

        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        pictures = [Image.open(path).convert("RGB") for path in paths]
        return dict(processor(images=pictures, return_tensors="pt"))
    own = part(config, "vision_config")
    channels = getattr(own, "num_channels", 3)
    if "siglip2" in config.model_type:
        side = int(own.num_patches**0.5)
        pixels = torch.randn(BATCH, side * side, channels * own.patch_size**2)
        shapes = torch.tensor([[side, side]] * BATCH)
        return {"pixel_values": pixels, "pixel_attention_mask": torch.ones(BATCH, side * side, dtype=torch.long), "spatial_shapes": shapes}
    size = getattr(own, "image_size", 224)
    if isinstance(size, dict):
        size = (size["height"], size["width"])
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    frames = [own.num_frames] if config.model_type in ("videomae", "timesformer", "vivit") else []
    return {"pixel_values": torch.randn(BATCH, *frames, channels, height, width)}


def sound(config, accepted: set[str]) -> dict[str, torch.Tensor]:
    own = part(config, "audio_config")
    bins = own.num_mel_bins
    if config.model_type == "whisper":
        return {"input_features": torch.randn(BATCH, bins, 2 * config.max_source_positions)}
    if config.model_type == "audio-spectrogram-transformer":
        return {"input_values": torch.randn(BATCH, config.max_length, bins)}
    if config.model_type.startswith("clap"):
        frames = own.spec_size * own.spec_size // bins
        longer = torch.zeros(BATCH, 1, dtype=torch.bool)
        return {"input_features": torch.randn(BATCH, 1, frames, bins), "is_longer": longer}
    return {"input_values": torch.randn(BATCH, 16000)} if "input_values" in accepted else {}


def masks(config, accepted: set[str], inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What masked modelling draws for itself is given, so that both sides hide the same."""
    pixels = inputs.get("pixel_values")
    if pixels is None or not accepted & {"noise", "bool_masked_pos"}:
        return {}
    patch = config.patch_size if isinstance(config.patch_size, int) else config.patch_size[0]
    count = pixels.shape[-1] // patch * (pixels.shape[-2] // patch)
    if config.model_type == "videomae":
        count *= pixels.shape[1] // config.tubelet_size
    named = {"noise": torch.rand(BATCH, count)}
    if any(word in config.architectures[0] for word in ("Masked", "PreTraining")):
        hidden = torch.zeros(BATCH, count, dtype=torch.bool)
        for row in hidden:
            row[torch.randperm(count)[: max(1, count // 2)]] = True
        named["bool_masked_pos"] = hidden
    return named


if __name__ == "__main__":
    main()
