#!/usr/bin/env python3
"""Whether rows flagged as sitting on a boundary are those that change their segment in other draws. See README.md.

Rows of one distribution are cut into pieces of the same size. The first is fitted, and its rows are flagged. The others
are fitted from where that fit ended, and label the rows of the first: how often a row leaves its segment is what a flag
should tell.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from peers import ROOT, in_environment, kohort, say, write_table

SIZES = [2_000, 8_000, 20_000, 100_000]
# Cuts of the margin, in units of the one that ends the boundary.
BINS = [0.0, 0.25, 0.5, 0.8, 1.25, 2.0, 3.0]


def pieces_of(args, case, folder):
    """Files of `case["n"]` rows each, drawn from one distribution; the first is the one that is flagged."""
    import numpy as np
    import pyarrow.parquet as pq

    n = case["n"]
    if args.data:
        whole = pq.read_table(args.data)
        n_pieces = min(args.draws + 1, len(whole) // n)
        whole = whole.take(np.random.default_rng(case["seed"]).permutation(len(whole))[: n * n_pieces])
    else:
        n_pieces = args.draws + 1
        made = Path(folder) / "whole.parquet"
        shape = ["--features", str(case["d"]), "--clusters", str(case["k"]), "--seed", str(case["seed"])]
        kohort(args, "generate", "--rows", str(n * n_pieces), *shape, "--out", str(made), "--overwrite")
        whole = pq.read_table(made).drop_columns(["truth", "account_id"])
    if n_pieces < 2:
        sys.exit(f"fewer than two pieces of {n} rows")
    files = []
    for piece in range(n_pieces):
        files.append(Path(folder) / f"piece-{piece}.parquet")
        pq.write_table(whole.slice(piece * n, n), files[-1])
    everything = Path(folder) / "whole.parquet"
    pq.write_table(whole, everything)
    return files, everything


def fit(args, data, k, out, start=None):
    options = ["--out", str(out), "--overwrite", "--tol", args.tol, *args.fit_options.split()]
    if start:
        options += ["--init", str(start)]
    return kohort(args, "fit", str(data), "-k", str(k), *options)[0]


def start_from(run, path):
    """The centroids of a run, as another fit can start from them."""
    model = json.loads((run / "model.json").read_text())
    names = [feature["column"] for feature in model["preparation"]["features"]]
    if len(set(names)) < len(names):
        sys.exit("texts have no place here: name columns of numbers with --fit-options")
    rows = [segment["centroid_in_original_units"] for segment in model["segments"]]
    write_table(path, {name: [row[j] for row in rows] for j, name in enumerate(names)})
    return model["boundary_margin"]


def assignments(path, columns=("segment",)):
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=list(columns))
    return [table[name].to_numpy(zero_copy_only=False) for name in columns]


def renamed(labels, own, k):
    """Labels under the names of those segments in `own` that they share most rows with."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    table = np.bincount((labels - 1) * k + own - 1, minlength=k * k).reshape(k, k)
    names = np.empty(k, dtype=np.int64)
    rows, columns = linear_sum_assignment(-table)
    names[rows] = columns + 1
    return names[labels - 1]


def measure(args, case, folder):
    import numpy as np

    k, folder = case["k"], Path(folder)
    files, everything = pieces_of(args, case, folder)
    fit(args, files[0], k, folder / "run")
    own, margin, flagged = assignments(folder / "run/assignments.parquet", ("segment", "margin", "is_boundary"))
    boundary = start_from(folder / "run", folder / "start.parquet")

    def labels_from(data):
        fit(args, data, k, folder / "other", folder / "start.parquet")
        kohort(args, "score", str(folder / "other"), str(files[0]), "--out", str(folder / "scored.parquet"), "--overwrite")
        return renamed(assignments(folder / "scored.parquet")[0], own, k)

    true = labels_from(everything)
    by_draws, by_whole = np.zeros(len(own)), np.zeros(len(own))
    for file in files[1:]:
        labels = labels_from(file)
        by_draws += (labels != own) / (len(files) - 1)
        by_whole += (labels != true) / (len(files) - 1)
    bins = np.digitize(margin / boundary if boundary else np.full(len(own), np.inf), BINS) - 1

    def told(moved):
        return {
            "flagged": share_of(moved, flagged), "others": share_of(moved, ~flagged),
            "caught": float(moved[flagged].sum() / moved.sum()) if moved.any() else None,
            "bins": [share_of(moved, bins == b) for b in range(len(BINS))],
        }  # fmt: skip

    return {
        "n_draws": len(files) - 1, "boundary_margin": boundary, "share_flagged": float(flagged.mean()),
        "draws": told(by_draws), "whole": told(by_whole),
    }  # fmt: skip


def share_of(shares, rows):
    return float(shares[rows].mean()) if rows.any() else None


def percent(shares):
    """The median over tables, of those that there are."""
    shares = [share for share in shares if share is not None]
    if not shares:
        return "-"
    share = statistics.median(shares)
    return f"{100 * share:.1f}%" if share >= 0.0005 or share == 0 else "<0.1%"


def show(cases):
    names = [f"{low:g} to {high:g}" for low, high in zip(BINS, BINS[1:])] + [f"from {BINS[-1]:g}"]
    for what, told in [
        ("draws", "Share of other draws that give a row another segment than the fit does"),
        ("whole", "Share of draws that give a row another segment than all pieces together do"),
    ]:
        print(f"\n{told}; by margin, in units of the boundary's")
        heads = ["rows", "tables", "flagged", "they", "others", "caught"]
        print("".join(f"{head:>9}" for head in heads) + "".join(f"{name:>13}" for name in names))
        for n in sorted({case["n"] for case in cases}):
            some = [case for case in cases if case["n"] == n]
            figures = [percent([case["share_flagged"] for case in some])]
            figures += [percent([case[what][name] for case in some]) for name in ("flagged", "others", "caught")]
            by_margin = [percent([case[what]["bins"][b] for case in some]) for b in range(len(BINS))]
            line = "".join(f"{text:>9}" for text in [f"{n:,}", len(some), *figures])
            print(line + "".join(f"{text:>13}" for text in by_margin))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows of a draw")
    parser.add_argument("--tables", type=int, default=8, help="tables of each size, of which the medians are shown [8]")
    parser.add_argument("--draws", type=int, default=16, help="other draws [16]")
    parser.add_argument("--seed", type=int, default=0, help="of the first table")
    parser.add_argument("--data", help="a Parquet file whose rows are drawn instead")
    parser.add_argument("-k", type=int, default=4, help="segments, with --data [4]")
    parser.add_argument("--fit-options", default="", help="options of every fit, such as '--features a,b'")
    parser.add_argument("--tol", default="0", help="of every fit [0: it ends where it would stay]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kohort", default=str(ROOT / "target/release/kohort"), help="the program")
    parser.add_argument("--json", help="write the figures to this file")
    return parser.parse_args()


def main():
    in_environment()
    args = arguments()
    results = []
    for n in args.sizes:
        for number in range(args.tables):
            seed = args.seed + number
            case = {"n": n, "seed": seed, "d": 4 + 2 * (seed % 4), "k": args.k if args.data else 3 + seed % 4}
            with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
                results.append({**case, **measure(args, case, folder)})
            say(f"{n:,} rows, table {number + 1} of {args.tables} done")
    show(results)
    if args.json:
        settings = {key: value for key, value in vars(args).items() if key != "json"}
        Path(args.json).write_text(json.dumps({"settings": settings, "cases": results}, indent=1))


if __name__ == "__main__":
    main()
