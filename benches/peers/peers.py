#!/usr/bin/env python3
"""kohort against other k-means programs: the same rows, the same first centroids, in turns. See README.md."""

import argparse
import fnmatch
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / "target" / "peers-venv"
CACHE = ROOT / "target" / "peers-data"
SHAPES = {
    "A": (1_000_000, 8, 8),
    "B": (1_000_000, 16, 64),
    "C": (5_000_000, 16, 16),
    "D": (1_000_000, 64, 256),
    "E": (200_000, 128, 1024),
    "F": (10_000_000, 32, 100),
}
# The kernels that OpenBLAS takes on a processor that it does not know are often not its best ones.
BLAS = "OPENBLAS_CORETYPE=SkylakeX"
CPU_PEERS = ["sklearn", "sklearn-skylakex", "intelex", "faiss", "superkmeans"]
GPU_PEERS = [f"{peer}{dtype}" for peer in ("flashlib", "flash-kmeans") for dtype in ("", ":float16", ":bfloat16")]
USE_PEERS = ["sklearn", "sklearn-skylakex", "intelex"]


def say(text):
    print(text, file=sys.stderr, flush=True)


# Setting up


def has_gpu():
    return shutil.which("nvidia-smi") is not None


def in_environment():
    """Goes on in an environment of its own, made on the first run. What cannot be installed is left out."""
    if Path(sys.prefix).resolve() == VENV.resolve():
        return
    files = ["requirements.txt"] + ["requirements-gpu.txt"] * has_gpu()
    lines = [line.strip() for name in files for line in (Path(__file__).parent / name).read_text().splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    mark = VENV / "installed.json"
    if not mark.exists() or json.loads(mark.read_text()) != wanted:
        say(f"making {VENV}")
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        for package in wanted:
            if subprocess.run([VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check", package]).returncode:
                say(f"{package} cannot be installed here: left out")
        mark.write_text(json.dumps(wanted))
    os.execv(VENV / "bin/python", [str(VENV / "bin/python"), *sys.argv])


def environment(peer, threads):
    """The variables of a peer's process: the same number of threads for all, no BLAS setting that it did not ask for."""
    env = {key: value for key, value in os.environ.items() if key not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
        env[key] = str(threads)
    if peer == "sklearn-skylakex":
        key, value = BLAS.split("=")
        env[key] = value
    return env


def memory(field):
    """Bytes that this process holds (`VmRSS`) or held at the most (`VmHWM`)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


# Data


def feature_columns(path, pattern):
    import pyarrow.parquet as pq

    return [name for name in pq.read_schema(path).names if fnmatch.fnmatchcase(name, pattern)]


def read_matrix(path, pattern):
    """All rows of the features, float32, row-major: what every peer wants."""
    import numpy as np
    import pyarrow.parquet as pq

    columns = feature_columns(path, pattern)
    file = pq.ParquetFile(path)
    x = np.empty((file.metadata.num_rows, len(columns)), dtype=np.float32)
    first = 0
    for batch in file.iter_batches(1 << 20, columns=columns):
        for j, column in enumerate(batch.columns):
            x[first : first + batch.num_rows, j] = column.to_numpy(zero_copy_only=False)
        first += batch.num_rows
    return x


def write_table(path, columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)


def choose_start(x, k, seed, path, names):
    """k distinct rows of the data, the same for everyone."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(x))[: 8 * k + 1000]
    _, first = np.unique(x[order], axis=0, return_index=True)
    rows = order[np.sort(first)[:k]]
    if len(rows) < k:
        sys.exit(f"fewer than {k} distinct rows among {len(order)}")
    write_table(path, {name: x[rows, j] for j, name in enumerate(names)})


def inertia_of(x, labels, centroids):
    """Sum of squared distances to the centroids of the labels, in float64."""
    import numpy as np

    centroids, total = np.asarray(centroids, dtype=np.float64), 0.0
    for first in range(0, len(x), 1 << 18):
        part = slice(first, first + (1 << 18))
        total += float(((x[part].astype(np.float64) - centroids[labels[part]]) ** 2).sum())
    return total


def means_of(x, labels, k):
    import numpy as np

    counts = np.bincount(labels, minlength=k).clip(1)
    return np.stack([np.bincount(labels, weights=column, minlength=k) for column in x.T], axis=1) / counts[:, None]


# The peers: each gives a function that fits once and returns labels and centroids


def with_sklearn(job):
    from sklearn.cluster import KMeans

    return fit_like_sklearn(KMeans, job)


def with_intelex(job):
    import daal4py
    from sklearnex.cluster import KMeans

    daal4py.daalinit(job["threads"])
    return fit_like_sklearn(KMeans, job)


def fit_like_sklearn(KMeans, job):
    def fit(x, start, k, iters):
        model = KMeans(k, init=start, n_init=1, max_iter=iters, tol=0).fit(x)
        return model.labels_, model.cluster_centers_

    def use(x, k):
        return KMeans(k, random_state=0).fit(x).labels_

    return fit, use


def with_faiss(job):
    import faiss

    faiss.omp_set_num_threads(job["threads"])

    def fit(x, start, k, iters):
        model = faiss.Kmeans(x.shape[1], k, niter=iters, min_points_per_centroid=1, max_points_per_centroid=2**31 - 1)
        model.train(x, init_centroids=start)
        return model.assign(x)[1], model.centroids

    return fit, None


def with_superkmeans(job):
    """It takes no first centroids, so its inertia is that of a start of its own."""
    from superkmeans import SuperKMeans

    def fit(x, start, k, iters):
        model = SuperKMeans(
            k, x.shape[1], hierarchical=False, iters=iters, sampling_fraction=1.0, max_points_per_cluster=2**31 - 1,
            n_threads=job["threads"], early_termination=False, tol=0.0,
        )  # fmt: skip
        centroids = model.train(x)
        return model.assign(x, centroids), centroids

    return fit, None


def with_flash(job):
    """FlashLib and flash-kmeans: Triton kernels on an NVIDIA GPU, the data there already, labels fetched off the clock."""
    import torch

    name, _, dtype = job["peer"].partition(":")
    dtype = getattr(torch, dtype or "float32")
    if name == "flashlib":
        from flashlib.primitives.kmeans import batch_kmeans_Euclid, euclid_assign_triton

        def assign(x, centroids):
            return euclid_assign_triton(x, centroids)
    else:
        from flash_kmeans import batch_kmeans_Euclid
        from flash_kmeans.assign_euclid_triton import euclid_assign_triton

        def assign(x, centroids):
            return euclid_assign_triton(x, centroids, (x * x).sum(dim=-1))

    def fit(x, start, k, iters):
        # The loop writes into the centroids it is given.
        _, centroids, _ = batch_kmeans_Euclid(x, k, max_iters=iters, tol=0.0, init_centroids=start.clone())
        labels = assign(x, centroids)
        torch.cuda.synchronize()
        return labels[0], centroids[0]

    def to_device(array):
        return torch.from_numpy(array).to("cuda", dtype=dtype).unsqueeze(0).contiguous()

    fit.to_device = to_device
    return fit, None


PEERS = {
    "sklearn": with_sklearn,
    "sklearn-skylakex": with_sklearn,
    "intelex": with_intelex,
    "faiss": with_faiss,
    "superkmeans": with_superkmeans,
    **dict.fromkeys(GPU_PEERS, with_flash),
}


# One process of one peer


def worker(job):
    import numpy as np

    fit, use = PEERS[job["peer"]](job)
    if job["use"]:
        started = time.perf_counter()
        x = read_matrix(job["data"], job["features"])
        labels = use(x, job["k"])
        write_table(job["labels"] + ".parquet", {"segment": labels})
        seconds = [time.perf_counter() - started]
        np.savez(job["labels"], labels=labels)
        print(json.dumps({"seconds": seconds, "memory": memory("VmHWM")}))
        return
    x, start = read_matrix(job["data"], job["features"]), read_matrix(job["start"], "*")
    gpu = hasattr(fit, "to_device")
    if gpu:
        x, start = fit.to_device(x), fit.to_device(start)
        fit(x, start, job["k"], job["iters"])
    else:
        fit(x[: max(4 * job["k"], 4096)], start, job["k"], 1)  # threads and libraries are up
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    seconds = []
    for _ in range(job["fits"]):
        started = time.perf_counter()
        labels, centroids = fit(x, start, job["k"], job["iters"])
        seconds.append(time.perf_counter() - started)
    added = None if gpu else memory("VmHWM") - before
    if gpu:
        labels, centroids = labels.cpu().numpy(), centroids.float().cpu().numpy()
    np.savez(job["labels"], labels=np.asarray(labels).ravel().astype(np.int64), centroids=centroids)
    print(json.dumps({"seconds": seconds, "memory": added}))


def run_peer(peer, job, threads):
    """What a worker measured, or why it did not."""
    job = {**job, "peer": peer, "threads": threads}
    command = [sys.executable, __file__, "--worker", json.dumps(job)]
    done = subprocess.run(command, env=environment(peer, threads), capture_output=True, text=True)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["no message"])[-1]
    return json.loads(done.stdout.splitlines()[-1]), None


# kohort


def kohort(args, *command):
    """Runs kohort: what it says with --json, seconds, and the most memory that it held."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        env = environment("kohort", args.threads)
        process = subprocess.Popen([args.kohort, *command, "--json", "--quiet"], stdout=out, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        out.seek(0)
        text = out.read().decode()
    if status:
        sys.exit(f"kohort {' '.join(command)} failed: {text}")
    return json.loads(text), seconds, usage.ru_maxrss * 1024


def common(args, case):
    return [str(case["data"]), "--features", args.features, "-k", str(case["k"]), "--scale", "none",
            "--threads", str(args.threads), "--device", args.device]  # fmt: skip


def kohort_round(args, case):
    """Seconds of one fit: opening (on the CPU), the iterations and the final labels; the best of `--fits`."""
    options = ["--init", str(case["start"]), "--iters", str(args.iters), "--tol", "0", "--no-ceilings"]
    rounds = args.fits + (args.device != "cpu")  # the first one on a GPU warms up
    report, _, _ = kohort(args, "bench", *common(args, case), *options, "--rounds", str(rounds))
    device = report["cases"][0]["devices"][0]
    stages = {stage["stage"]: stage for stage in device["stages"]}
    best = {name: min(s["cold_s"], (s["warm"] or {}).get("min_s", s["cold_s"])) for name, s in stages.items()}
    seconds = best["iterations+labels"] + (best["open"] if args.device == "cpu" else 0)
    return seconds, device


def kohort_labels(args, case, folder, fit_options):
    """Labels and centroids of a fit, its record, and the seconds and memory of the whole process."""
    import numpy as np
    import pyarrow.parquet as pq

    out = Path(folder) / "run"
    record, seconds, peak = kohort(args, "fit", *common(args, case), *fit_options, "--out", str(out), "--overwrite")
    labels = pq.read_table(out / "assignments.parquet", columns=["segment"])["segment"].to_numpy() - 1
    model = json.loads((out / "model.json").read_text())
    centroids = [segment["centroid_in_original_units"] for segment in model["segments"]]
    return labels.astype(np.int64), centroids, record, seconds, peak


# The two comparisons


def fixed_iterations(args, case, folder):
    """The same start, so many iterations, final labels."""
    import numpy as np

    x = read_matrix(case["data"], args.features)
    case["start"] = Path(folder) / "start.parquet"
    choose_start(x, case["k"], args.seed, case["start"], feature_columns(case["data"], args.features))
    options = ["--init", str(case["start"]), "--max-iter", str(args.iters), "--tol", "0"]
    labels, centroids, record, _, _ = kohort_labels(args, case, folder, options)
    reference = inertia_of(x, labels, centroids)
    rows = {"kohort": new_row("kohort")}
    job = {"data": str(case["data"]), "features": args.features, "start": str(case["start"]), "k": case["k"],
           "iters": args.iters, "fits": args.fits, "labels": f"{folder}/labels.npz", "use": False}  # fmt: skip
    for turn in range(args.rounds):
        ours, device = kohort_round(args, case)
        if device["labels_hash"] != record["labels_hash"]:
            sys.exit("kohort bench and kohort fit give different labels")
        if device["n_iter"] < args.iters:
            rows["kohort"]["note"] = f"converged after {device['n_iter']}"
        note(rows["kohort"], ours, ours, device["peak_memory_added_bytes"], reference, reference)
        for peer in args.peers:
            row = rows.setdefault(peer, new_row(peer))
            if row["failed"]:
                continue
            found, row["failed"] = run_peer(peer, job, args.threads)
            if found:
                result = np.load(job["labels"])
                # Every turn gives the same labels, near enough.
                inertia = row["inertia"] or inertia_of(x, result["labels"], result["centroids"])
                note(row, min(found["seconds"]), ours, found["memory"], inertia, reference)
        say(f"  round {turn + 1} of {args.rounds} done")
    if "superkmeans" in rows:
        rows["superkmeans"]["note"] = "own start"
    return list(rows.values()), x.nbytes


def default_use(args, case, folder):
    """Parquet to labels in Parquet with default options: kohort as a whole process, peers without their imports."""
    import numpy as np

    x = read_matrix(case["data"], args.features)
    rows = {"kohort": new_row("kohort")}
    job = {"data": str(case["data"]), "features": args.features, "k": case["k"], "labels": f"{folder}/labels.npz",
           "use": True}  # fmt: skip
    for turn in range(args.rounds):
        labels, _, _, ours, peak = kohort_labels(args, case, folder, [])
        reference = inertia_of(x, labels, means_of(x, labels, case["k"]))
        note(rows["kohort"], ours, ours, peak, reference, reference)
        for peer in args.peers:
            row = rows.setdefault(peer, new_row(peer))
            if row["failed"]:
                continue
            found, row["failed"] = run_peer(peer, job, args.threads)
            if found:
                labels = np.load(job["labels"])["labels"]
                inertia = row["inertia"] or inertia_of(x, labels, means_of(x, labels, case["k"]))
                note(row, found["seconds"][0], ours, found["memory"], inertia, reference)
        say(f"  round {turn + 1} of {args.rounds} done")
    return list(rows.values()), x.nbytes


def new_row(peer):
    return {"peer": peer, "seconds": [], "ratios": [], "memory": None, "inertia": None, "over": None, "note": "",
            "failed": None}  # fmt: skip


def note(row, seconds, ours, memory_bytes, inertia, reference):
    row["seconds"].append(seconds)
    row["ratios"].append(seconds / ours)
    row["inertia"], row["over"] = inertia, inertia / reference - 1
    row["memory"] = max(memory_bytes or 0, row["memory"] or 0) or None


def show(case, rows, matrix_bytes, args):
    what = "default options, Parquet to Parquet" if args.default_use else f"{args.iters} iterations and labels"
    print(f"\n{case['name']}: {case['n']:,} x {case['d']}, k = {case['k']}, {what}, {args.threads} threads")
    head = ("", "min s", "median s", "ratio", "inertia", "memory")
    print(f"{head[0]:<22}{head[1]:>9}{head[2]:>10}{head[3]:>8}{head[4]:>13}{head[5]:>9}")
    for row in rows:
        if row["failed"]:
            print(f"{row['peer']:<22} left out: {row['failed']}")
            continue
        memory_text = "" if row["memory"] is None else f"{row['memory'] / matrix_bytes:.2f}x"
        print(
            f"{row['peer']:<22}{min(row['seconds']):9.3f}{statistics.median(row['seconds']):10.3f}"
            f"{statistics.median(row['ratios']):8.2f}{row['over']:+13.2e}{memory_text:>9}  {row['note']}".rstrip()
        )


def cases(args):
    """The data of each shape, generated once."""
    if args.data:
        import pyarrow.parquet as pq

        n, d = pq.ParquetFile(args.data).metadata.num_rows, len(feature_columns(args.data, args.features))
        return [{"name": Path(args.data).name, "n": n, "d": d, "k": k, "data": args.data} for k in args.clusters]
    CACHE.mkdir(parents=True, exist_ok=True)
    found = []
    for name in args.shapes.split(","):
        n, d, k = SHAPES[name]
        data = CACHE / f"{name}-{args.seed}.parquet"
        if not data.exists():
            say(f"generating {data}")
            size = ["--rows", str(n), "--features", str(d), "--clusters", str(k), "--seed", str(args.seed)]
            kohort(args, "generate", *size, "--out", str(data))
        found.append({"name": name, "n": n, "d": d, "k": k, "data": data})
    return found


def versions():
    from importlib.metadata import PackageNotFoundError, version

    for package in ("numpy", "scikit-learn", "scikit-learn-intelex", "faiss-cpu", "superkmeans", "flashlib", "flash-kmeans", "torch"):
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            pass


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="A,C", help="of A,B,C,D,E,F [A,C]")
    parser.add_argument("--data", help="a Parquet file instead")
    parser.add_argument("--clusters", "-k", type=int, nargs="+", default=[8], help="with --data")
    parser.add_argument("--features", default="f[0-9]*", help="pattern of the columns to cluster on")
    parser.add_argument("--default-use", action="store_true", help="default options, Parquet to labels in Parquet")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="what kohort runs on")
    parser.add_argument("--peers", help="of " + ",".join(CPU_PEERS + GPU_PEERS))
    parser.add_argument("--iters", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fits", type=int, help="fits per process, the best counts [1; 5 on a GPU]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kohort", default=str(ROOT / "target/release/kohort"), help="the program")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    gpu = args.device == "gpu"
    everyone = USE_PEERS if args.default_use else GPU_PEERS if gpu else CPU_PEERS
    args.peers = args.peers.split(",") if args.peers else everyone
    args.fits = args.fits or (5 if gpu else 1)
    if unknown := [peer for peer in args.peers if peer not in PEERS]:
        parser.error(f"no such peer: {unknown[0]}")
    if args.default_use and (other := [peer for peer in args.peers if peer not in USE_PEERS]):
        parser.error(f"{other[0]} has no default use: {', '.join(USE_PEERS)} have")
    return args


def without_hardware(args):
    """Leaves out, and says so, what this machine cannot run."""
    if not has_gpu() and any(peer in GPU_PEERS for peer in args.peers):
        say("no NVIDIA GPU here: FlashLib and flash-kmeans are left out")
        args.peers = [peer for peer in args.peers if peer not in GPU_PEERS]
    cpuinfo = Path("/proc/cpuinfo")
    if "sklearn-skylakex" in args.peers and "avx512f" not in (cpuinfo.read_text() if cpuinfo.exists() else ""):
        say(f"no AVX-512 here: scikit-learn with {BLAS} is left out")
        args.peers.remove("sklearn-skylakex")


def main():
    in_environment()
    args = arguments()
    if args.worker:
        worker(json.loads(args.worker))
        return
    if not Path(args.kohort).exists():
        sys.exit(f"{args.kohort} is not there: cargo build --release")
    without_hardware(args)
    print(", ".join(versions()))
    results = []
    for case in cases(args):
        with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
            compare = default_use if args.default_use else fixed_iterations
            rows, matrix_bytes = compare(args, case, folder)
        show(case, rows, matrix_bytes, args)
        shape = {key: case[key] for key in ("name", "n", "d", "k")}
        results.append({**shape, "matrix_bytes": matrix_bytes, "rows": rows})
    if args.json:
        settings = {key: value for key, value in vars(args).items() if key not in ("worker", "json")}
        Path(args.json).write_text(json.dumps({"versions": list(versions()), "settings": settings, "cases": results}, indent=1))


if __name__ == "__main__":
    main()
