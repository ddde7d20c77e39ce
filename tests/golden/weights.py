"""Weights without a file: the same numbers from a name and an index in Python and in Rust (suite/golden_weights.rs).

Every tensor gets noise of standard deviation 0.1, norm scales around one: default weights (biases 0, scales 1) hide errors.
A value is a 24-bit uniform number from splitmix64, so that it is the same f32 on both sides to the last bit.
"""

import numpy as np
import torch

AMPLITUDE = np.float32(0.17320508)  # a uniform number in [-a, a] has standard deviation a / sqrt(3) = 0.1
STEP = np.uint64(0x9E3779B97F4A7C15)


def fnv1a(name: str) -> np.uint64:
    """The 64-bit FNV-1a hash."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return np.uint64(state)


def bits(name: str, count: int) -> np.ndarray:
    """`count` numbers of 64 random bits."""
    with np.errstate(over="ignore"):
        z = fnv1a(name) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * STEP
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """f32 in [-1, 1)."""
    unit = (bits(name, int(np.prod(shape))) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23)
    return (unit - np.float32(1.0)).reshape(shape)


def tensor(name: str, shape: tuple[int, ...], scale: float = 1.0) -> torch.Tensor:
    """An f32 input."""
    return torch.from_numpy(np.asarray(uniform(name, shape) * np.float32(scale)))


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The parameter of that name, in PyTorch's orientation."""
    noise = uniform(name, shape) * AMPLITUDE
    return np.float32(1.0) + noise if name.endswith("norm.weight") else noise


def stored(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor of that name in a checkpoint, whoever named it: a vector of weights scales a norm, and a variance is above zero."""
    noise = uniform(name, shape) * AMPLITUDE
    is_scale = len(shape) == 1 and name.endswith("weight")
    return np.float32(1.0) + noise if is_scale or name.endswith("running_var") else noise


def fill(module: torch.nn.Module, prefix: str = "", rename=lambda name: name) -> None:
    """Sets every parameter of a module; `rename` gives Florin's name of one of PyTorch's."""
    for name, parameter in module.named_parameters():
        own = prefix + rename(name)
        parameter.data = torch.from_numpy(values(own, tuple(parameter.shape))).to(parameter.dtype)


def whole_numbers(name: str, shape: tuple[int, ...], most: int) -> np.ndarray:
    """Integers from 0 up to, not including, `most`."""
    return (bits(name, int(np.prod(shape))) % np.uint64(most)).astype(np.int64).reshape(shape)
