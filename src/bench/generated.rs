//! Rows that are generated for a bench.

use std::time::Instant;

use super::Origin;
use crate::backend::cpu::CpuBackend;
use crate::data::{BatchSource, MemorySource};
use crate::error::Result;
use crate::workload::Workload;

/// A generated table: its features, and nothing else.
pub struct Generated {
    /// The rows.
    pub source: Box<dyn BatchSource>,
    /// Whether they lie in memory.
    pub origin: Origin,
}

impl Generated {
    /// The pattern that the names of the features match, and those of no other column.
    pub const FEATURES: &str = "f[0-9]*";

    /// The rows of `workload`: in memory where their values take at most a quarter of what is free (they are there
    /// twice while they are prepared), else made whenever they are read.
    ///
    /// # Errors
    /// Those of [`Workload::build`], no memory, and [`crate::Error::Interrupted`].
    pub fn new(workload: &Workload, host: &CpuBackend) -> Result<Self> {
        let accounts = workload.build()?;
        let bytes = 4 * workload.n_rows as u64 * workload.n_features as u64;
        if bytes > crate::data::available_memory() / 4 {
            return Ok(Self {
                source: Box::new(accounts),
                origin: Origin::Generator,
            });
        }
        let started = Instant::now();
        let source = host.install(|| in_memory(&accounts))?;
        Ok(Self {
            source: Box::new(source),
            origin: Origin::Memory {
                generate_s: started.elapsed().as_secs_f64(),
            },
        })
    }
}

/// The features of all rows.
fn in_memory(source: &dyn BatchSource) -> Result<MemorySource> {
    let pattern = glob::Pattern::new(Generated::FEATURES).expect("a pattern");
    let fields = source.schema().fields();
    let columns: Vec<usize> = (0..fields.len())
        .filter(|&j| pattern.matches(fields[j].name()))
        .collect();
    let mut batches = Vec::new();
    source.scan(&columns, &mut |_, batch| {
        batches.push(batch.clone());
        Ok(())
    })?;
    MemorySource::new(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_features_and_nothing_else_are_held() {
        let workload = Workload {
            categorical: 2,
            ..Workload::new(1000, 12, 3)
        };
        let generated = Generated::new(&workload, &CpuBackend::new(1).unwrap()).unwrap();
        assert!(matches!(generated.origin, Origin::Memory { .. }));
        let names: Vec<_> = generated
            .source
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        assert_eq!((names.len(), &*names[0], &*names[11]), (12, "f01", "f12"));
        assert_eq!(generated.source.n_rows(), 1000);
    }
}
