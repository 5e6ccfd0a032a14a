#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: fuzz/make_seeds.py KOHORT, with pyarrow at hand.

Small files of every format, encoding and codec that kohort reads, and what it writes itself. Finds, whose names begin
with `find-`, are left as they are.
"""

import datetime
import decimal
import pathlib
import random
import subprocess
import sys
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq

SEEDS = pathlib.Path(__file__).parent / "seeds"
ROWS = 60


def table():
    draw = random.Random(1)
    group = [i % 3 for i in range(ROWS)]

    def some(values):
        return [None if draw.random() < 0.1 else value for value in values]

    amounts = [round(draw.gauss(100 * g, 3), 2) for g in group]
    start = datetime.date(2024, 1, 1)
    return pa.table(
        {
            "id": pa.array([f"c{i:04}" for i in range(ROWS)]),
            "amount": pa.array(some(amounts)),
            "price": pa.array(some([decimal.Decimal(str(a)) for a in amounts]), pa.decimal128(12, 3)),
            "plan": pa.array(some([["basic", "pro", "max"][g] for g in group])),
            "active": pa.array(some([g > 0 for g in group])),
            "since": pa.array(some([start + datetime.timedelta(days=100 * g + i) for i, g in enumerate(group)])),
            "visits": pa.array([7 * g + draw.randrange(3) for g in group], pa.uint8()),
            "score": pa.array([a / 8 for a in amounts], pa.float32()),
        }
    )


def write(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    data = data.encode() if isinstance(data, str) else data
    (folder / name).write_bytes(data)


def parquet(rows, **options):
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, **options)
    return sink.getvalue().to_pybytes()


def arrow(rows, is_file, codec=None):
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    new = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with new(sink, rows.schema, options=options) as writer:
        writer.write_table(rows, max_chunksize=25)
    return sink.getvalue().to_pybytes()


def csv(rows, delimiter=","):
    def cell(value):
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if delimiter in text or '"' in text else text

    lines = [delimiter.join(rows.column_names)]
    lines += [delimiter.join(cell(value) for value in row.values()) for row in rows.to_pylist()]
    return "\n".join(lines) + "\n"


def data_files():
    rows = table()
    words = rows.set_column(3, "plan", rows["plan"].dictionary_encode())
    files = {
        "plain.parquet": parquet(rows, use_dictionary=False, compression="none", store_schema=False),
        "dictionary.parquet": parquet(rows, compression="none", row_group_size=25, store_schema=False),
        "v2.parquet": parquet(rows, compression="snappy", data_page_version="2.0", data_page_size=200),
        "delta.parquet": parquet(
            rows,
            compression="zstd",
            use_dictionary=False,
            column_encoding={
                "id": "DELTA_BYTE_ARRAY",
                "plan": "DELTA_LENGTH_BYTE_ARRAY",
                "since": "DELTA_BINARY_PACKED",
                "visits": "DELTA_BINARY_PACKED",
                "score": "BYTE_STREAM_SPLIT",
                "amount": "BYTE_STREAM_SPLIT",
                "price": "PLAIN",
                "active": "RLE",
            },
        ),
        "words.parquet": parquet(words, compression="gzip"),
        "decimals.parquet": parquet(rows.select(["price", "amount"]), compression="none", store_schema=False),
        "file.arrow": arrow(words, True),
        "stream.arrow": arrow(words, False),
        "packed.arrow": arrow(words, True, "lz4"),
        "rows.csv": csv(rows.slice(0, 20)),
    }
    for name, data in files.items():
        write("input", name, data)
    quoted = 'id,"a ""b""",amount\n1,"x\n,y",2.5\n2,,-1e9\r\n3,"",\n'
    for name, data in {
        "comma": "\0" + csv(rows.slice(0, 15)),
        "semicolon": "\1" + csv(rows.slice(0, 15), ";"),
        "tab": "\2" + csv(rows.slice(0, 15), "\t"),
        "typed": "\4" + "id,amount\n1,2\n2,x\n",
        "quoted": "\0" + quoted,
        "mark": "\0\ufeff" + quoted,
        "times": "\0t,d,z\n12:30:00,2024-05-06,2024-05-06T07:08:09.5Z\n,,\n23:59,1970-01-01,2024-01-01 00:00:00+02:00\n",
    }.items():
        write("csv", name, data)
    return rows


def filters():
    for number, text in enumerate(
        [
            "amount >= 3 and plan in ('basic', 'pro') and since is null",
            "not (amount between 1 and 2.5e0) or active = true",
            "plan = 'it''s' or plan <> 'x'",
            "since < '2022-02-03' and id not in (1, 2, 3)",
            '"in; ""odd""" is not null',
            "((amount > -1))",
            "active",
        ]
    ):
        write("filter", f"{number}", text)


def configs():
    write("config", "plain", 'k = 4\nfeatures = ["a", "b*"]\nscale = "robust"\n')
    write("config", "sections", 'id = "customer"\n\n[fit]\nk = "3..9"\nout = "o"\n\n[score]\nmodel = "m.json"\n')
    write("config", "columns", '[columns]\nexclude = ["x"]\nmissing = ["a=mean"]\nlog = "auto"\n')
    write("config", "odd", "'k' = 0x1F # hex\nseed = 1_000\ntol = 1e-4\noverwrite = true\nid = '''a\nb'''\n")


def own_files(kohort, rows):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def run(*arguments):
            subprocess.run([kohort, *arguments], check=True, capture_output=True, cwd=folder)

        more = pa.concat_tables([rows] * 2)
        pq.write_table(more.select(["amount", "visits"]), folder / "numbers.parquet")
        pq.write_table(more.select(["amount", "plan", "since", "active"]), folder / "mixed.parquet")
        run("fit", "numbers.parquet", "-k", "2", "--device", "cpu", "--out", "numbers")
        run("fit", "mixed.parquet", "-k", "3", "--device", "cpu", "--scale", "rank", "--out", "mixed")
        run("sweep", "numbers.parquet", "-k", "2..3", "--device", "cpu", "--out", "sweep")
        for name in ["numbers", "mixed"]:
            write("model", f"{name}.json", (folder / name / "model.json").read_bytes())
        files = ["run.json", "profile.json", "model.json"]
        write("run_files", "numbers", b"\0".join((folder / "numbers" / file).read_bytes() for file in files))
        write("run_files", "run", (folder / "mixed" / "run.json").read_bytes())
        write("run_files", "sweep", (folder / "sweep" / "sweep.json").read_bytes())


if __name__ == "__main__":
    own_files(str(pathlib.Path(sys.argv[1]).resolve()), data_files())
    filters()
    configs()
