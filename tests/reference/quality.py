#!/usr/bin/env python3
"""Holds the default fit against the best of 200 scikit-learn restarts, and its time against one scikit-learn fit.

    pip install scikit-learn pyarrow
    cargo build --release && python3 tests/reference/quality.py [--kohort target/release/kohort] [NAME ...]

Generates eight tables of the shapes that clustering benchmarks use (grids, sines, random and overlapping groups, very
unequal sizes, heavy tails with many zeros, 64 dimensions), writes them under target/quality and prints one line each.
The reference (best inertia of n_init=200, and of Lloyd from the true centres) is slow and kept in a JSON beside the
table. Columns are standardised before, so that both sides see the same numbers (`--scale none`). The inertia of both
is computed here, in float64, from the centroids that each gives. Own Parquet files: NAME=FILE:K:COLUMN,COLUMN...
"""
import argparse
import json
import pathlib
import resource
import subprocess
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin_min

OUT = pathlib.Path("target/quality")
RESTARTS = 200


def groups(rng, centres, sizes, spreads):
    """Rows around centres, with their true centres."""
    label = np.repeat(np.arange(len(centres)), sizes)
    rows = centres[label] + np.asarray(spreads)[label][:, None] * rng.standard_normal((len(label), centres.shape[1]))
    return rows, centres


def grid(rng):
    side = np.arange(10) * 4 * np.sqrt(2)
    centres = np.array([(x, y) for x in side for y in side])
    return *groups(rng, centres, np.full(100, 1000), np.full(100, 1.0)), 100


def sine(rng):
    x = np.arange(100) * 2 * np.pi
    centres = np.column_stack([x, 20 * np.sin(x / 12)])
    return *groups(rng, centres, np.full(100, 1000), np.full(100, 1.0)), 100


def random_groups(rng):
    centres = rng.uniform(0, 60, (100, 2))
    return *groups(rng, centres, rng.integers(100, 1900, 100), rng.uniform(0.5, 2.0, 100)), 100


def unequal(rng):
    centres = rng.uniform(0, 20, (50, 4))
    sizes = (20_000 / (1 + np.arange(50)) ** 1.3).astype(int) + 10
    return *groups(rng, centres, sizes, rng.uniform(0.5, 1.5, 50)), 50


def overlapping(rng):
    centres = rng.uniform(0, 10, (15, 2))
    return *groups(rng, centres, np.full(15, 333), np.full(15, 1.1)), 15


def a_set(rng):
    centres = rng.uniform(0, 60, (50, 2))
    return *groups(rng, centres, np.full(50, 150), np.full(50, 1.3)), 50


def heavy(rng):
    n, d = 20_000, 6
    mix = rng.standard_normal((n, 2)) @ rng.standard_normal((2, d))
    rows = np.exp(1.1 * (0.7 * mix + rng.standard_normal((n, d))))
    rows[rng.uniform(size=(n, d)) < np.linspace(0.3, 0.9, d)] = 0.0
    return rows, None, 4


def wide(rng):
    centres = rng.uniform(0, 6, (32, 64))
    return *groups(rng, centres, (8000 / (1 + np.arange(32))).astype(int) + 50, rng.uniform(1, 3, 32)), 32


SETS = dict(grid=grid, sine=sine, random=random_groups, unequal=unequal, overlap=overlapping, a_set=a_set, heavy=heavy, wide=wide)


def inertia(rows, centroids):
    _, dist = pairwise_distances_argmin_min(rows, centroids)
    return float((dist**2).sum())


def reference(path, rows, centres, k):
    """The best that is known: of 200 restarts and of Lloyd from the true centres. Kept beside the table."""
    kept = path.with_suffix(".json")
    if kept.exists():
        return json.loads(kept.read_text())
    best = KMeans(k, n_init=RESTARTS, random_state=0).fit(rows)
    answer = {"restarts": inertia(rows, best.cluster_centers_)}
    if centres is not None:
        true = KMeans(k, init=centres, n_init=1).fit(rows)
        answer["centres"] = inertia(rows, true.cluster_centers_)
    kept.write_text(json.dumps(answer))
    return answer


