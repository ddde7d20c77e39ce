"""ViT and DeiT as timm saves them: one matrix for queries, keys and values, sizes that deviate from the architecture's, a distilled head."""

import json
import tempfile
from pathlib import Path

import timm
import torch
from timm.models._hub import save_config_for_hf

from .case import write
from .image_vit import picture

ARGUMENTS = dict(img_size=[6, 10], patch_size=2, embed_dim=24, depth=2, num_heads=3, mlp_ratio=1.5)


def called(model, inputs):
    """As `forward` does; the states are those before the final norm."""
    states = model.forward_intermediates(inputs["pixel_values"], norm=False, output_fmt="NLC", return_prefix_tokens=True)[1]
    states = [torch.cat([prefix, patches], 1) for patches, prefix in states]
    last = model.forward_features(inputs["pixel_values"])
    found = {"last_hidden_state": last, "hidden_states.1": states[0], "hidden_states.2": states[1]}
    if model.num_classes:
        found["logits"] = model.forward_head(last)
    return found


def case(folder: Path, name: str, architecture: str, outputs: list[str], **arguments) -> None:
    classes = arguments.pop("num_classes")
    given = ARGUMENTS | arguments
    make = lambda: timm.create_model(architecture, num_classes=classes, **given)  # noqa: E731
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "config.json"
        save_config_for_hf(make(), path, model_args=given)
        config = json.loads(path.read_text())
    write(folder, f"image_timm_{name}", make, picture("timm.picture", 6, 10), outputs, called, config)


def vit(folder: Path) -> None:
    outputs = ["logits", "hidden_states.1", "hidden_states.2"]
    case(folder, "vit", "vit_base_patch16_224", outputs, num_classes=5)
    case(folder, "vit_bare", "vit_tiny_patch16_224", ["last_hidden_state"], num_classes=0, qkv_bias=False)


def deit(folder: Path) -> None:
    outputs = ["logits", "hidden_states.1", "hidden_states.2"]
    case(folder, "deit_distilled", "deit_small_distilled_patch16_224", outputs, num_classes=3)


CASES = [vit, deit]
