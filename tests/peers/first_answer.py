"""From nothing to a text's first vector: what a whole process takes, and how much memory.

`answer FOLDER TEXT` is the script that a user of sentence-transformers would write. `measure RUNS COMMAND..` starts a command so often, after
once that does not count (its files are then in the page cache), and prints the median seconds and the largest resident size as JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import time


def answer(folder: str, text: str) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    torch.set_num_threads(2)
    words = Transformer(folder, max_seq_length=512)
    model = SentenceTransformer(modules=[words, Pooling(384, pooling_mode="mean")], device="cpu")
    print(json.dumps({"name": text, "embedding": model.encode([text], show_progress_bar=False)[0].tolist()}))


def measure(runs: int, command: list[str]) -> None:
    seconds, largest = [], 0
    for _ in range(runs + 1):
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        seconds.append(time.perf_counter() - began)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            sys.exit(f"{' '.join(command)}: ended with {child.returncode}")
        # In kilobytes on Linux.
        largest = max(largest, used.ru_maxrss * 1024)
    first, _, third = statistics.quantiles(seconds[1:], n=4, method="inclusive")
    found = {"median_seconds": statistics.median(seconds[1:]), "quartile_1_seconds": first, "quartile_3_seconds": third}
    print(json.dumps({**found, "runs": runs, "peak_resident_bytes": largest}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["answer", folder, text]:
            answer(folder, text)
        case ["measure", runs, *command] if command:
            measure(int(runs), command)
        case _:
            sys.exit("expected `answer FOLDER TEXT` or `measure RUNS COMMAND..`")
