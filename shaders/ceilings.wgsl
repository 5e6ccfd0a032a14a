// What the memory of a device gives at best: `read_memory` and `copy_memory` take a buffer that no cache holds, four
// vectors of 16 bytes at a time per thread. `fill_memory` makes its content, which no compression of memory makes smaller.
//
// Bindings: here. Rust twin: src/backend/gpu/layout.rs (`CeilingParams`, `CEILING_BINDINGS`), ceilings.rs (`fill_sum`).

struct CeilingParams {
    n_vectors: u32, // a multiple of 4 x stride
    stride: u32, // threads of the dispatch
}

// IN   ceiling_params
@group(0) @binding(0) var<uniform> ceiling_params: CeilingParams;
// IN   source
@group(0) @binding(1) var<storage, read> source: array<vec4<u32>>;
// OUT  target_buffer
@group(0) @binding(2) var<storage, read_write> target_buffer: array<vec4<u32>>;
// IN, OUT  checksum: 1 word; the sum of all words that were read is added to it, modulo 2^32
@group(0) @binding(3) var<storage, read_write> checksum: atomic<u32>;

// Threads of a workgroup.
override threads: u32 = 256u;

var<workgroup> group_sum: atomic<u32>;

@compute @workgroup_size(threads)
fn fill_memory(@builtin(global_invocation_id) id: vec3<u32>) {
    for (var i = id.x; i < ceiling_params.n_vectors; i += ceiling_params.stride) {
        target_buffer[i] = vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u) * 2654435769u;
    }
}

@compute @workgroup_size(threads)
fn read_memory(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let stride = ceiling_params.stride;
    // Four sums side by side, so that no addition waits for another.
    var a = vec4<u32>();
    var b = vec4<u32>();
    var c = vec4<u32>();
    var d = vec4<u32>();
    for (var i = id.x; i < ceiling_params.n_vectors; i += 4u * stride) {
        a += source[i];
        b += source[i + stride];
        c += source[i + 2u * stride];
        d += source[i + 3u * stride];
    }
    let sums = a + b + c + d;
    if lane == 0u {
        atomicStore(&group_sum, 0u);
    }
    workgroupBarrier();
    atomicAdd(&group_sum, sums.x + sums.y + sums.z + sums.w);
    workgroupBarrier();
    if lane == 0u {
        atomicAdd(&checksum, atomicLoad(&group_sum));
    }
}

@compute @workgroup_size(threads)
fn copy_memory(@builtin(global_invocation_id) id: vec3<u32>) {
    let stride = ceiling_params.stride;
    for (var i = id.x; i < ceiling_params.n_vectors; i += 4u * stride) {
        let a = source[i];
        let b = source[i + stride];
        let c = source[i + 2u * stride];
        let d = source[i + 3u * stride];
        target_buffer[i] = a;
        target_buffer[i + stride] = b;
        target_buffer[i + 2u * stride] = c;
        target_buffer[i + 3u * stride] = d;
    }
}
