// What every kernel of a pass shares: what a dispatch is told, the bindings, the exact totals.
//
// This text stands before each kernel's own.
// Rust twin: src/backend/gpu/layout.rs (`Params`, `BINDINGS`, `TotalsLayout`).

// One dispatch: the rows `first_row .. first_row + n_rows` of the part that is bound.
struct Params {
    first_row: u32, // of the part
    n_rows: u32,
    n_features: u32,
    n_clusters: u32,
    rounds: u32, // rounds that a workgroup of `assign` takes at a time
    max_takes: u32, // times that it does so, at most
    resolve_groups: u32, // workgroups of `resolve`
    list: u32, // word of `totals` that holds the length of this dispatch's list; see there
    first_total: u32, // word of `totals` where the sums start
    first_low: u32, // vector of `tiles` where the low bits start
    factor: f32, // of the certificate
    reach: f32, // twice the length of what coarse values may lack, and a little more
}

// Cluster number of a row that has none; labels are stored plus one, so that it is 0 in memory.
const NO_CLUSTER: u32 = 0xffffffffu;
// Added to every grid value, which makes it a natural number below 2^24.
const SHIFT: f32 = 8388608.0;
// Rows in a block of the tile layout, and quads: four rows that lie side by side and are handled as a vector.
const BLOCK: u32 = 64u;
const BLOCK_QUADS: u32 = 16u;

// Whether rows have weights; without, each weighs 1 and there is no column of weights.
override weighted: bool = false;
// Whether the pass asks for the two nearest clusters of each row, and for no sums. Else labels are kept from pass to pass,
// and the rows that change theirs counted.
override ranked: bool = false;
// Whether the labels are those of the pass before, whose sums still stand in `totals`: only rows that change their label
// are added to a cluster, and taken from another. Not if `ranked`.
override moves: bool = false;
// Whether `assign` reads the high bits of values alone. Rows whose label they do not prove are labelled by `resolve`.
override coarse: bool = false;
// Whether a word holds the labels of a quad, 8 bits each, lowest row first; else it holds one label.
override packed: bool = false;

// IN   params: one per dispatch
@group(0) @binding(0) var<uniform> params: Params;
// IN   tiles: blocks x n_features x 16 quads, as natural numbers of 24 bits: the high 16 bits of all, a vector a quad,
//      then the low 8 bits of all, a word a quad; lowest row first
@group(0) @binding(1) var<storage, read> tiles: array<vec2<u32>>;
// IN   weights: rows of the part; one unused word without weights
@group(0) @binding(2) var<storage, read> weights: array<u32>;
// IN   centroids: padded quads of clusters x (n_features, then half the squared norms), grid units
@group(0) @binding(3) var<storage, read> centroids: array<vec4<f32>>;
// IN   centroids_exact: n_clusters x n_features, in 1/256 of grid units
@group(0) @binding(4) var<storage, read> centroids_exact: array<i32>;
// IN, OUT  labels: of the rows of the part, plus one, so that 0 is none
@group(0) @binding(5) var<storage, read_write> labels: array<atomic<u32>>;
// OUT  beside: if `ranked`, the second-nearest cluster of each row of the part, plus one.
//      IN, OUT  if `moves`, per quad the drift, as a float, up to which none of its rows can change its label. Else one word.
@group(0) @binding(6) var<storage, read_write> beside: array<u32>;
// OUT  doubtful: rows of the part that `assign` could not decide, for `resolve`
@group(0) @binding(7) var<storage, read_write> doubtful: array<u32>;
// OUT  totals: per dispatch, the length of its list, the rounds taken, the rows decided exactly, and those passed over.
//      IN  then the drift, as a float: how much nearer one centroid can have come to a row than another since the run began.
//      OUT  then sums of 3 words (low first): rows moved, and per cluster n_features + 1 (+ 1) columns: shifted grid
//      values times weight, rows, and, where rows have weights, the weights
@group(0) @binding(8) var<storage, read_write> totals: array<atomic<u32>>;

