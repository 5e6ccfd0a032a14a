#!/usr/bin/env bash
# Fuzzes with libFuzzer: fuzz/fuzz.sh TARGET|all [SECONDS] [libFuzzer's own options...]
#
# Needs a C++ compiler and any toolchain, nightly or not: the flags below are those that cargo-fuzz gives, less the
# sanitizer of addresses, which nightly alone has. With cargo-fuzz the targets run as well, with it:
# cargo +nightly fuzz run --fuzz-dir fuzz input fuzz/corpus/input fuzz/seeds/input
set -euo pipefail
cd "$(dirname "$0")"
name=${1:?which target? $(ls targets | sed 's/.rs$//' | tr '\n' ' ')or all}
seconds=${2:-60}
shift $(($# < 2 ? $# : 2))
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=8 -Clink-dead-code"
export RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-1}
names=$name
[ "$name" = all ] && names=$(ls targets | sed 's/.rs$//')
# For one target at a time, since libFuzzer's `main` is linked in.
for name in $names; do
    cargo build --locked --release --target "$host" --bin "$name"
    mkdir -p "corpus/$name" "artifacts/$name"
    # What becomes tiles has come in.
    seeds=seeds/${name/tiles/input}
    echo "+ $name for $seconds s"
    "target/$host/release/$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=65536 \
        -artifact_prefix="artifacts/$name/" -print_final_stats=1 "$@" "corpus/$name" "$seeds"
done
