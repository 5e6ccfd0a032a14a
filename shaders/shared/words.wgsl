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

// `a - b`, for `b` up to `a`.
fn minus3(a: vec3<u32>, b: vec3<u32>) -> vec3<u32> {
    let borrow = select(0u, 1u, a.x < b.x);
    let mid = a.y - b.y;
    let borrows = select(0u, 1u, a.y < b.y) + select(0u, 1u, mid < borrow);
    return vec3<u32>(a.x - b.x, mid - borrow, a.z - b.z - borrows);
}

fn is_less(a: vec3<u32>, b: vec3<u32>) -> bool {
    if a.z != b.z {
        return a.z < b.z;
    }
    if a.y != b.y {
        return a.y < b.y;
    }
    return a.x < b.x;
}

fn least(a: vec3<u32>, b: vec3<u32>) -> vec3<u32> {
    if is_less(b, a) {
        return b;
    }
    return a;
}

// A number shifted to the left by up to 95 bits.
fn shifted(n: vec3<u32>, bits: u32) -> vec3<u32> {
    var moved = n;
    if bits >= 64u {
        moved = vec3<u32>(0u, 0u, n.x);
    } else if bits >= 32u {
        moved = vec3<u32>(0u, n.x, n.y);
    }
    let by = bits % 32u;
    if by == 0u {
        return moved;
    }
    let over = moved >> vec3<u32>(32u - by);
    return (moved << vec3<u32>(by)) | vec3<u32>(0u, over.x, over.y);
}
