"""Every operation, attention, fusion and loss of Florin in plain PyTorch, at the same shapes: what one call costs there.

Prints one JSON object a line, `{"case": "GROUP/NAME_forward", "milliseconds": ..}`, with the names that Florin's benches give
their cases (`crates/*/benches`); `cargo xtask bench peers blocks` runs both sides by turns and sets them beside each other.
Weights and inputs are random and in f32. Written as one writes it in PyTorch: its fused attention, norms and cross-entropy, run
eagerly. `forward` is without gradients; `backward` is a forward pass with the gradients of all weights and inputs. What a block
of Florin gives beside its result (its tokens, the weights of its modalities) is computed here too.
"""

import argparse
import json
import statistics
import time
from typing import Callable

import torch
from torch import Tensor

import blocks_attention
import blocks_fusion
import blocks_losses
import blocks_operations

GROUPS = {
    "operations": blocks_operations.CASES,
    "attention": blocks_attention.CASES,
    "fusion": blocks_fusion.CASES,
    "losses": blocks_losses.CASES,
}


def timed(action: Callable[[], object], seconds: float) -> float:
    """The median milliseconds of a call, over the given time and at least ten calls, after two that do not count."""
    action()
    action()
    found, end = [], time.perf_counter() + seconds
    while len(found) < 10 or time.perf_counter() < end:
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return 1e3 * statistics.median(found)


def both(make: Callable[[], tuple[Callable[[], Tensor], list[Tensor]]], seconds: float) -> dict[str, float]:
    """A case without gradients and with those of everything that has any."""
    torch.manual_seed(7)
    run, learned = make()

    @torch.no_grad()
    def forward() -> Tensor:
        return run().square().mean()

    def backward() -> None:
        for tensor in learned:
            tensor.grad = None
        run().square().mean().backward()

    return {"forward": timed(forward, seconds), "backward": timed(backward, seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("names", nargs="*", help="only these cases")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing for each case")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    for name, make in GROUPS[options.group].items():
        if options.names and name not in options.names:
            continue
        for kind, milliseconds in both(make, options.seconds).items():
            print(json.dumps({"case": f"{options.group}/{name}_{kind}", "milliseconds": milliseconds}), flush=True)


if __name__ == "__main__":
    main()