// Where the quad of `row` stands in `tiles`, for feature 0; the next feature is BLOCK_QUADS further.
fn quad_index(row: u32) -> u32 {
    return (row / BLOCK) * params.n_features * BLOCK_QUADS + (row % BLOCK) / 4u;
}

// The low bits of the quad that stands at `at + offset`; `offset`, a multiple of BLOCK_QUADS, may be known beforehand.
fn low_bits(at: u32, offset: u32) -> u32 {
    return tiles[params.first_low + at / 2u + offset / 2u][at & 1u];
}

// The grid values of the quad that stands at `at + offset`: exact or, if `coarse`, what the high bits say, 0 to 255 below.
//
// The high bits become the mantissa of a float between 2^31 and 2^32, whose last bit stands for 2^8.
fn quad_values(at: u32, offset: u32) -> vec4<f32> {
    let pair = tiles[at + offset];
    let high = vec4<u32>(pair.x & 0xffffu, pair.x >> 16u, pair.y & 0xffffu, pair.y >> 16u);
    if coarse {
        return bitcast<vec4<f32>>(high | vec4<u32>(0x4f000000u)) - vec4<f32>(2147483648.0 + SHIFT);
    }
    let low = (vec4<u32>(low_bits(at, offset)) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
    return vec4<f32>(bitcast<vec4<i32>>((high << vec4<u32>(8u)) | low) - vec4<i32>(0x800000));
}

// The natural number that stands for a value of one row: below 2^24.
fn natural_of(row: u32, feature: u32) -> u32 {
    let at = quad_index(row);
    let offset = feature * BLOCK_QUADS;
    let high = (tiles[at + offset][(row / 2u) % 2u] >> (16u * (row % 2u))) & 0xffffu;
    return (high << 8u) | ((low_bits(at, offset) >> (8u * (row % 4u))) & 0xffu);
}

// The grid value of one row.
fn value(row: u32, feature: u32) -> f32 {
    return f32(bitcast<i32>(natural_of(row, feature)) - 0x800000);
}

// Columns of totals per cluster.
fn width() -> u32 {
    return params.n_features + select(1u, 2u, weighted);
}

fn weight_of(row: u32) -> u32 {
    if weighted {
        return weights[row];
    }
    return 1u;
}

// The natural number that stands for an exact grid value: below 2^24, so that the sum in floating point is exact.
fn natural(x: f32) -> u32 {
    return u32(x + SHIFT);
}

// A natural number below 2^24 times a weight (at most 2^16), as low and high word: below 2^40.
fn times(natural: u32, weight: u32) -> vec2<u32> {
    if !weighted {
        return vec2<u32>(natural, 0u);
    }
    let low = (natural & 0xffffu) * weight;
    let high = (natural >> 16u) * weight;
    let sum = low + (high << 16u);
    return vec2<u32>(sum, (high >> 16u) + select(0u, 1u, sum < low));
}

// The same number, taken away instead of added.
fn negative(amount: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(0u - amount.x, ~amount.y + select(0u, 1u, amount.x == 0u));
}

// Adds to sum number `entry` a number of 64 bits with a sign. Carries are seen from the words that stood there before, so
// no order can lose one; nearly always they leave the higher words as they are.
fn add_total(entry: u32, amount: vec2<u32>) {
    let word = params.first_total + 3u * entry;
    let low = atomicAdd(&totals[word], amount.x);
    let carried = amount.y + select(0u, 1u, amount.x > 0xffffffffu - low);
    // Above the number stand zeros or, below 0, ones, which a carry turns into zeros.
    var above = select(0u, 0xffffffffu, (amount.y >> 31u) != 0u) + select(0u, 1u, carried < amount.y);
    if carried != 0u {
        let middle = atomicAdd(&totals[word + 1u], carried);
        above += select(0u, 1u, carried > 0xffffffffu - middle);
    }
    if above != 0u {
        atomicAdd(&totals[word + 2u], above);
    }
}
