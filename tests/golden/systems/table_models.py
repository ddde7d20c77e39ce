"""FT-Transformer and the residual perceptron against the paper's own package; what stands for missing values is ours, and added to it here.

The package's tensors keep their names; `cont_embeddings.missing` and `cat_embeddings.missing` are new.
"""

from pathlib import Path

import torch
from rtdl_revisiting_models import FTTransformer, ResNet
from torch import nn

import weights

from .case import write

CARDINALITIES = [3, 2, 5]
COLUMNS = {"n_cont_features": 4, "cat_cardinalities": CARDINALITIES}
FT = dict(n_blocks=2, d_block=24, attention_n_heads=3, ffn_d_hidden=16)
DROPPED = dict(ffn_d_hidden_multiplier=None, attention_dropout=0.0, ffn_dropout=0.0, residual_dropout=0.0)
MLP = dict(n_blocks=2, d_block=24, d_hidden=17)


def rows(name: str, missing: bool, batch: int = 5) -> dict[str, torch.Tensor]:
    """Rows; a missing number is NaN and a missing category -1."""
    numbers = weights.tensor(f"{name}.numbers", (batch, 4), 2.0)
    columns = [weights.whole_numbers(f"{name}.{index}", (batch,), most) for index, most in enumerate(CARDINALITIES)]
    categories = torch.stack([torch.from_numpy(column) for column in columns], 1)
    if missing:
        hidden = torch.from_numpy(weights.whole_numbers(f"{name}.missing", (batch, 7), 3)) == 0
        categories = categories.masked_fill(hidden[:, 4:], -1)
        numbers = torch.where(hidden[:, :4], torch.nan, numbers)
    return {"x_cont": numbers, "x_cat": categories}


