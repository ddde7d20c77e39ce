"""How many of the ten nearest `florin search query` finds by its graph, asked with questions of CLINC150 ($FLORIN_DATA).

`python tests/peers/search_recall.py FLORIN INDEX`; the index is of Banking77:
`florin search build minilm $FLORIN_DATA/banking77/train.parquet --column text --index INDEX`.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet

NEAREST = 10


def main() -> None:
    florin, index = sys.argv[1:]
    table = pyarrow.parquet.read_table(Path(os.environ["FLORIN_DATA"]) / "clinc150" / "queries.parquet")
    questions = table.column("text").to_pylist()[::40][:500]

    def ask(*options: str) -> tuple[list[set[str]], float]:
        began = time.perf_counter()
        command = [florin, "search", "query", index, *questions, "--count", str(NEAREST), "--json", *options]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        return [{one["name"] for one in row["found"]} for row in found], time.perf_counter() - began

    exact, seconds = ask("--exact")
    print(f"{len(questions)} questions; exact {seconds:.1f} s")
    for candidates in (10, 50, 100, 200, 400):
        found, seconds = ask("--candidates", str(candidates))
        kept = sum(len(a & b) for a, b in zip(exact, found))
        print(f"candidates {candidates}: {kept / (NEAREST * len(questions)):.4f} found, {seconds:.1f} s")


if __name__ == "__main__":
    main()
