#!/usr/bin/env python3
"""Parquet to numbers: kohort's prepared rows against polars, pyarrow and DuckDB to a NumPy matrix. See README.md."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import peers

N_MIXED = 3_000_000
TABLES = ["C", "mixed"]
READERS = ["polars", "pyarrow", "duckdb"]


# Data


def write_mixed(path, n, seed):
    """Few texts, gaps everywhere: 6 columns of texts, 6 of whole numbers, 4 of floats, as a warehouse exports them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    draw = np.random.default_rng(seed)
    columns = {}
    for j, levels in enumerate((2, 4, 6, 9, 14, 20)):
        names = np.array([f"level {i} of {levels}" for i in range(levels)])
        share = 1 / np.arange(1, levels + 1)
        texts = pa.array(draw.choice(levels, n, p=share / share.sum()), pa.int32())
        gaps = pa.array(draw.random(n) < 0.05)
        texts = pc.if_else(gaps, None, texts)
        columns[f"text{j}"] = pa.DictionaryArray.from_arrays(texts, pa.array(names)).cast(pa.string())
    for j, high in enumerate((10, 100, 1000, 20_000, 1_000_000, 1 << 40)):
        columns[f"whole{j}"] = pa.array(draw.integers(0, high, n), mask=draw.random(n) < 0.1)
    for j in range(4):
        columns[f"float{j}"] = pa.array(draw.lognormal(2, 1, n).round(2), mask=draw.random(n) < 0.2)
    pq.write_table(pa.table(columns), path, row_group_size=1 << 17, compression="zstd")


def case(args, name):
    peers.CACHE.mkdir(parents=True, exist_ok=True)
    if name == "mixed":
        path = peers.CACHE / f"mixed-{args.seed}.parquet"
        if not path.exists():
            peers.say(f"generating {path}")
            write_mixed(path, N_MIXED, args.seed)
        return {"name": name, "data": str(path), "features": "*"}
    args.shapes, args.data = name, None
    return {"name": name, "data": str(peers.cases(args)[0]["data"]), "features": "f[0-9]*"}


# The readers: each gives a float32 matrix, rows x columns, row-major unless `order` says otherwise; texts as the numbers
# of their levels, NaN where no value is


def with_polars(path, names, job):
    import polars as pl
    import polars.selectors as cs

    def read():
        table = pl.read_parquet(path, columns=names)
        numbers = cs.string().cast(pl.Categorical).to_physical().cast(pl.Float32)
        order = {"C": "c", "F": "fortran"}[job["order"]]
        return table.select(numbers, (~cs.string()).cast(pl.Float32)).to_numpy(order=order)

    return read


def with_pyarrow(path, names, job):
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    texts = [name for name in names if pa.types.is_string(schema.field(name).type)]

    def read():
        table = pq.read_table(path, columns=names, read_dictionary=texts).unify_dictionaries()
        x = np.empty((table.num_rows, len(names)), dtype=np.float32, order=job["order"])
        for j, column in enumerate(table.columns):
            first = 0
            for chunk in column.chunks:
                values = chunk.indices if pa.types.is_dictionary(chunk.type) else chunk
                values = pc.cast(values, pa.float32(), safe=False)
                x[first : first + len(chunk), j] = values.to_numpy(zero_copy_only=False)
                first += len(chunk)
        return x

    return read


def with_duckdb(path, names, job):
    import duckdb
    import numpy as np

    connection = duckdb.connect(config={"threads": job["threads"]})
    rows = f"from '{path}'"
    kinds = {name: kind for name, kind, *_ in connection.sql(f"describe select * {rows}").fetchall()}
    texts = [name for name in names if kinds[name] == "VARCHAR"]
    number = "enum_code({0}::levels_{0}) as {0}"
    column = {name: number.format(name) if name in texts else f"{name}::float as {name}" for name in names}

    def read():
        for name in texts:
            connection.sql(f"drop type if exists levels_{name}")
            levels = f"select distinct {name} {rows} where {name} is not null"
            connection.sql(f"create type levels_{name} as enum ({levels})")
        found = connection.sql(f"select {', '.join(column.values())} {rows}").fetchnumpy()
        x = np.empty((len(found[names[0]]), len(names)), dtype=np.float32, order=job["order"])
        for j, name in enumerate(names):
            values = found[name]
            x[:, j] = values
            if isinstance(values, np.ma.MaskedArray):
                x[values.mask, j] = np.nan
        return x

    return read


MAKERS = {"polars": with_polars, "pyarrow": with_pyarrow, "duckdb": with_duckdb}


# One process of one reader


