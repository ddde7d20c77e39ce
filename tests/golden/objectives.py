"""Losses that contrast nothing: reconstruction, language, codes, several tasks. Oracles are written out, and held to transformers,
torch and torchjd."""

import math
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as functional
from transformers import ViTMAEConfig, ViTMAEForPreTraining

import weights
from fixture import Fixture, same


def write(folder: Path, case: str, config: dict, given: dict, tracked: dict, exactly, nearly) -> None:
    """`exactly` in f64 is the oracle, `nearly` in f32 says how far torch's usual form is from it; in f64 both must agree. `given` is
    handed over as it is, `tracked` gets gradients. Parts may be of any shape; the part `loss` is differentiated."""
    fixture = Fixture(case, config)
    results = []
    for function, kind in [(exactly, torch.float64), (nearly, torch.float32), (nearly, torch.float64)]:
        fixed = {name: value.to(kind) if value.is_floating_point() else value for name, value in given.items()}
        inputs = {name: value.to(kind).clone().requires_grad_() for name, value in tracked.items()}
        parts = function(**fixed, **inputs)
        parts["loss"].sum().backward()
        results.append((parts, {name: value.grad for name, value in inputs.items()}))
    (parts, own), (parts_32, own_32), (parts_64, own_64) = results
    for name, value in (given | tracked).items():
        fixture.give(name, value)
    for name in own:
        same(own[name], own_64[name], f"{case}: gradient of {name}", 1e-9)
    for name, value in parts.items():
        same(value.reshape(-1), parts_64[name].reshape(-1), f"{case}: {name}", 1e-9)
        fixture.expect(name, value.reshape(-1), parts_32[name].reshape(-1))
    fixture.expect_gradients(own, own_32)
    fixture.write(folder)


# ------------------------------------------------------------------------------------------------------- masked pictures

PATCH, CHANNELS, HEIGHT, WIDTH = 2, 3, 4, 6
MASKED = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)  # one picture with nothing masked


def masked_image_by_hand(normalised: bool):
    def compute(pictures, masked, predicted):
        total, per_picture = 0, []
        for picture, marks, guesses in zip(pictures, masked, predicted):
            errors = []
            for index in range(len(marks)):
                row, column = index // (WIDTH // PATCH) * PATCH, index % (WIDTH // PATCH) * PATCH
                pixels = [picture[c, row + y, column + x] for y in range(PATCH) for x in range(PATCH) for c in range(CHANNELS)]
                if normalised:
                    mean = sum(pixels) / len(pixels)
                    variance = sum((p - mean) ** 2 for p in pixels) / (len(pixels) - 1)
                    pixels = [(p - mean) / torch.sqrt(variance + 1e-6) for p in pixels]
                if marks[index]:
                    errors.append(sum((g - p) ** 2 for g, p in zip(guesses[index], pixels)) / len(pixels))
            total = total + sum(errors)
            per_picture.append(sum(errors) / len(errors) if errors else torch.zeros((), dtype=pictures.dtype))
        return {"loss": total / masked.sum(), "per_picture": torch.stack(per_picture)}

    return compute


class Given(torch.nn.Module):
    """Stands for a part of the model whose result is known."""

    def __init__(self, **result):
        super().__init__()
        self.result = SimpleNamespace(**result)

    def forward(self, *_, **__):
        return self.result


def masked_image_by_transformers(normalised: bool):
    def compute(pictures, masked, predicted):
        config = ViTMAEConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, decoder_hidden_size=8, decoder_num_hidden_layers=1,
            decoder_num_attention_heads=1, decoder_intermediate_size=8, image_size=HEIGHT, patch_size=PATCH, norm_pix_loss=normalised,
        )
        model = ViTMAEForPreTraining(config)

        def loss(rows):
            mask = masked[rows].to(predicted.dtype)
            model.vit = Given(last_hidden_state=None, ids_restore=None, mask=mask, hidden_states=None, attentions=None)
            model.decoder = Given(logits=predicted[rows])
            return model(pictures[rows], interpolate_pos_encoding=True).loss

        # A picture with nothing masked alone would be 0 / 0 there.
        each = [loss(slice(i, i + 1)) if masked[i].any() else torch.zeros((), dtype=predicted.dtype) for i in range(len(masked))]
        return {"loss": loss(slice(None)), "per_picture": torch.stack(each)}

    return compute


def masked_image(normalised: bool):
    def case(folder: Path) -> None:
        shape = (len(MASKED), CHANNELS, HEIGHT, WIDTH)
        given = {"pictures": weights.tensor("masked_image.pictures", shape, 2.0), "masked": MASKED}
        predicted = weights.tensor("masked_image.predicted", (*MASKED.shape, PATCH * PATCH * CHANNELS))
        name = "masked_image_normalised" if normalised else "masked_image_raw"
        exactly, nearly = masked_image_by_hand(normalised), masked_image_by_transformers(normalised)
        write(folder, name, {"patch": PATCH}, given, {"predicted": predicted}, exactly, nearly)

    return case


CASES = [masked_image(True), masked_image(False)]
