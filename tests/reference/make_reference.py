#!/usr/bin/env python3
"""Writes sklearn.json: what scikit-learn's float64 Lloyd makes of small data sets from a given start.

    pip install scikit-learn && python3 tests/reference/make_reference.py

The rows are rounded to three decimals, so the JSON holds them exactly as both sides see them.
"""
import json
import pathlib

import numpy as np
import sklearn
from sklearn.cluster import KMeans


def blobs(rng, n, d, k, spread):
    centres = rng.uniform(-10, 10, (k, d))
    sizes = rng.dirichlet(np.full(k, 2.0))
    return centres[rng.choice(k, n, p=sizes)] + spread * rng.standard_normal((n, d))


def heavy_tails(rng, n, d):
    return np.exp(1.3 * rng.standard_normal((n, d)))


def case(name, rows, k, rng, weights=None):
    rows = np.round(rows, 3)
    start = rows[rng.choice(len(rows), k, replace=False)]
    fit = KMeans(k, init=start, n_init=1, max_iter=300, tol=0, algorithm="lloyd").fit(rows, sample_weight=weights)
    return {
        "name": name,
        "rows": rows.tolist(),
        "weights": None if weights is None else weights.tolist(),
        "start": start.tolist(),
        "labels": fit.labels_.tolist(),
        "centroids": fit.cluster_centers_.tolist(),
        "inertia": fit.inertia_,
    }


def main():
    rng = np.random.default_rng(20261122)
    cases = [
        case("one feature", blobs(rng, 120, 1, 4, 0.5), 4, rng),
        case("clear groups", blobs(rng, 250, 3, 5, 0.6), 5, rng),
        case("overlapping groups", blobs(rng, 300, 6, 7, 4.0), 7, rng),
        case("heavy tails", heavy_tails(rng, 300, 4), 6, rng),
        case("weighted", blobs(rng, 200, 2, 3, 3.0), 5, rng, rng.integers(1, 9, 200).astype(float)),
        case("far from the origin", 50_000 + blobs(rng, 200, 2, 4, 2.0), 4, rng),
    ]
    out = pathlib.Path(__file__).with_name("sklearn.json")
    out.write_text(json.dumps({"scikit_learn": sklearn.__version__, "cases": cases}, separators=(",", ":")) + "\n")


main()
