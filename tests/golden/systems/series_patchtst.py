"""PatchTST with each of its heads: both norms and their orders, every scaling, channels that attend to each other or not, missing values.

transformers expects zeros where a value is missing; the fixtures hold garbage there, which the reference is not shown: it may not matter.
"""

from pathlib import Path
from unittest import mock

import torch
from transformers import (
    PatchTSTConfig,
    PatchTSTForClassification,
    PatchTSTForPrediction,
    PatchTSTForPretraining,
    PatchTSTForRegression,
    PatchTSTModel,
)

import weights

from .case import write

SIZES = dict(
    num_input_channels=3,
    context_length=19,
    patch_length=5,
    patch_stride=3,
    num_hidden_layers=2,
    d_model=24,
    num_attention_heads=3,
    ffn_dim=40,
    attn_implementation="sdpa",
)
ALL = ["last_hidden_state", "hidden_states", "loc", "scale", "patch_input"]


def series(name: str, missing: int | None = 4, shape: tuple[int, int, int] = (3, 19, 3)) -> dict[str, torch.Tensor]:
    """Values around a level of each channel's own; one of `missing` is, and of the last row the first channel is as a whole."""
    values = weights.tensor(f"{name}.values", shape, 2.0) + torch.arange(shape[2]) * 3.0
    if missing is None:
        return {"past_values": values}
    observed = torch.from_numpy(weights.whole_numbers(f"{name}.observed", shape, missing)).ne(0).long()
    observed[-1, :, 0] = 0
    return {"past_values": torch.where(observed == 1, values, 77.0), "past_observed_mask": observed}


def call(model, given: dict[str, torch.Tensor]):
    """The model on what transformers expects, with the given noise in the place of what it would draw."""
    given = dict(given)
    if "past_observed_mask" in given:
        given["past_values"] = given["past_values"] * given["past_observed_mask"]
    noise = given.pop("noise", None)
    with mock.patch("torch.rand", lambda *shape, **_: noise):
        return model(**given, output_hidden_states=True)


def case(folder: Path, name: str, kind, given: dict[str, torch.Tensor], outputs: list[str], **settings) -> None:
    write(folder, f"series_patchtst_{name}", lambda: kind(PatchTSTConfig(**(SIZES | settings))), given, outputs, call)


def model(folder: Path) -> None:
    case(folder, "model", PatchTSTModel, series("patchtst"), ALL)


def channels(folder: Path) -> None:
    """Everything that the first case has not."""
    settings = dict(channel_attention=True, norm_type="layernorm", norm_eps=1e-3, pre_norm=False, bias=False)
    settings |= dict(use_cls_token=True, positional_encoding_type="random", scaling="mean", share_embedding=False)
    case(folder, "channels", PatchTSTModel, series("patchtst"), ALL, **settings, activation_function="relu")
    settings = dict(channel_attention=True, scaling=None)
    case(folder, "channels_batch_norm", PatchTSTModel, series("patchtst", None), ALL, **settings)


def one(folder: Path) -> None:
    """One patch of one channel."""
    settings = dict(num_input_channels=1, context_length=6, scaling=True)
    case(folder, "one", PatchTSTModel, series("patchtst.one", 3, (2, 6, 1)), ALL, **settings)


def pretraining(folder: Path) -> None:
    given = series("patchtst.hidden") | {"noise": weights.tensor("patchtst.noise", (3, 3, 5))}
    settings = dict(use_cls_token=True, random_mask_ratio=0.4, unmasked_channel_indices=[1], mask_value=2)
    case(folder, "pretraining", PatchTSTForPretraining, given, ["loss", "prediction_output", "hidden_states"], **settings)
    given = series("patchtst.hidden") | {"noise": weights.tensor("patchtst.noise", (3, 1, 5))}
    settings = dict(channel_consistent_masking=True, norm_type="layernorm", random_mask_ratio=0.5)
    case(folder, "pretraining_consistent", PatchTSTForPretraining, given, ["loss", "prediction_output"], **settings)
    settings = dict(mask_type="forecast", num_forecast_mask_patches=[2], pre_norm=False)
    case(folder, "pretraining_forecast", PatchTSTForPretraining, series("patchtst"), ["loss", "prediction_output"], **settings)


def classification(folder: Path) -> None:
    given = series("patchtst") | {"target_values": torch.from_numpy(weights.whole_numbers("patchtst.classes", (3,), 4))}
    outputs = ["loss", "prediction_logits"]
    case(folder, "classification", PatchTSTForClassification, given, outputs, num_targets=4)
    case(folder, "classification_cls", PatchTSTForClassification, given, outputs, num_targets=4, use_cls_token=True)


def regression(folder: Path) -> None:
    given = series("patchtst") | {"target_values": weights.tensor("patchtst.targets", (3, 2), 3.0)}
    settings = dict(num_targets=2, pooling_type="max", output_range=[-1.0, 4.0])
    case(folder, "regression", PatchTSTForRegression, given, ["loss", "regression_outputs"], **settings)


def prediction(folder: Path) -> None:
    given = series("patchtst") | {"future_values": weights.tensor("patchtst.future", (3, 7, 3), 3.0)}
    outputs = ["loss", "prediction_outputs", "loc", "scale"]
    case(folder, "prediction", PatchTSTForPrediction, given, outputs, prediction_length=7)
    case(folder, "prediction_flat", PatchTSTForPrediction, given, outputs, prediction_length=7, pooling_type=None)


CASES = [model, channels, one, pretraining, classification, regression, prediction]
