// Multiplies and adds up matrices as matrix.wgsl does, for the host to see whether the sums are what its proof takes them
// for: a workgroup for each case, whose subgroups all do the same.
//
// A template, as matrix.wgsl.
//
// Bindings: here. Rust twin: src/backend/gpu/matrix_units.rs (`Case`), src/backend/gpu/layout.rs (`PROBE_BINDINGS`).

//@ for n m in SHAPE
alias OfCentroids = coop_mat$nx$m<f16, A>;
alias OfRows = coop_mat$nx$m<f16, B>;
alias Products = coop_mat$nx$m<f32, C>;
//@ end

const SIDE: u32 = 16u; // rows and columns of a matrix
const TURNS: u32 = 63u; // times that the second product is added

const MATRIX: u32 = SIDE * SIDE;

// IN   operands: cases x 4 matrices, the left ones by rows, the right ones by columns
@group(0) @binding(0) var<storage, read> operands: array<f16>;
// OUT  results: cases x matrices by rows, the product of the first two matrices plus TURNS times that of the others
@group(0) @binding(1) var<storage, read_write> results: array<f32>;

// Threads of a workgroup.
override threads: u32 = 256u;

var<workgroup> digits: array<f16, 2u * MATRIX>;
var<workgroup> products: array<f32, MATRIX>;

@compute @workgroup_size(threads)
fn probe(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.x * 4u * MATRIX;
    for (var i = lane; i < MATRIX; i += threads) {
        digits[i] = operands[at + MATRIX + i];
        digits[MATRIX + i] = operands[at + 3u * MATRIX + i];
    }
    workgroupBarrier();
    let first = coopLoadT<OfCentroids>(&operands[at], SIDE);
    let first_rows = coopLoad<OfRows>(&digits[0], SIDE);
    let other = coopLoadT<OfCentroids>(&operands[at + 2u * MATRIX], SIDE);
    let other_rows = coopLoad<OfRows>(&digits[MATRIX], SIDE);
    var sum = coopMultiplyAdd(first, first_rows, Products());
    for (var turn = 0u; turn < TURNS; turn++) {
        sum = coopMultiplyAdd(other, other_rows, sum);
    }
    coopStoreT(sum, &products[0], SIDE);
    workgroupBarrier();
    for (var i = lane; i < MATRIX; i += threads) {
        results[group.x * MATRIX + i] = products[i];
    }
}
