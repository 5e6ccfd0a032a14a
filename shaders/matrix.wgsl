// Labels rows by the high bits of their values with the device's matrix units, which multiply f16 and add up f32.
//
// The high 16 bits of a value are a natural number 256 a + b. Rows and centroids are seen as what these bytes say, in units
// of 256 grid units and from the same place: 256 (a - 128) + (b - 128). A sixteenth of that is the sum of two digits,
// 16 (a - 128) and (b - 128) / 16, which f16 holds exactly. The products of high digits are multiples of 256 below 2^32 in
// all, and add up without error in whatever order; the others are small, and have a sum of their own.
//
// A block's digits (shared/blocks.wgsl) lie in workgroup memory by rows, and so do the products of the block with TILE
// clusters at a time, from where threads rank them. Units of work are SIDE clusters by two times SIDE rows; subgroups share
// them out. All threads come to every operation on matrices.
//
// A template (src/backend/gpu/template.rs): `//@ for` repeats lines. SHAPE is the shape of a matrix, as in 16x16.
//
// Bindings: shared/pass.wgsl. Rust twin: src/backend/gpu/layout.rs (`digits`); proof: src/backend/certificate.rs.

alias Centroid = vec4<f16>;
//@ for n m in SHAPE
alias OfCentroids = coop_mat$nx$m<f16, A>;
alias OfRows = coop_mat$nx$m<f16, B>;
alias Products = coop_mat$nx$m<f32, C>;
//@ end

const ROW_QUADS: u32 = 16u; // quads of rows in a block: 8, 16, 32 or 64
const SIDE: u32 = 16u; // rows and columns of a matrix: 8 or 16
const STEPS: u32 = 1u; // matrices that the features of a row fill
const CHUNK: u32 = 1u; // of these, those of centroids that are in workgroup memory at a time: a power of two that divides them

// What |x|^2 is taken to be more per feature, in units of scores: see the proof.
override margin: f32 = 640.0;

// Rows of a block.
const ROWS: u32 = 4u * ROW_QUADS;
// Columns of threads: 256 threads stand in them.
const COLUMNS: u32 = 256u / ROW_QUADS;
// Clusters whose products are in workgroup memory at a time: a quad for each column.
const TILE: u32 = 4u * COLUMNS;
// Halves from a row to the next, and from a cluster to the next. Eight more than there are keep those side by side in
// different banks.
const STRIDE: u32 = STEPS * SIDE + 8u;
const TILE_STRIDE: u32 = CHUNK * 2u * SIDE + 8u;
// Vectors of a cluster in a chunk: a power of two.
const TILE_QUADS: u32 = CHUNK * SIDE / 2u;
// Where low digits start.
const LOWS: u32 = ROWS * STRIDE;
// Products from a cluster to the next.
const PRODUCTS: u32 = ROWS + 4u;
// Units of work side by side, and in all.
const UNIT_COLUMNS: u32 = ROWS / (2u * SIDE);
const UNITS: u32 = TILE / SIDE * UNIT_COLUMNS;
// Scores are in units of so many squares of the grid.
const SCORE_UNIT: f32 = 16777216.0;

// High digits of the block, rows x features, then low ones.
var<workgroup> digits: array<f16, 2u * LOWS>;
// A chunk of digits of a tile of clusters x matrices x (high digits, then low ones).
var<workgroup> tile: array<f16, TILE * TILE_STRIDE>;
// Clusters x rows; or four vectors each of half the threads, for the other half; or the threads' shares of |x|^2.
var<workgroup> products: array<f32, TILE * PRODUCTS>;
var<workgroup> half_norms: array<f32, TILE>;

var<private> subgroup: u32;
var<private> n_subgroups: u32;

@compute @workgroup_size(threads)
fn assign(
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup_id: u32,
    @builtin(num_subgroups) num_subgroups: u32,
) {
    subgroup = subgroup_id;
    n_subgroups = num_subgroups;
    assign_blocks(lane);
}

