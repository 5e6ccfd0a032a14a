//! The chosen number of clusters against the true one: 50 generated tables that differ in their number of clusters,
//! their overlap, sizes and dimension, and tables without any clusters, where the right answer is that no k stands out.
//! `cargo bench --bench choose_k`; with `-- --json`, one object per table with all figures of the sweep.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use kohort::backend::cpu::CpuBackend;
use kohort::data::{BatchSource, MemorySource};
use kohort::features::FeatureOptions;
use kohort::fit::{FitOptions, sweep};
use kohort::rng::Rng;
use kohort::select::SweepOptions;
use kohort::workload::Workload;
use ndarray::Array2;

struct Table {
    name: String,
    /// 1 where there are no clusters.
    true_k: usize,
    source: Box<dyn BatchSource>,
}

/// A bell: the sum of twelve uniform numbers, less six.
fn bell(rng: &mut Rng) -> f64 {
    (0..12).map(|_| uniform(rng)).sum::<f64>() - 6.0
}

fn uniform(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

fn table(name: String, true_k: usize, rows: Array2<f64>) -> Table {
    let names: Vec<String> = (0..rows.ncols()).map(|j| format!("f{j}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let source = MemorySource::from_array(rows.view(), &names).expect("a table");
    Table {
        name,
        true_k,
        source: Box::new(source),
    }
}

/// Bells about `k` centres, the nearest two of which are `apart` widths from each other, and `useless` columns more.
fn bells(seed: u64, n: usize, d: usize, k: usize, apart: f64, useless: usize) -> Table {
    let mut rng = Rng::new(seed, 77);
    let mut centres = Array2::from_shape_fn((k, d), |_| bell(&mut rng));
    let mut nearest = f64::INFINITY;
    for a in 0..k {
        for b in 0..a {
            let difference = &centres.row(a) - &centres.row(b);
            nearest = nearest.min(difference.dot(&difference).sqrt());
        }
    }
    centres *= apart / nearest;
    // The largest has about three times the rows of the smallest; widths differ by a third either way.
    let sizes: Vec<f64> = (0..k).map(|_| 1.0 + 2.0 * uniform(&mut rng)).collect();
    let widths: Vec<f64> = (0..k).map(|_| 0.75 + 0.5 * uniform(&mut rng)).collect();
    let total: f64 = sizes.iter().sum();
    let mut rows = Array2::zeros((n, d + useless));
    for mut row in rows.rows_mut() {
        let mut left = uniform(&mut rng) * total;
        let cluster = sizes.iter().position(|size| {
            left -= size;
            left < 0.0
        });
        let cluster = cluster.unwrap_or(k - 1);
        for (j, value) in row.iter_mut().enumerate() {
            *value = bell(&mut rng) * widths[cluster] + if j < d { centres[[cluster, j]] } else { 0.0 };
        }
    }
    table(format!("bells {n} x {d}+{useless}, {apart} apart"), k, rows)
}

fn accounts(seed: u64, n: usize, d: usize, k: usize) -> Table {
    let workload = Workload {
        seed,
        ..Workload::new(n, d, k)
    };
    Table {
        name: format!("accounts {n} x {d}"),
        true_k: k,
        source: Box::new(workload.build().expect("a table")),
    }
}

/// One crowd, of one of four forms.
fn crowd(form: usize, n: usize, d: usize) -> Table {
    let mut rng = Rng::new(form as u64, 99);
    let mut rows = Array2::from_shape_fn((n, d), |_| if form == 0 { uniform(&mut rng) } else { bell(&mut rng) });
    for mut row in rows.rows_mut() {
        let first = row[0];
        match form {
            2 => row.iter_mut().for_each(|x| *x = 0.5 * *x + first),
            3 => row.iter_mut().for_each(|x| *x = x.exp()),
            _ => {}
        }
    }
    let name = ["uniform", "one bell", "one long bell", "log-normal"][form];
    table(format!("{name} {n} x {d}"), 1, rows)
}

fn tables() -> Vec<Table> {
    let mut tables = Vec::new();
    for number in 0..36usize {
        let (k, d) = (2 + number % 7, [2, 3, 5, 8, 12, 16][number % 6]);
        let apart = [6.0, 5.0, 4.0, 3.5][number / 9];
        let n = [1000, 3000, 8000][number % 3];
        let useless = if number % 5 == 4 { d.min(4) } else { 0 };
        tables.push(bells(number as u64, n, d, k, apart, useless));
    }
    for number in 0..14usize {
        let (k, d) = (3 + number % 5, [4, 8, 16][number % 3]);
        tables.push(accounts(number as u64, 6000, d, k));
    }
    for number in 0..8usize {
        tables.push(crowd(number % 4, 4000, [3, 10][number / 4]));
    }
    tables
}

fn main() {
    let json = std::env::args().any(|arg| arg == "--json");
    let host = CpuBackend::new(0).expect("threads");
    let options = FitOptions {
        features: FeatureOptions {
            exclude: vec!["truth".into(), "account_id".into()],
            ..FeatureOptions::default()
        },
        ..FitOptions::new(2)
    };
    let (mut n_right, mut n_near, mut n_true) = (0, 0, 0);
    for table in tables() {
        let mut options = options.clone();
        options
            .features
            .exclude
            .retain(|name| table.source.schema().index_of(name).is_ok());
        let swept = sweep(&*table.source, &host, &options, &SweepOptions::default(), &()).expect("a sweep");
        let decision = &swept.sweep.decision;
        if json {
            let sweep = serde_json::to_value(&swept.sweep).expect("JSON");
            println!(
                "{}",
                serde_json::json!({ "name": table.name, "true_k": table.true_k, "sweep": sweep })
            );
            continue;
        }
        println!(
            "{:36} true {:2}  chosen {:2}  {:?}",
            table.name, table.true_k, decision.k, decision.strength
        );
        if table.true_k > 1 {
            n_true += 1;
            n_right += usize::from(decision.k == table.true_k);
            n_near += usize::from(decision.k.abs_diff(table.true_k) <= 1);
        }
    }
    if !json {
        println!("{n_right} of {n_true} right, {n_near} within one");
    }
}
