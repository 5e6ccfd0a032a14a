// Natural numbers of two and three words, low word first. This text stands before the kernels that need them.
//
// Rust twin: `u64` and `u128`.

// The square of a number, by 16-bit halves.
fn square(m: u32) -> vec2<u32> {
    let h = m >> 16u;
    let l = m & 0xffffu;
    let cross = h * l;
    let low = l * l;
    let sum = low + (cross << 17u);
    return vec2<u32>(sum, h * h + (cross >> 15u) + select(0u, 1u, sum < low));
}

// The magnitude of a difference of two integers, which can take all 32 bits; unsigned subtraction wraps to it.
fn distance_of(a: i32, b: i32) -> u32 {
    return select(bitcast<u32>(a) - bitcast<u32>(b), bitcast<u32>(b) - bitcast<u32>(a), a < b);
}

fn plus3(a: vec3<u32>, b: vec3<u32>) -> vec3<u32> {
    let low = a.x + b.x;
    let carry = select(0u, 1u, low < b.x);
    let mid = a.y + b.y;
    let mid_carried = mid + carry;
    let carries = select(0u, 1u, mid < b.y) + select(0u, 1u, mid_carried < mid);
    return vec3<u32>(low, mid_carried, a.z + b.z + carries);
}
