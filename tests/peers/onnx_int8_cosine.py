#!/usr/bin/env python3
"""How far ONNX Runtime's dynamic int8 moves the vectors of a sentence encoder, as `docs/src/precision.md` has it.

    python onnx_int8_cosine.py MODEL_DIR TEXTS.parquet VECTORS.npy

MODEL_DIR is the folder that `florin pull minilm` makes, TEXTS has a column `text`, and VECTORS are those of `florin embed` in f32. Prints the
cosine with them (median, one in a hundred, least) of the model as exported, of `quantize_dynamic` as `cargo xtask bench peers` has it, and of a
scale for every output and one bit less, which leaves room for two products in sixteen bits.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import pandas
from models import export_of_any_length
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoTokenizer

BATCH = 32


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    folder, texts, vectors = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts, exact = pandas.read_parquet(texts)["text"].tolist(), unit(np.load(vectors))
    order = np.argsort([len(text) for text in texts])
    with tempfile.TemporaryDirectory() as made:
        single, usual, careful = (str(Path(made) / f"{name}.onnx") for name in ["f32", "int8", "int8, by outputs, seven bits"])
        export_of_any_length(folder, Path(single))
        quantize_dynamic(single, usual, weight_type=QuantType.QInt8)
        quantize_dynamic(single, careful, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
        for path in [single, usual, careful]:
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            cosines = np.zeros(len(texts))
            for first in range(0, len(order), BATCH):
                places = order[first : first + BATCH]
                given = tokenizer([texts[place] for place in places], padding=True, truncation=True, return_tensors="np")
                given = {"ids": given["input_ids"].astype(np.int64), "mask": given["attention_mask"].astype(np.int64)}
                cosines[places] = (unit(session.run(None, given)[0]) * exact[places]).sum(1)
            print(f"{Path(path).stem}: {np.median(cosines):.4f}, {np.quantile(cosines, 0.01):.4f}, {cosines.min():.4f}", flush=True)


if __name__ == "__main__":
    main()