class Missing(nn.Module):
    """Token by token: the package's own where there is a value, a learned vector where there is none."""

    def __init__(self, embeddings: nn.Module, columns: int, width: int) -> None:
        super().__init__()
        for name, part in [*embeddings.named_parameters(recurse=False), *embeddings.named_children()]:
            setattr(self, name, part)
        self.missing = nn.Parameter(torch.zeros(columns, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        is_number = x.is_floating_point()
        gone = x.isnan() if is_number else x < 0
        known = x.masked_fill(gone, 0)
        result = []
        for row in range(len(x)):
            tokens = list(self.tokens(known[row : row + 1])[0])
            for column in range(x.shape[1]):
                if gone[row, column]:
                    tokens[column] = self.missing[column] + (0 if is_number else self.bias[column])
            result.append(torch.stack(tokens))
        return torch.stack(result)

    def tokens(self, known: torch.Tensor) -> torch.Tensor:
        if known.is_floating_point():
            return known[..., None] * self.weight + self.bias
        return torch.stack([table(known[:, i]) for i, table in enumerate(self.embeddings)], 1) + self.bias


def ft(missing: bool, **settings) -> FTTransformer:
    columns = COLUMNS | {name: settings.pop(name) for name in list(settings) if name in COLUMNS}
    model = FTTransformer(**columns, **(FT | DROPPED | settings))
    if missing:
        model.cont_embeddings = Missing(model.cont_embeddings, 4, FT["d_block"])
        model.cat_embeddings = Missing(model.cat_embeddings, 3, FT["d_block"])
    return model


def ft_call(model: FTTransformer, given: dict[str, torch.Tensor]) -> dict:
    """Every block's result through the package's own hooks."""
    states, given = [], dict(given)
    labels = given.pop("labels", None)
    first = model.backbone.blocks[0]
    hooks = [first["attention"].register_forward_pre_hook(lambda _, inputs: states.append(inputs[1]))]
    hooks += [block["output"].register_forward_hook(lambda *found: states.append(found[-1])) for block in model.backbone.blocks]
    found = model(given.get("x_cont"), given.get("x_cat"))
    for hook in hooks:
        hook.remove()
    # The last block adds what the class token read to every other token too, by broadcasting; nobody reads those.
    states[-1] = states[-1][:, :1]
    results = {"logits": found, "pooler_output": states[-1][:, 0], "hidden_states": states}
    return results | loss_of(found, labels)


def loss_of(found: torch.Tensor, labels: torch.Tensor | None) -> dict:
    if labels is None:
        return {}
    whole = not labels.is_floating_point()
    return {"loss": nn.functional.cross_entropy(found, labels) if whole else nn.functional.mse_loss(found, labels)}


def ft_case(folder: Path, name: str, given: dict, outputs: list[str], missing: bool, **settings) -> None:
    config = {"model_type": "florin-ft-transformer", "missing_values": missing} | COLUMNS | FT | settings
    write(folder, f"table_ft_transformer{name}", lambda: ft(missing, **settings), given, outputs, ft_call, config)


def ft_transformer(folder: Path) -> None:
    classes = {"labels": torch.from_numpy(weights.whole_numbers("ft.classes", (5,), 3))}
    outputs = ["loss", "logits", "pooler_output", "hidden_states"]
    ft_case(folder, "", rows("ft", False) | classes, outputs, False, d_out=3)
    targets = {"labels": weights.tensor("ft.targets", (5, 2), 3.0)}
    settings = dict(d_out=2, ffn_activation="ReLU", n_blocks=3)
    ft_case(folder, "_missing", rows("ft", True) | targets, outputs, True, **settings)


def ft_transformer_columns(folder: Path) -> None:
    """One column of numbers alone, categories alone, and no head."""
    number = {"x_cont": weights.tensor("ft.one", (2, 1))}
    outputs = ["pooler_output", "hidden_states"]
    categories = {"x_cat": rows("ft", False)["x_cat"]}
    ft_case(folder, "_categories", categories, outputs, False, n_cont_features=0, d_out=None)
    ft_case(folder, "_number", number, outputs, False, n_cont_features=1, cat_cardinalities=[], d_out=None)


def features(given: dict[str, torch.Tensor], missing: bool) -> torch.Tensor:
    """Numbers, marks of missing ones, and categories as ones and zeros, each with one more for missing."""
    numbers, categories = given["x_cont"], given["x_cat"]
    parts = [numbers.nan_to_num(), numbers.isnan().to(numbers.dtype)] if missing else [numbers]
    for column, most in enumerate(CARDINALITIES):
        ids = categories[:, column]
        one_hot = torch.zeros(len(ids), most + missing, dtype=numbers.dtype)
        for row, category in enumerate(ids):
            one_hot[row, most if category < 0 else category] = 1
        parts.append(one_hot)
    return torch.cat(parts, 1)


def mlp(missing: bool, d_out: int | None) -> ResNet:
    width = sum(CARDINALITIES) + 4 + 7 * missing
    return ResNet(d_in=width, d_out=d_out, d_hidden_multiplier=None, dropout1=0.0, dropout2=0.0, **MLP)


def layer_norms(model: ResNet) -> ResNet:
    """The package has batch norms only; ours may be layer norms."""
    for block in [*model.blocks, model.output]:
        block.normalization = nn.LayerNorm(MLP["d_block"])
    return model


def mlp_call(missing: bool):
    def call(model: ResNet, given: dict[str, torch.Tensor]) -> dict:
        given = dict(given)
        labels, states = given.pop("labels", None), []
        x = model.input_projection(features(given, missing))
        for block in model.blocks:
            states.append(x)
            x = x + block(x)
        found = model(features(given, missing))
        return {"logits": found, "pooler_output": x, "hidden_states": [*states, x]} | loss_of(found, labels)

    return call


def table_mlp(folder: Path) -> None:
    config = {"model_type": "florin-table-mlp"} | COLUMNS | MLP
    outputs = ["loss", "logits", "pooler_output", "hidden_states"]
    given = rows("mlp", False) | {"labels": torch.from_numpy(weights.whole_numbers("mlp.classes", (5,), 3))}
    write(folder, "table_mlp", lambda: mlp(False, 3), given, outputs, mlp_call(False), config | {"d_out": 3})
    given = rows("mlp", True) | {"labels": weights.tensor("mlp.targets", (5, 1), 3.0)}
    settings = {"d_out": 1, "missing_values": True, "normalization": "layernorm"}
    write(folder, "table_mlp_missing", lambda: layer_norms(mlp(True, 1)), given, outputs, mlp_call(True), config | settings)


CASES = [ft_transformer, ft_transformer_columns, table_mlp]
