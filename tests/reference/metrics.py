#!/usr/bin/env python3
"""Writes metrics.json: scikit-learn's silhouette (metric="sqeuclidean"), Davies-Bouldin and Calinski-Harabasz indices,
adjusted Rand index and normalised mutual information for rows that tests/metrics.rs makes in the same way.

    pip install scikit-learn && python3 tests/reference/metrics.py
"""
import json
import pathlib

import numpy as np
import sklearn
from sklearn import metrics

# Name, rows, features, clusters, step between clusters, offset of all values, share of labels drawn anew.
CASES = [
    ("one feature", 200, 1, 3, 500, 0, 10),
    ("clear groups", 300, 3, 5, 3000, 0, 0),
    ("overlapping groups", 400, 6, 4, 300, -2000, 20),
    ("far from the origin", 300, 4, 3, 700, 100_000, 5),
    ("many features", 150, 37, 6, 400, 0, 30),
    ("labels at random", 250, 2, 7, 0, 100, 100),
]


class Random:
    """Knuth's MMIX generator; the upper 31 bits of each state."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % bound


def rows_and_labels(n, d, k, step, offset, anew):
    random = Random(n * 1000 + d)
    rows, labels, others = [], [], []
    for _ in range(n):
        # Clusters differ in size: the least of two draws.
        cluster = min(random.below(k), random.below(k))
        rows.append([offset + step * (cluster * (j + 1) % k) + random.below(1000) for j in range(d)])
        labels.append(random.below(k) if random.below(100) < anew else cluster)
        others.append(random.below(k) if random.below(100) < 30 else cluster)
    return np.array(rows, dtype=float), labels, others


def main():
    cases = []
    for name, n, d, k, step, offset, anew in CASES:
        rows, labels, others = rows_and_labels(n, d, k, step, offset, anew)
        cases.append({
            "name": name, "n_rows": n, "n_features": d, "n_clusters": k, "step": step, "offset": offset, "anew": anew,
            "silhouette": float(metrics.silhouette_score(rows, labels, metric="sqeuclidean")),
            "davies_bouldin": float(metrics.davies_bouldin_score(rows, labels)),
            "calinski_harabasz": float(metrics.calinski_harabasz_score(rows, labels)),
            "adjusted_rand": float(metrics.adjusted_rand_score(labels, others)),
            "normalized_mutual_info": float(metrics.normalized_mutual_info_score(labels, others)),
        })
    out = pathlib.Path(__file__).with_name("metrics.json")
    out.write_text(json.dumps({"scikit_learn": sklearn.__version__, "cases": cases}, indent=1) + "\n")


main()
