"""A linear layer whose products are of bfloat16 factors (Micikevicius et al. 2018): the oracle writes its way back out by hand, and is
held to torch's own gradients through factors that are rounded on the way there and gradients that are rounded on the way back."""

from pathlib import Path

import torch

from objectives import write
from weights import tensor

ROWS, INPUT, OUTPUT = 9, 70, 66


def rounded(x: torch.Tensor) -> torch.Tensor:
    return x.float().bfloat16().to(x.dtype)


class ByHand(torch.autograd.Function):
    @staticmethod
    def forward(context, x, weight, bias):
        context.save_for_backward(rounded(x), rounded(weight))
        return rounded(x) @ rounded(weight) + bias

    @staticmethod
    def backward(context, gradient):
        x, weight = context.saved_tensors
        return rounded(gradient) @ weight.T, x.T @ rounded(gradient), gradient.sum(0)


def by_torch(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    product = (x + (rounded(x) - x).detach()) @ (weight + (rounded(weight) - weight).detach())
    product.register_hook(rounded)
    return product + bias


def mixed_linear(folder: Path) -> None:
    def through(layer):
        def parts(probe, **inputs):
            output = layer(**inputs)
            return {"output": output, "loss": (output * probe).sum()}

        return parts

    given = {"probe": tensor("probe", (ROWS, OUTPUT))}
    shapes = {"x": (ROWS, INPUT), "weight": (INPUT, OUTPUT), "bias": (OUTPUT,)}
    tracked = {name: tensor(name, shape) for name, shape in shapes.items()}
    # Rounding is there to be seen: plain f32 is far away.
    plain = tracked["x"] @ tracked["weight"] + tracked["bias"]
    assert (ByHand.apply(*tracked.values()) - plain).abs().max() > 1e-3
    with torch.autocast("cpu", torch.bfloat16):
        theirs = torch.nn.functional.linear(tracked["x"], tracked["weight"].T, tracked["bias"]).float()
    # Torch rounds what comes out as well.
    assert (theirs - ByHand.apply(*tracked.values())).abs().max() < 0.02 * plain.abs().max()
    write(folder, "mixed_linear", {}, given, tracked, through(lambda **inputs: ByHand.apply(*inputs.values())), through(by_torch))


CASES = [mixed_linear]
