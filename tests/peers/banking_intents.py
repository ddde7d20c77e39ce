#!/usr/bin/env python3
"""scikit-learn's logistic regression on vectors that Florin wrote: `banking_intents.py OUT.npy`, with $FLORIN_DATA set.

The same protocol as the example `banking_intents`: five folds, C from 1, 10 and 100 chosen on the next fold of the training rows.
Needs numpy, pandas, pyarrow and scikit-learn.
"""

import os
import sys

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression


def main() -> None:
    rows = pd.read_parquet(os.path.join(os.environ["FLORIN_DATA"], "banking77/train.parquet"))
    vectors, labels, folds = np.load(sys.argv[1]), rows.intent_id.values, rows.fold.values

    def accuracy(weight: float, fitted: np.ndarray, scored: np.ndarray) -> float:
        probe = LogisticRegression(C=weight, max_iter=1000).fit(vectors[fitted], labels[fitted])
        return float((probe.predict(vectors[scored]) == labels[scored]).mean())

    found = []
    for held_out in range(5):
        inner = (held_out + 1) % 5
        inner_fitted = (folds != held_out) & (folds != inner)
        best = max([1, 10, 100], key=lambda weight: accuracy(weight, inner_fitted, folds == inner))
        found.append(accuracy(best, folds != held_out, folds == held_out))
        print(f"{held_out:4}  {best:>6}  {found[-1]:>8.4f}", flush=True)
    print(f"mean          {np.mean(found):>8.4f}")


if __name__ == "__main__":
    main()