def cpu_seconds(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def scikit_learn(rows, k):
    """One fit with k-means++: inertia, seconds, CPU seconds; the fastest of three."""
    runs = []
    for seed in range(3):
        cpu, start = cpu_seconds(resource.RUSAGE_SELF), time.perf_counter()
        fit = KMeans(k, n_init=1, random_state=seed).fit(rows)
        runs.append((inertia(rows, fit.cluster_centers_), time.perf_counter() - start, cpu_seconds(resource.RUSAGE_SELF) - cpu))
    return np.mean([run[0] for run in runs]), *(min(run[i] for run in runs) for i in (1, 2))


def kohort(binary, path, rows, k, seed):
    """One fit with default options: inertia, seconds of the stages that scikit-learn's fit has, CPU seconds in all."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/run"
        features = ",".join(f"f{j}" for j in range(rows.shape[1]))
        command = [binary, "fit", str(path), "-k", str(k), "--scale", "none", "--features", features, "--out", out]
        cpu = cpu_seconds(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, "--seed", str(seed), "--device", "cpu"], check=True, capture_output=True)
        cpu = cpu_seconds(resource.RUSAGE_CHILDREN) - cpu
        run = json.loads(pathlib.Path(out, "run.json").read_text())
        labels = pq.read_table(f"{out}/assignments.parquet").column("segment").to_numpy()
    centroids = np.array([rows[labels == label].mean(axis=0) for label in np.unique(labels)])
    stages = {stage["stage"]: stage["elapsed_s"] for stage in run["time"]["stages"]}
    return inertia(rows, centroids), stages["seed"], sum(stages[name] for name in ("seed", "iterate", "assign")), cpu


def table(name, spec):
    """Rows, true centres (or None), k and the path of the Parquet file of a set."""
    if spec is None:
        rng = np.random.default_rng(sum(map(ord, name)))
        rows, centres, k = SETS[name](rng)
        order = rng.permutation(len(rows))
        rows = rows[order]
    else:
        file, k, columns = spec.split(":")
        rows, centres, k = pq.read_table(file, columns=columns.split(",")).to_pandas().to_numpy(float), None, int(k)
        rows = np.where(np.isnan(rows), np.nanmedian(rows, axis=0), rows)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    rows = (rows - mean) / deviation
    centres = None if centres is None else (centres - mean) / deviation
    path = OUT / f"{name}.parquet"
    pq.write_table(pa.table({f"f{j}": rows[:, j] for j in range(rows.shape[1])}), path)
    return rows, centres, k, path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kohort", default="target/release/kohort")
    parser.add_argument("--seeds", type=int, default=1, help="fits with seeds 0.., of which the worst counts")
    parser.add_argument("--reference-only", action="store_true")
    parser.add_argument("names", nargs="*", default=list(SETS))
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    head = f"{'set':>8} {'rows':>7} {'d':>3} {'k':>4}  {'ratio':>7} {'sk once':>7}  {'seed_s':>7} {'fit_s':>7} {'sk_s':>7}  {'cpu_s':>7} {'sk_cpu':>7}"
    print(head, "\nratio: inertia / best known; sk once: the mean of single scikit-learn fits / best known", flush=True)
    for name in args.names:
        name, _, spec = name.partition("=")
        rows, centres, k, path = table(name, spec or None)
        best = min(reference(path, rows, centres, k).values())
        if args.reference_only:
            continue
        fits = [kohort(args.kohort, path, rows, k, seed) for seed in range(args.seeds)]
        once, sk_s, sk_cpu = scikit_learn(rows, k)
        worst, (seed_s, fit_s, cpu) = max(fit[0] for fit in fits), (min(fit[i] for fit in fits) for i in (1, 2, 3))
        print(f"{name:>8} {len(rows):>7} {rows.shape[1]:>3} {k:>4}  {worst / best:>7.4f} {once / best:>7.4f}  {seed_s:>7.3f} {fit_s:>7.3f} {sk_s:>7.3f}  {cpu:>7.3f} {sk_cpu:>7.3f}", flush=True)


main()
