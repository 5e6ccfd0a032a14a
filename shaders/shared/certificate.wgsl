// How the labels of rows are proven. This text stands before each kernel that ranks scores.
//
// Rust twin, and proof: src/backend/certificate.rs.

// Scores where there is no cluster (yet): far above all real ones (below 2^65), and the second proven to be far above
// the first. Centroids that pad a tile score higher still, so they are never ranked.
const FAR: f32 = 1e30;
const FARTHER: f32 = 1e34;

// `certificate::error`.
fn error_of(lower: vec4<f32>, upper: vec4<f32>, sq_norm: vec4<f32>) -> vec4<f32> {
    return params.factor * (3.0 * (lower + upper) + 8.0 * sq_norm);
}

// `certificate::proves`.
fn proves(lower: vec4<f32>, upper: vec4<f32>, sq_norm: vec4<f32>) -> vec4<bool> {
    return upper - lower > error_of(lower, upper, sq_norm);
}

// `certificate::room`: by how much all other centroids are farther than the nearest, at least; 0 where none is proven to be
// the nearest.
fn room_of(lower: vec4<f32>, upper: vec4<f32>, sq_norm: vec4<f32>) -> vec4<f32> {
    let error = error_of(lower, upper, sq_norm);
    let gap = upper - lower - error;
    let sum = lower + upper + sq_norm + 2.0 * error;
    var room = gap * inverseSqrt(sum) * (1.0 - 1.0 / 256.0);
    if coarse {
        room -= vec4<f32>(params.reach);
    }
    return select(vec4<f32>(), max(room, vec4<f32>()), (gap > vec4<f32>()) & (sum > vec4<f32>()));
}
