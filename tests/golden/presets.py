"""Counts the parameters of every preset as transformers builds it, without memory for them; writes them beside the presets."""

import json
from pathlib import Path

import torch
import transformers

MODELS = Path(__file__).parents[2] / "crates" / "florin-models" / "src"


def count(config: dict) -> int:
    (architecture,) = config["architectures"]
    kind = getattr(transformers, architecture)
    settings = kind.config_class(**{name: value for name, value in config.items() if name not in ("architectures", "model_type")})
    with torch.device("meta"):
        # Without weights nobody knows of a pooler that no head reads, and Florin has Whisper's encoder alone.
        options = {"add_pooling_layer": False} if architecture == "BertModel" else {}
        model = kind(settings, **options)
    part = model.get_encoder() if architecture.startswith("Whisper") else model
    # What batch norms have seen is not trained, but stored and counted.
    seen = sum(buffer.numel() for name, buffer in part.named_buffers() if ".running_" in name)
    return seen + sum(parameter.numel() for parameter in part.parameters())


def main() -> None:
    presets = json.loads((MODELS / "presets.json").read_text())
    counts = {name: count(config) for name, config in presets.items()}
    (MODELS / "presets_parameters.json").write_text(json.dumps(counts, indent=1) + "\n")


if __name__ == "__main__":
    main()
