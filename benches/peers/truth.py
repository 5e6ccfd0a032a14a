#!/usr/bin/env python3
"""Segments of kohort and of others against planted groups. See README.md."""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from peers import ROOT, environment, in_environment, kohort, say, versions, write_table

MOST_SILHOUETTE = 10
# From this skewness on a careful user takes logarithms.
SKEWED = 1.0
# Adjusted Rand indices that are closer than this are a tie.
TIE = 0.01
LEVELS = ["easy", "middle", "hard", "generated"]


# Tables


def generated(args, number, path):
    """What `kohort generate` makes: overlapping groups of very unequal size."""
    k, d = 3 + number % 5, [6, 8, 12][number % 3]
    shape = ["--rows", "2000", "--features", str(d), "--clusters", str(k), "--seed", str(100 * args.seed + number)]
    faults = ["--missing", str([0.0, 0.05][number % 2]), "--outliers", str([0.0, 0.01, 0.03][number // 2 % 3])]
    kohort(args, "generate", *shape, *faults, "--categorical", str(number % 4 % 3), "--out", str(path), "--overwrite")
    return {"name": f"generated {number}", "level": "generated", "k": k, "ceiling": None, "traits": []}


def tables(args, folder):
    """What is known of each table, and its file."""
    from planted import planted

    for number in args.tables or [*range(args.planted), *range(1000, 1000 + args.crowds)]:
        table = planted(number, args.seed)
        path = Path(folder) / f"planted-{number}.parquet"
        write_table(path, {**table.columns, "truth": table.truth})
        yield vars(table) | {"columns": None, "truth": None}, path
    for number in range(0 if args.tables else args.generated):
        path = Path(folder) / f"generated-{number}.parquet"
        yield generated(args, number, path), path


def read(path):
    """Numbers (dates as days, gaps as NaN) by row, and texts and flags by row, without ids: their user knows them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path).drop_columns(["truth", "account_id"])
    numbers, texts = [], []
    for name, column in zip(table.column_names, table.columns):
        if name == "contract":
            continue
        if pa.types.is_string(column.type) or pa.types.is_boolean(column.type):
            texts.append(np.array(column.cast(pa.string()).to_pylist(), dtype=object))
        else:
            days = column.cast(pa.int32()) if pa.types.is_date(column.type) else column
            numbers.append(days.cast(pa.float64()).to_numpy())
    n = table.num_rows
    return np.column_stack(numbers), np.column_stack(texts) if texts else np.zeros((n, 0), dtype=object)


# Contestants: labels of a table, for k or for a k of their own


def with_kohort(options):
    def fit(args, path, k, folder):
        import pyarrow.parquet as pq

        out = Path(folder) / "run"
        which = ["-k", str(k or "auto"), "--id", "account_id", "--exclude", "truth", "--out", str(out), "--overwrite"]
        record, seconds, _ = kohort(args, "fit", str(path), *which, *options)
        labels = pq.read_table(out / "assignments.parquet", columns=["segment"])["segment"].to_numpy()
        if k is not None:
            return labels, seconds, {}
        sweep = record["selection"]["sweep"]
        return labels, seconds, {"strength": sweep["decision"]["strength"], "candidates": sweep["candidates"]}

    return fit


def prepared(path, logarithms):
    """The usual pipeline: medians for gaps, z-scores, one-hot; with or without logarithms of skewed columns."""
    import numpy as np
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    numbers, texts = read(path)
    x = SimpleImputer(strategy="median").fit_transform(numbers)
    if logarithms:
        z = (x - x.mean(axis=0)) / x.std(axis=0).clip(1e-300)
        skewed = ((z**3).mean(axis=0) > SKEWED) & (x.min(axis=0) >= 0)
        x[:, skewed] = FunctionTransformer(np.log1p).fit_transform(x[:, skewed])
    x = StandardScaler().fit_transform(x)
    if texts.shape[1]:
        filled = SimpleImputer(strategy="most_frequent", missing_values=None).fit_transform(texts)
        x = np.hstack([x, OneHotEncoder(sparse_output=False, drop="if_binary").fit_transform(filled)])
    return x


def with_sklearn(logarithms):
    def fit(args, path, k, folder):
        from sklearn.cluster import KMeans
        from sklearn.metrics import silhouette_score

        started = time.perf_counter()
        x = prepared(path, logarithms)
        best = None
        for n_clusters in [k] if k else range(2, MOST_SILHOUETTE + 1):
            labels = KMeans(n_clusters, n_init=10, random_state=0).fit(x).labels_
            score = 0.0 if k else silhouette_score(x, labels)
            if best is None or score > best[0]:
                best = score, labels
        return best[1], time.perf_counter() - started, {}

    return fit


def with_twostep(noise):
    def fit(args, path, k, folder):
        import numpy as np
        from sklearn.impute import SimpleImputer
        from sklearn.preprocessing import StandardScaler
        from twostep import twostep

        started = time.perf_counter()
        numbers, texts = read(path)
        x = StandardScaler().fit_transform(SimpleImputer(strategy="median").fit_transform(numbers))
        # A gap is a level of its own.
        codes = [np.unique(column.astype(str), return_inverse=True)[1] for column in texts.T]
        labels = twostep(x, codes, k, noise)
        return labels, time.perf_counter() - started, {}

    return fit


CONTESTANTS = {
    "kohort": with_kohort([]),
    "sklearn": with_sklearn(logarithms=False),
    "sklearn-log": with_sklearn(logarithms=True),
    "twostep": with_twostep(noise=False),
    "twostep-noise": with_twostep(noise=True),
}


# Scores


def judge(args, contestants, case, path, folder):
    """Adjusted Rand index, number of clusters and seconds of each contestant, k given and not."""
    import numpy as np
    import pyarrow.parquet as pq
    from sklearn.metrics import adjusted_rand_score

    truth = pq.read_table(path, columns=["truth"])["truth"].to_numpy()
    there = truth >= 0
    case["n"] = len(truth)
    for mode, k in [("given", case["k"]), ("auto", None)]:
        case[mode] = {}
        if k == 1 or mode not in args.modes:
            continue
        for name, fit in contestants.items():
            labels, seconds, more = fit(args, path, k, folder)
            found = {"k": len(np.unique(labels)), "seconds": seconds, **more}
            if case["k"] > 1:
                found["rand"] = adjusted_rand_score(truth[there], labels[there])
            case[mode][name] = found
    return case


def show_case(case):
    def figures(mode):
        return "  ".join(
            f"{name} {found.get('rand', float('nan')):.2f}" + (f" ({found['k']})" if mode == "auto" else "")
            for name, found in case[mode].items()
        )

    ceiling = "" if case["ceiling"] is None else f"ceiling {case['ceiling']:.2f}, "
    say(f"{case['name']}, k = {case['k']}, {ceiling}{', '.join(case['traits'])}\n   given: {figures('given')}\n"
        f"   auto:  {figures('auto')}")  # fmt: skip


def show_rand(cases, mode, contestants):
    cases = [case for case in cases if case["k"] > 1 and case[mode]]
    if not cases:
        return
    what = {"given": "k given", "auto": "k found"}[mode]
    print(f"\nAdjusted Rand index with the groups, {what}, {len(cases)} tables")
    levels = [level for level in LEVELS if any(case["level"] == level for case in cases)]
    head = ["mean", "median", "worst", *levels, "seconds", "kohort wins, ties, loses"]
    print(f"{'':<16}" + "".join(f"{text:>{max(8, len(text) + 2)}}" for text in head))
    for name in contestants:
        rands = [case[mode][name]["rand"] for case in cases]
        means = [statistics.mean(case[mode][name]["rand"] for case in cases if case["level"] == level) for level in levels]
        seconds = statistics.median(case[mode][name]["seconds"] for case in cases)
        figures = [statistics.mean(rands), statistics.median(rands), min(rands), *means]
        line = f"{name:<16}" + "".join(f"{x:>{max(8, len(t) + 2)}.3f}" for x, t in zip(figures, head)) + f"{seconds:>9.2f}"
        print(line + against(cases, mode, name))
    ceilings = [case["ceiling"] for case in cases if case["ceiling"] is not None]
    if ceilings:
        means = "".join(
            f"{statistics.mean(found):>{max(8, len(level) + 2)}.3f}"
            for level in levels
            if (found := [case["ceiling"] for case in cases if case["level"] == level and case["ceiling"]])
        )
        print(f"{'by Bayes':<16}{'':24}{means}")


def against(cases, mode, name):
    if name == "kohort" or "kohort" not in cases[0][mode]:
        return ""
    differences = [case[mode]["kohort"]["rand"] - case[mode][name]["rand"] for case in cases]
    wins, losses = sum(d > TIE for d in differences), sum(d < -TIE for d in differences)
    return f"{wins:>8}, {len(cases) - wins - losses}, {losses}"


def show_number(cases, contestants):
    tables = [case for case in cases if case["k"] > 1 and case["auto"]]
    crowds = [case for case in cases if case["k"] == 1 and case["auto"]]
    if tables:
        print(f"\nNumber of groups found, {len(tables)} tables")
        levels = [level for level in LEVELS if any(case["level"] == level for case in tables)]
        print(f"{'':<16}{'right':>8}{'within 1':>10}{'too few':>9}{'too many':>10}   right: " + ", ".join(levels))
        for name in contestants:
            off = [case["auto"][name]["k"] - case["k"] for case in tables]
            right = ", ".join(
                f"{sum(case['auto'][name]['k'] == case['k'] for case in some)} of {len(some)}"
                for level in levels
                if (some := [case for case in tables if case["level"] == level])
            )
            counts = [sum(x == 0 for x in off), sum(abs(x) <= 1 for x in off), sum(x < 0 for x in off), sum(x > 0 for x in off)]
            print(f"{name:<16}{counts[0]:>8}{counts[1]:>10}{counts[2]:>9}{counts[3]:>10}   {right}")
    if crowds:
        print(f"\n{len(crowds)} tables without groups: number taken (what was said of it)")
        for name in contestants:
            said = [case["auto"][name] for case in crowds]
            print(f"{name:<16} " + ", ".join(f"{x['k']}" + (f" ({x['strength']})" if x.get("strength") else "") for x in said))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planted", type=int, default=38, help="tables with planted groups [38]")
    parser.add_argument("--generated", type=int, default=12, help="tables of `kohort generate` [12]")
    parser.add_argument("--crowds", type=int, default=6, help="tables without groups [6]")
    parser.add_argument("--tables", type=int, nargs="+", help="these numbers of the planted tables alone")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another set of tables")
    parser.add_argument("--contestants", help="of " + ",".join(CONTESTANTS))
    parser.add_argument("--variant", nargs="+", default=[], metavar="NAME=OPTIONS", help="kohort with other options")
    parser.add_argument("--modes", nargs="+", choices=["given", "auto"], default=["given", "auto"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kohort", default=str(ROOT / "target/release/kohort"), help="the program")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    names = args.contestants.split(",") if args.contestants else list(CONTESTANTS)
    if unknown := [name for name in names if name not in CONTESTANTS]:
        parser.error(f"no such contestant: {unknown[0]}")
    if not Path(args.kohort).exists():
        parser.error(f"{args.kohort} is not there: cargo build --release")
    contestants = {name: CONTESTANTS[name] for name in names}
    for variant in args.variant:
        name, _, options = variant.partition("=")
        contestants[name] = with_kohort(options.split())
    return args, contestants


def write_json(args, cases):
    """All figures so far: a run that is stopped has told something."""
    if args.json:
        settings = {key: value for key, value in vars(args).items() if key != "json"}
        Path(args.json).write_text(json.dumps({"versions": list(versions()), "settings": settings, "cases": cases}, indent=1))


def main():
    in_environment()
    args, contestants = arguments()
    # Before anything loads a BLAS: the same number of threads for all.
    import os

    os.environ.update(environment("sklearn", args.threads))
    print(", ".join(versions()))
    cases = []
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        for case, path in tables(args, folder):
            cases.append(judge(args, contestants, case, path, folder))
            show_case(cases[-1])
            write_json(args, cases)
    for mode in args.modes:
        show_rand(cases, mode, contestants)
    show_number(cases, contestants)


if __name__ == "__main__":
    main()