def worker(job):
    """Imports and one small read are off the clock; the first read of the file is on it."""
    import numpy as np

    names = peers.feature_columns(job["data"], job["features"])
    read = MAKERS[job["reader"]](job["data"], names, job)
    seconds = []
    for _ in range(job["reads"]):
        started = time.perf_counter()
        x = read()
        seconds.append(time.perf_counter() - started)
        missing = [int(np.isnan(x[:, j]).sum()) for j in range(x.shape[1])]
        shape = x.shape
        del x
    print(json.dumps({"seconds": min(seconds), "missing": missing, "shape": shape}))


def run_reader(reader, job, threads):
    job = {**job, "reader": reader, "threads": threads}
    env = {**peers.environment(reader, threads), "POLARS_MAX_THREADS": str(threads), "ARROW_IO_THREADS": str(threads)}
    command = [sys.executable, __file__, "--worker", json.dumps(job)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{reader} failed: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def run_kohort(args, job, scale):
    """Seconds of `ingest` (files to prepared rows, everything learned on the way) and of `decode` (batches, thrown away).

    Without a scale the prepared rows are the numbers themselves, as the readers give them; with one, means, deviations and
    logarithms are on the clock as well.
    """
    command = ["bench", job["data"], "--features", job["features"], "-k", "2", "--iters", "1", "--no-ceilings",
               "--device", "cpu", "--threads", str(args.threads), "--rounds", str(args.reads), "--scale", scale]  # fmt: skip
    report, _, _ = peers.kohort(args, *command)
    found = report["cases"][0]
    stages = {stage["stage"]: stage for stage in found["stages"]}
    best = {name: min(s["cold_s"], (s["warm"] or {}).get("min_s", s["cold_s"])) for name, s in stages.items()}
    return best, found


def compare(args, job):
    import pyarrow.parquet as pq

    names = peers.feature_columns(job["data"], job["features"])
    table = pq.ParquetFile(job["data"])
    gigabytes = table.metadata.num_rows * len(names) * 4 / 1e9
    job = {**job, "reads": args.reads, "order": args.order}
    seconds, missing = {}, None
    for turn in range(args.rounds):
        ours, found = run_kohort(args, job, "none")
        seconds.setdefault("ingest", []).append(ours["ingest"])
        scaled, _ = run_kohort(args, job, "zscore")
        seconds.setdefault("ingest, scaled", []).append(scaled["ingest"])
        seconds.setdefault("decode", []).append(min(ours["decode"], scaled["decode"]))
        for reader in args.readers:
            theirs = run_reader(reader, job, args.threads)
            seconds.setdefault(reader, []).append(theirs["seconds"])
            # Programs that do not read the same are not compared.
            if theirs["missing"] != (missing := missing or theirs["missing"]):
                sys.exit(f"{reader} finds other gaps than {args.readers[0]}")
        peers.say(f"  round {turn + 1} of {args.rounds} done")
    rows = []
    for name, all_seconds in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(all_seconds, seconds["ingest"])]
        rows.append({"name": name, "seconds": all_seconds, "ratio": statistics.median(ratios)})
    return {"name": job["name"], "n_rows": table.metadata.num_rows, "n_columns": len(names),
            "n_features": found["n_features"], "gigabytes": gigabytes, "rows": rows}  # fmt: skip


def show(found, args):
    print(f"\n{found['name']}: {found['n_rows']:,} rows, {found['n_columns']} columns, {found['n_features']} features, "
          f"{args.threads} threads")  # fmt: skip
    print(f"{'':<24}{'min s':>9}{'median s':>10}{'GB/s':>8}{'ratio':>8}")
    for row in found["rows"]:
        name = row["name"] if row["name"] in READERS else f"kohort {row['name']}"
        median = statistics.median(row["seconds"])
        print(f"{name:<24}{min(row['seconds']):9.3f}{median:10.3f}{found['gigabytes'] / median:8.2f}{row['ratio']:8.2f}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", default=",".join(TABLES), help="of A,B,C,D,E,F,mixed [C,mixed]")
    parser.add_argument("--readers", default=",".join(READERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reads", type=int, default=2, help="reads per process, the best counts")
    parser.add_argument("--order", choices=["C", "F"], default="C", help="of the readers' matrix: by rows or by columns [C]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kohort", default=str(peers.ROOT / "target/release/kohort"), help="the program")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.readers = args.readers.split(",")
    return args


def main():
    peers.in_environment()
    args = arguments()
    if args.worker:
        worker(json.loads(args.worker))
        return
    if not Path(args.kohort).exists():
        sys.exit(f"{args.kohort} is not there: cargo build --release")
    from importlib.metadata import version

    print(", ".join(f"{package} {version(package)}" for package in ("numpy", *args.readers)))
    results = []
    for name in args.tables.split(","):
        found = compare(args, case(args, name))
        show(found, args)
        results.append(found)
    if args.json:
        settings = {key: value for key, value in vars(args).items() if key not in ("worker", "json", "shapes", "data")}
        Path(args.json).write_text(json.dumps({"settings": settings, "tables": results}, indent=1))


if __name__ == "__main__":
    main()