// Loads and ranks the rows of a block.
fn rank_block(row: u32, lane: u32) {
    load_block(row, lane);
    workgroupBarrier();
    if lane < ROW_QUADS {
        add_up_norms(lane);
    }
    for (var first = 0u; first < params.n_clusters; first += TILE) {
        multiply(first, lane);
        workgroupBarrier();
        rank_tile(first, lane);
    }
    rank_group();
    merge_columns(lane);
    // In units of the grid.
    best *= SCORE_UNIT;
    second *= SCORE_UNIT;
    sq_norm = (sq_norm + vec4<f32>(margin * f32(params.n_features))) * SCORE_UNIT;
}

// Threads that load stand otherwise: 32 of them take 8 pairs of features of 4 quads, so that both reads and writes are of
// places side by side.
const LOADERS: u32 = 256u / 32u;
const QUAD_GROUPS: u32 = ROW_QUADS / 4u;
// Groups of threads that share four quads.
const SHARES: u32 = max(LOADERS / QUAD_GROUPS, 1u);

// The digits of a block, and shares of |x|^2. What stands for features and rows that are not there is some number.
fn load_block(row: u32, lane: u32) {
    let loader = lane / 32u;
    let slot = 8u * (loader / QUAD_GROUPS) + (lane / 4u) % 8u;
    for (var four = loader % QUAD_GROUPS; four < QUAD_GROUPS; four += LOADERS) {
        let quad = 4u * four + lane % 4u;
        let is_there = row + 4u * quad < params.first_row + params.n_rows;
        let at = quad_index(row + 4u * quad);
        var sum = vec4<f32>();
        for (var pair = slot; pair < STEPS * SIDE / 2u; pair += 8u * SHARES) {
            var words = vec4<u32>();
            if is_there && pair < pair_words() {
                words = tiles[at + pair * BLOCK_QUADS];
            }
            let lower = digits_of(words & vec4<u32>(0xffffu));
            let upper = digits_of(words >> vec4<u32>(16u));
            //@ for i in 0 1 2 3
            let to$i = (4u * quad + $iu) * STRIDE + 2u * pair;
            digits[to$i] = f16(lower.high[$i]);
            digits[to$i + 1u] = f16(upper.high[$i]);
            digits[LOWS + to$i] = f16(lower.low[$i]);
            digits[LOWS + to$i + 1u] = f16(upper.low[$i]);
            //@ end
            if 2u * pair < params.n_features {
                sum = fma(lower.both, lower.both, sum);
            }
            if 2u * pair + 1u < params.n_features {
                sum = fma(upper.both, upper.both, sum);
            }
        }
        //@ for i in 0 1 2 3
        products[4u * (slot * ROW_QUADS + quad) + $iu] = sum[$i];
        //@ end
    }
}

struct Digits {
    high: vec4<f32>,
    low: vec4<f32>,
    both: vec4<f32>,
}

// The digits of high bits, and their sum. With their sign turned round they are natural numbers, and the mantissa of a float
// between 2^19 and 2^20, whose last bit stands for 1/16.
fn digits_of(bits: vec4<u32>) -> Digits {
    let both = bitcast<vec4<f32>>(bits ^ vec4<u32>(0x49008000u)) - vec4<f32>(524288.0 + 2056.0);
    let high = bitcast<vec4<f32>>((bits & vec4<u32>(0xff00u)) ^ vec4<u32>(0x49008000u)) - vec4<f32>(524288.0 + 2048.0);
    return Digits(high, both - high, both);
}

// |x|^2 of the quad's rows, from its shares.
fn add_up_norms(quad: u32) {
    for (var slot = 0u; slot < 8u * SHARES; slot++) {
        sq_norm += products_of(slot * ROW_QUADS + quad);
    }
}

