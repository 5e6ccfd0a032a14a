use kohort::backend::{Backend, cpu::CpuBackend};
use kohort::tiles::*; use kohort::rng::Rng; use kohort::kmeans::*;
use std::time::Instant;
fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|x| x.parse().unwrap()).collect();
    let (n, d, k, t) = (a[0], a[1], a[2], a[3]);
    let mut rng = Rng::new(1, 1);
    let rows: Vec<f32> = (0..n * d).map(|i| (rng.next_u64() % 2_000_000) as f32 - 1e6 + ((i / d % k) as f32) * 200000.0 * ((i % d % 3) as f32)).collect();
    let tiles = TileSet::from_rows(&rows, d, None, MAX_CHUNK_BYTES);
    let start: Vec<i32> = rows[..k * d].iter().map(|&x| x as i32).collect();
    for b in CpuBackend::for_each_isa(t).unwrap() {
        let mut s = b.open(&tiles, k).unwrap();
        let mut c = Centroids::on_rows(d, &start);
        let t0 = Instant::now();
        for i in 0..20 { let t1 = Instant::now(); let p = s.assign(&c).unwrap(); c = p.partial.centroids(&c); if i < 3 || i == 19 { println!("  it {i} {:.1} ms moved {} doubt {}", t1.elapsed().as_secs_f64() * 1e3, p.n_moved, p.n_doubtful); } }
        println!("{}: 20 iters {:.3} s", b.description(), t0.elapsed().as_secs_f64());
    }
    let host = CpuBackend::new(t).unwrap();
    let t0 = Instant::now();
    let f = host.install(|| fit(&host, &host, &tiles, &RowKeys::RowNumber, &KMeansParams::new(k), 1.0, &())).unwrap();
    println!("fit {:.2} s {:?} iters {} {:?}", t0.elapsed().as_secs_f64(), f.elapsed_s, f.n_iter, f.stop_reason);
}
