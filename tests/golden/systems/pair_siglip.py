"""SigLIP and SigLIP 2: both towers with their loss and each alone; pictures of any proportions, padded, with positions stretched over each."""

from pathlib import Path

import torch
from transformers import (
    Siglip2Config,
    Siglip2Model,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipConfig,
    SiglipModel,
    SiglipTextConfig,
    SiglipTextModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.models.siglip2.modeling_siglip2 import Siglip2VisionEmbeddings

import weights

from .case import write
from .text_bert import SIDES, ids

TEXT = dict(
    vocab_size=40,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    max_position_embeddings=7,
    projection_size=16,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=3,
)
SIZES = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=28, patch_size=2)
PAIR = ["loss", "logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
STATES = ["last_hidden_state", "hidden_states"]


def resized(positional_embeddings: torch.Tensor, spatial_shapes: torch.Tensor, max_length: int) -> torch.Tensor:
    """transformers' own, but in the precision of the model: it interpolates in f32, which is no oracle.

    Never to a single column: PyTorch 2.15 then takes the first row for every row unless the memory is in channels-last order.
    """
    table = positional_embeddings.permute(2, 0, 1).unsqueeze(0)
    rows = []
    for sides in spatial_shapes.tolist():
        own = torch.nn.functional.interpolate(table, size=sides, mode="bilinear", align_corners=False, antialias=True)
        own = own.flatten(2)[0].transpose(0, 1)
        rows.append(torch.cat([own, own[:1].expand(max_length - len(own), -1)]))
    return torch.stack(rows)


Siglip2VisionEmbeddings.resize_positional_embeddings = staticmethod(resized)


def with_loss(model, inputs):
    return model(**inputs, return_loss=True)


def pictures(name: str, count: int) -> dict[str, torch.Tensor]:
    return {"pixel_values": weights.tensor(name, (count, 3, 7, 7), 2.0)}


def patches(name: str, grids: list[list[int]], count: int) -> dict[str, torch.Tensor]:
    kept = torch.tensor([[1] * (rows * columns) + [0] * (count - rows * columns) for rows, columns in grids])
    pixels = weights.tensor(name, (len(grids), count, 12), 2.0)
    return {"pixel_values": pixels, "pixel_attention_mask": kept, "spatial_shapes": torch.tensor(grids)}


def siglip(folder: Path) -> None:
    make = lambda: SiglipModel(SiglipConfig(text_config=TEXT, vision_config=SIZES | {"image_size": 7}, attn_implementation="sdpa"))  # noqa: E731
    write(folder, "pair_siglip", make, ids("siglip.ids", SIDES) | pictures("siglip.pixels", 3), PAIR, with_loss)
    config = SiglipTextConfig(**TEXT | {"hidden_act": "gelu", "layer_norm_eps": 1e-3}, attn_implementation="sdpa")
    write(folder, "pair_siglip_text", lambda: SiglipTextModel(config), ids("siglip.ids", SIDES), [*STATES, "pooler_output"])
    one = SiglipTextConfig(**TEXT, attn_implementation="sdpa")
    write(folder, "pair_siglip_text_one", lambda: SiglipTextModel(one), ids("siglip.one", [[1]]), ["pooler_output"])
    config = SiglipVisionConfig(**SIZES, image_size=7, attn_implementation="sdpa")
    write(folder, "pair_siglip_image", lambda: SiglipVisionModel(config), pictures("siglip.pixels", 2), [*STATES, "pooler_output"])
    bare = SiglipVisionConfig(**SIZES, image_size=4, vision_use_head=False, attn_implementation="sdpa")
    given = {"pixel_values": weights.tensor("siglip.small", (2, 3, 4, 4), 2.0)}
    write(folder, "pair_siglip_image_bare", lambda: SiglipVisionModel(bare), given, STATES)


def siglip2(folder: Path) -> None:
    image = SIZES | {"num_patches": 9}
    make = lambda: Siglip2Model(Siglip2Config(text_config=TEXT, vision_config=image, attn_implementation="sdpa"))  # noqa: E731
    given = ids("siglip.ids", SIDES) | patches("siglip2.patches", [[3, 3], [2, 4], [5, 2]], 11)
    write(folder, "pair_siglip2", make, given, PAIR, with_loss)
    # A grid finer than the table along one side and coarser along the other, and one of a single patch.
    config = Siglip2VisionConfig(**image, attn_implementation="sdpa")
    given = patches("siglip2.alone", [[2, 7], [1, 1]], 14)
    write(folder, "pair_siglip2_image", lambda: Siglip2VisionModel(config), given, [*STATES, "pooler_output"])


CASES = [siglip, siglip2]