// Products of all rows of the block with the clusters `first .. first + TILE`.
fn multiply(first: u32, lane: u32) {
    for (var turn = 0u; turn < UNITS; turn += n_subgroups) {
        // Where there are more subgroups than units, some do the same.
        let unit = (turn + subgroup) % UNITS;
        let row = unit % UNIT_COLUMNS * 2u * SIDE;
        let cluster = unit / UNIT_COLUMNS * SIDE;
        //@ for r in 0 1
        var high$r = Products();
        var low$r = Products();
        //@ end
        for (var chunk = 0u; chunk < STEPS; chunk += CHUNK) {
            if turn == 0u || CHUNK < STEPS {
                // What is there, and in `products`, may still be in use.
                workgroupBarrier();
                load_tile(first, chunk, lane);
                workgroupBarrier();
            }
            for (var step = 0u; step < CHUNK; step++) {
                let at = cluster * TILE_STRIDE + step * 2u * SIDE;
                let centroids_high = coopLoadT<OfCentroids>(&tile[at], TILE_STRIDE);
                let centroids_low = coopLoadT<OfCentroids>(&tile[at + SIDE], TILE_STRIDE);
                let row_at = row * STRIDE + (chunk + step) * SIDE;
                //@ for r in 0 1
                let rows_high$r = coopLoad<OfRows>(&digits[row_at + $ru * SIDE * STRIDE], STRIDE);
                let rows_low$r = coopLoad<OfRows>(&digits[LOWS + row_at + $ru * SIDE * STRIDE], STRIDE);
                high$r = coopMultiplyAdd(centroids_high, rows_high$r, high$r);
                low$r = coopMultiplyAdd(centroids_low, rows_low$r, low$r);
                low$r = coopMultiplyAdd(centroids_low, rows_high$r, low$r);
                low$r = coopMultiplyAdd(centroids_high, rows_low$r, low$r);
                //@ end
            }
        }
        let to = cluster * PRODUCTS + row;
        //@ for r in 0 1
        coopStoreT(high$r + low$r, &products[to + $ru * SIDE], PRODUCTS);
        //@ end
    }
    if lane < TILE {
        half_norms[lane] = half_norm(first + lane);
    }
}

// The matrices `chunk ..` of the clusters `first .. first + TILE`, for which there is room in the buffer.
fn load_tile(first: u32, chunk: u32, lane: u32) {
    // A thread has the same place in every cluster that it comes to.
    let quad = lane % TILE_QUADS;
    let start = lane / TILE_QUADS;
    let start_at = params.digits / 4u + ((first + start) * STEPS + chunk) * (SIDE / 2u) + quad;
    let to = start * TILE_STRIDE + 4u * quad;
    for (var cluster = 0u; cluster < TILE; cluster += 256u / TILE_QUADS) {
        if TILE % (256u / TILE_QUADS) == 0u || start + cluster < TILE {
            let words = centroids[start_at + cluster * STEPS * (SIDE / 2u)];
            //@ for i in 0 1 2 3
            tile[to + cluster * TILE_STRIDE + $iu] = words[$i];
            //@ end
        }
    }
}

fn half_norm(cluster: u32) -> f32 {
    if cluster < params.n_clusters {
        return bitcast<f32>(centroids_exact[params.n_clusters * params.n_features + cluster]);
    }
    // Behind every real one.
    return FARTHER;
}

// Ranks this thread's four of the clusters `first .. first + TILE`.
fn rank_tile(first: u32, lane: u32) {
    let cluster = 4u * (lane / ROW_QUADS);
    let at = cluster * PRODUCTS / 4u + lane % ROW_QUADS;
    //@ for c in 0 1 2 3
    let score$c = vec4<f32>(half_norms[cluster + $cu]) - products_of(at + $cu * PRODUCTS / 4u);
    //@ end
    rank_four(score0, score1, score2, score3, first + cluster);
}

// A vector of `products`.
fn products_of(at: u32) -> vec4<f32> {
    return vec4<f32>(products[4u * at], products[4u * at + 1u], products[4u * at + 2u], products[4u * at + 3u]);
}

fn lend(at: u32, part: u32, words: vec4<f32>) {
    let to = 4u * (at + part * 128u);
    //@ for i in 0 1 2 3
    products[to + $iu] = words[$i];
    //@ end
}

fn lent(at: u32, part: u32) -> vec4<f32> {
    return products_of(at + part * 128u);
}

fn number_of(row: u32, feature: u32) -> u32 {
    return natural_of(row_index(row), feature);
}
