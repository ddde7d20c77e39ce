"""The causal temporal convolution, written out tap by tap and row by row without padding; held to torch's own convolution."""

from pathlib import Path

import torch
from torch import nn

import weights
from fixture import same

from .case import fill, write

CONFIG = {
    "model_type": "florin-temporal-convolution",
    "architectures": ["TemporalConvolution"],
    "input_channels": 3,
    "channels": [10, 10, 8],
    "kernel_size": 3,
}


class Block(nn.Module):
    def __init__(self, inner: int, outer: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(inner, outer, kernel)
        self.second = nn.Conv1d(outer, outer, kernel)
        self.shortcut = nn.Conv1d(inner, outer, 1) if inner != outer else None
        self.dilation = dilation

    def forward(self, steps: list[torch.Tensor]) -> list[torch.Tensor]:
        """One row's vectors, step by step."""
        hidden = [torch.relu(x) for x in convolved(self.first, steps, self.dilation)]
        hidden = [torch.relu(x) for x in convolved(self.second, hidden, self.dilation)]
        beside = steps if self.shortcut is None else convolved(self.shortcut, steps, 1)
        return [torch.relu(x + y) for x, y in zip(hidden, beside)]


def convolved(layer: nn.Conv1d, steps: list[torch.Tensor], dilation: int) -> list[torch.Tensor]:
    """The last tap sees the step itself, the one before it `dilation` steps earlier; what was before the series is left out."""
    found, taps = [], layer.weight.shape[2]
    for now in range(len(steps)):
        total = layer.bias
        for back in range(taps):
            if now - back * dilation >= 0:
                total = total + layer.weight[:, :, taps - 1 - back] @ steps[now - back * dilation]
        found.append(total)
    return found


class TemporalConvolution(nn.Module):
    def __init__(self, config: dict) -> None:
        super().__init__()
        widths = [2 * config["input_channels"], *config["channels"]]
        sizes = enumerate(zip(widths, widths[1:]))
        self.blocks = nn.ModuleList(Block(*pair, config["kernel_size"], 2**level) for level, pair in sizes)

    def forward(self, past_values, past_observed_mask, attention_mask) -> dict:
        batch, steps, _ = past_values.shape
        states = [past_values.new_zeros(batch, steps, block.first.out_channels) for block in self.blocks]
        pooled = []
        for row in range(batch):
            places = [step for step in range(steps) if attention_mask[row, step]]
            present = past_observed_mask[row].to(past_values.dtype)
            both = torch.cat([torch.where(present == 1, past_values[row], 0.0), present], -1)
            x = [both[place] for place in places]
            for state, block in zip(states, self.blocks):
                by_torch = causal(block, torch.stack(x, 1))
                x = block(x)
                if past_values.dtype == torch.float64:
                    same(torch.stack(x, 1), by_torch, "a block in loops against torch's convolution")
                for place, value in zip(places, x):
                    state[row, place] = value
            pooled.append(x[-1])
        return {"last_hidden_state": states[-1], "pooler_output": torch.stack(pooled), "hidden_states": states}


def causal(block: Block, x: torch.Tensor) -> torch.Tensor:
    """The block by torch's convolution, which pads both sides; what it adds at the end is cut off."""

    def convolution(layer, x, dilation):
        padding = (layer.kernel_size[0] - 1) * dilation
        return nn.functional.conv1d(x[None], layer.weight, layer.bias, 1, padding, dilation)[0, :, : x.shape[1]]

    hidden = torch.relu(convolution(block.first, x, block.dilation))
    hidden = torch.relu(convolution(block.second, hidden, block.dilation))
    return torch.relu(hidden + (x if block.shortcut is None else convolution(block.shortcut, x, 1)))


def call(model, given):
    return model(**given)


OUTPUTS = ["last_hidden_state", "pooler_output", "hidden_states"]
SIDES = [[1] * 17, [1] * 5 + [0] * 12, [0] * 9 + [1] * 8]


def sees_every_dilation(given: dict[str, torch.Tensor]) -> None:
    """A case in which another dilation gives the same result would notice nothing."""
    model = TemporalConvolution(CONFIG)
    fill(model)
    with torch.no_grad():
        right = model(**given)["last_hidden_state"]
        for index, block in enumerate(model.blocks):
            block.dilation += 1
            change = (model(**given)["last_hidden_state"] - right).abs().max().item()
            block.dilation -= 1
            assert change > 1e-3, f"the dilation of block {index} changes nothing: {change}"


def padded(folder: Path) -> None:
    """Missing values, and padding on either side."""
    observed = torch.from_numpy(weights.whole_numbers("tcn.observed", (3, 17, 3), 4)).ne(0).long()
    # Small values leave the third block without a live number, and its dilation without effect.
    values = weights.tensor("tcn.values", (3, 17, 3), 12.0)
    given = {"past_values": values, "past_observed_mask": observed, "attention_mask": torch.tensor(SIDES)}
    sees_every_dilation(given)
    write(folder, "series_temporal_convolution", lambda: TemporalConvolution(CONFIG), given, OUTPUTS, call, CONFIG)


def one(folder: Path) -> None:
    """A single step, and blocks as wide as what they read."""
    config = CONFIG | {"channels": [6, 6], "kernel_size": 2}
    ones = torch.ones(2, 1, 3, dtype=torch.long)
    given = {"past_values": weights.tensor("tcn.one", (2, 1, 3)), "past_observed_mask": ones, "attention_mask": ones[:, :, 0]}
    write(folder, "series_temporal_convolution_one", lambda: TemporalConvolution(config), given, OUTPUTS, call, config)


CASES = [padded, one]
