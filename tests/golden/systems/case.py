"""A case of a whole system: its configuration, its inputs, and what transformers makes of them, gradients included.

No weights are stored: the header lists the names and shapes of the checkpoint's tensors, and both sides fill them from their names. The
Rust side writes them to a folder with the configuration and opens that as users do.
"""

import copy
from pathlib import Path

import numpy as np
import torch

import weights
from fixture import Fixture


def fill(module: torch.nn.Module) -> None:
    """Noise in every tensor that a checkpoint holds, buffers included; scales of norms and variances around one."""
    tensors = module.state_dict()
    with torch.no_grad():
        for name, shape in tensors_of(module):
            tensors[name].copy_(torch.from_numpy(np.asarray(weights.stored(name, tuple(shape)))))


def tensors_of(module: torch.nn.Module) -> list[list]:
    """Name and shape of every floating tensor that `save_pretrained` writes: of those that share memory only one."""
    listed, seen = [], {}
    tied = getattr(module, "all_tied_weights_keys", {}) or {}
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point() or name in tied or tensor.data_ptr() in seen:
            continue
        seen[tensor.data_ptr()] = name
        listed.append([name, list(tensor.shape)])
    return listed


def flat(found, outputs: list[str]) -> dict[str, torch.Tensor]:
    """The named results; `hidden_states` stands for all of them, one by one."""
    results = {}
    for name in outputs:
        value = found[name]
        if isinstance(value, (tuple, list)):
            results |= {f"{name}.{index}": part for index, part in enumerate(value)}
        else:
            results[name] = value
    return results


def write(
    folder: Path,
    case: str,
    make,
    inputs: dict[str, torch.Tensor],
    outputs: list[str],
    call=lambda model, inputs: model(**inputs, output_hidden_states=True),
    config: dict | None = None,
    prepare=lambda model: model.eval(),
) -> None:
    """Computes a case in f64 and in f32 and writes it.

    `make` makes the module; `inputs` are what both sides are given, under transformers' names; `outputs` are names of the results to
    compare. The loss whose gradients are compared is the sum of all results, each multiplied by noise of its name.
    """
    single = prepare(make()).float()
    fill(single)
    double = copy.deepcopy(single).double()
    listed = tensors_of(single)
    if config is None:
        config = single.config.to_dict() | {"architectures": [type(single).__name__]}
    fixture = Fixture(f"system_{case}", {"checkpoint": plain(config), "tensors": listed}, most_entries=256, entries=24)
    for name, value in inputs.items():
        fixture.give(name, value)
    computed = []
    for model in (double, single):
        kind = next(model.parameters()).dtype
        cast = {name: value.to(kind) if value.is_floating_point() else value for name, value in inputs.items()}
        results = flat(call(model, cast), outputs)
        loss = sum((value * weights.tensor(f"probe.{name}", tuple(value.shape)).to(kind)).sum() for name, value in results.items())
        loss.backward()
        own = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        computed.append(({name: value if value.dim() else value.reshape(1) for name, value in results.items()}, own))
    (exact, gradients), (near, near_gradients) = computed
    for name in exact:
        fixture.expect(name, exact[name], near[name])
    fixture.expect_gradients(gradients, near_gradients)
    fixture.write(folder)


def plain(config):
    """The configuration without what is this machine's or this version's."""
    dropped = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "_attn_implementation", "attn_implementation"}
    if isinstance(config, dict):
        return {name: plain(value) for name, value in config.items() if name not in dropped}
    return config
