"""Writing fixtures: what the f64 oracle says, and how far torch's own f32 is from it.

A fixture is a safetensors file. Its header holds `format`, `version`, `case`, `torch`, `transformers` and `config`; its tensors are

- `input.NAME`: int64 or f32, what both sides are given;
- `expected.NAME`: f64, flat: the oracle's values, or of a large tensor some of its entries (`entries.NAME`, int64, says which);
- `torch_error.NAME`: f64, one number: the largest absolute error of torch's f32 in those values.

A large tensor has `NAME.sum` and `NAME.norm` besides.
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file

import weights

FORMAT = "florin-golden"
VERSION = "1"
MOST_BYTES = 250_000


class Fixture:
    def __init__(self, case: str, config: dict, most_entries: int = 1024, entries: int = 64):
        self.case, self.config, self.tensors = case, config, {}
        self.most_entries, self.entries = most_entries, entries

    def give(self, name: str, value) -> None:
        """An input of both sides."""
        array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        if array.dtype == bool or np.issubdtype(array.dtype, np.integer):
            array = array.astype(np.int64)
        assert array.dtype in (np.int64, np.float32), f"{name}: {array.dtype}"
        self.tensors[f"input.{name}"] = np.ascontiguousarray(array)

    def expect(self, name: str, oracle: torch.Tensor, single: torch.Tensor) -> None:
        """A result: the oracle's in f64, and torch's in f32."""
        assert oracle.dtype == torch.float64 and single.dtype == torch.float32, f"{name}: {oracle.dtype}, {single.dtype}"
        assert torch.isfinite(oracle).all(), f"{name} is not finite"
        exact, near = oracle.detach().reshape(-1).numpy(), single.detach().reshape(-1).double().numpy()
        if exact.size > self.most_entries:
            self._put(f"{name}.sum", exact.sum(keepdims=True), near.sum(keepdims=True))
            self._put(f"{name}.norm", np.sqrt((exact**2).sum(keepdims=True)), np.sqrt((near**2).sum(keepdims=True)))
            chosen = weights.whole_numbers(f"entries.{name}", (self.entries,), exact.size)
            self.tensors[f"entries.{name}"] = chosen
            exact, near = exact[chosen], near[chosen]
        self._put(name, exact, near)

    def expect_gradients(self, oracle: dict[str, torch.Tensor], single: dict[str, torch.Tensor]) -> None:
        for name in sorted(oracle):
            self.expect(f"gradient.{name}", oracle[name], single[name])

    def _put(self, name: str, exact: np.ndarray, near: np.ndarray) -> None:
        self.tensors[f"expected.{name}"] = exact.copy()
        self.tensors[f"torch_error.{name}"] = np.abs(exact - near).max(keepdims=True)

    def write(self, folder: Path) -> None:
        header = {
            "format": FORMAT,
            "version": VERSION,
            "case": self.case,
            "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__,
            "config": json.dumps(self.config),
        }
        path = folder / f"{self.case}.safetensors"
        path.write_bytes(safetensors_bytes(self.tensors, header))
        size = path.stat().st_size
        assert size <= MOST_BYTES, f"{path} has {size} bytes, at most {MOST_BYTES} are allowed"
        print(f"{path}: {size} bytes, {len(self.tensors)} tensors")


def same(one: torch.Tensor, other: torch.Tensor, what: str, most: float = 1e-12) -> None:
    """The oracle is only as good as its agreement with a second, independent one."""
    gap = (one - other).abs().max().item()
    assert gap < most, f"{what}: two oracles differ by {gap}"


def safetensors_bytes(tensors: dict[str, np.ndarray], header: dict[str, str]) -> bytes:
    """The file with names in order: the library's own writer orders its header at random, and every commit would differ."""
    kinds = {"float64": "F64", "float32": "F32", "int64": "I64"}
    layout, parts, place = {"__metadata__": dict(sorted(header.items()))}, [], 0
    for name in sorted(tensors):
        part = np.ascontiguousarray(tensors[name]).tobytes()
        offsets = [place, place + len(part)]
        layout[name] = {"dtype": kinds[str(tensors[name].dtype)], "shape": list(tensors[name].shape), "data_offsets": offsets}
        parts.append(part)
        place += len(part)
    text = json.dumps(layout, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data start at a multiple of eight
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


def differences(committed: Path, fresh: Path) -> list[str]:
    """How a fixture made again differs from the committed one. The last bits of f64 depend on the processor; torch's f32 error
    more so, and is compared only within a factor, because a tolerance follows from it."""
    with safe_open(committed, "np") as a, safe_open(fresh, "np") as b:
        found = [f"header: {a.metadata()} against {b.metadata()}"] if a.metadata() != b.metadata() else []
    old, new = load_file(committed), load_file(fresh)
    found += [f"only one side has {name}" for name in sorted(old.keys() ^ new.keys())]
    for name in sorted(old.keys() & new.keys()):
        if old[name].shape != new[name].shape or old[name].dtype != new[name].dtype:
            found.append(f"{name}: shape or type differs")
        elif name.startswith("torch_error."):
            # Rounding differs between processors: only an error of another order tells of a change.
            low, high = sorted((float(old[name][0]), float(new[name][0])))
            if high > 1e-5 and high > 30 * low:
                found.append(f"{name}: {float(old[name][0])} against {float(new[name][0])}")
        elif name.startswith("expected."):
            if not np.allclose(old[name], new[name], rtol=1e-8, atol=1e-10):
                found.append(f"{name}: differs by up to {np.abs(old[name] - new[name]).max()}")
        elif not np.array_equal(old[name], new[name], equal_nan=True):
            found.append(f"{name}: differs")
    return [f"{committed.name}: {line}" for line in found]
