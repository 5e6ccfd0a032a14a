// What every kernel of a pass shares: what a dispatch is told, the bindings, the exact totals.
//
// This text stands before each kernel's own, which says what a `Centroid` is.
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
    row_words: u32, // words of a row in `tiles`
    factor: f32, // of the certificate
    reach: f32, // twice as much as coarse values may change a distance, and a little more
    digits: u32, // where the digits of centroids start; only for matrix.wgsl
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
// IN   tiles: blocks x row_words x 16 quads: first the high 16 bits of all features, two to a word, then the low 8 bits, four
//      to a word, the first feature lowest. The last of an odd number of features has its low bits in the upper half of its
//      high bits' word
@group(0) @binding(1) var<storage, read> tiles: array<vec4<u32>>;
// IN   weights: rows of the part; one unused word without weights
@group(0) @binding(2) var<storage, read> weights: array<u32>;
// IN   centroids: padded quads of clusters x (n_features, then half the squared norms), grid units: vectors of f32.
//      From the half-word `params.digits` on, padded clusters' digits: see matrix.wgsl, which reads this as an array of f16
@group(0) @binding(3) var<storage, read> centroids: array<Centroid>;
// IN   centroids_exact: n_clusters x n_features, in 1/256 of grid units. Then half the squared norms of the centroids as
//      matrix.wgsl sees them, as floats
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

// Where the quad of `row` stands in `tiles`, with its first words; the next are BLOCK_QUADS further.
fn quad_index(row: u32) -> u32 {
    return (row / BLOCK) * params.row_words * BLOCK_QUADS + (row % BLOCK) / 4u;
}

// Words of a row that hold high bits: those with low bits come after them.
fn pair_words() -> u32 {
    return (params.n_features + 1u) / 2u;
}

// The words with low bits that stand at `at`; none are read if `coarse`.
fn low_words(at: u32) -> vec4<u32> {
    if coarse {
        return vec4<u32>();
    }
    return tiles[at];
}

// The grid values of a quad's rows in the feature whose high bits are the lower half of their words; `low` has its low bits
// in byte number `byte`. Exact or, if `coarse`, what the high bits say, 0 to 255 below.
fn lower_values(pair: vec4<u32>, low: vec4<u32>, byte: u32) -> vec4<f32> {
    if coarse {
        return coarse_values(pair & vec4<u32>(0xffffu));
    }
    return exact_values(bitcast<vec4<i32>>(pair << vec4<u32>(16u)) >> vec4<u32>(16u), byte_of(low, byte));
}

// The same where they are the upper half.
fn upper_values(pair: vec4<u32>, low: vec4<u32>, byte: u32) -> vec4<f32> {
    if coarse {
        return coarse_values(pair >> vec4<u32>(16u));
    }
    return exact_values(bitcast<vec4<i32>>(pair) >> vec4<u32>(16u), byte_of(low, byte));
}

// The same in the last of an odd number of features.
fn lone_values(word: vec4<u32>) -> vec4<f32> {
    return lower_values(word, word, 2u);
}

// What high bits say. With their sign turned round they are natural numbers, and the mantissa of a float between 2^31 and
// 2^32, whose last bit stands for 2^8.
fn coarse_values(high: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(high ^ vec4<u32>(0x4f008000u)) - vec4<f32>(2147483648.0 + SHIFT);
}

fn exact_values(high: vec4<i32>, low: vec4<u32>) -> vec4<f32> {
    return vec4<f32>((high << vec4<u32>(8u)) + bitcast<vec4<i32>>(low));
}

fn byte_of(words: vec4<u32>, byte: u32) -> vec4<u32> {
    return (words >> vec4<u32>(8u * byte)) & vec4<u32>(0xffu);
}

// Where the first word of `row` stands in `tiles`, in words; the next is BLOCK further.
fn row_index(row: u32) -> u32 {
    return 4u * quad_index(row) + row % 4u;
}

// Word `number` of the row that starts at `at`.
fn word(at: u32, number: u32) -> u32 {
    let i = at + number * BLOCK;
    return tiles[i / 4u][i % 4u];
}

// The natural number that stands for a value of the row that starts at `at`: below 2^24.
fn natural_of(at: u32, feature: u32) -> u32 {
    let pair = word(at, feature / 2u);
    var low = pair >> 16u;
    if (feature | 1u) < params.n_features {
        low = (word(at, pair_words() + feature / 4u) >> (8u * (feature % 4u))) & 0xffu;
    }
    return ((((pair >> (16u * (feature % 2u))) & 0xffffu) ^ 0x8000u) << 8u) | low;
}

// The same for the features `first .. first + 4`, of which the first is a multiple of 4.
fn four_naturals(at: u32, first: u32) -> vec4<u32> {
    let high = vec2<u32>(word(at, first / 2u), word(at, first / 2u + 1u)) ^ vec2<u32>(0x80008000u);
    let low = vec4<u32>(word(at, pair_words() + first / 4u)) >> vec4<u32>(0u, 8u, 16u, 24u);
    let halves = vec4<u32>(high.x & 0xffffu, high.x >> 16u, high.y & 0xffffu, high.y >> 16u);
    return (halves << vec4<u32>(8u)) | (low & vec4<u32>(0xffu));
}

// The grid values that natural numbers stand for.
fn value_of(natural: u32) -> i32 {
    return bitcast<i32>(natural) - 0x800000;
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

fn plus2(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < b.x));
}

// The number that `times` gives, taken away instead of added.
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
