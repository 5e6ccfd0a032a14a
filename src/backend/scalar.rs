//! The oracle: every distance in exact integers, one row at a time. Short and obvious, never tuned.

use super::silhouette::{Judge, Labelled, ScalarJudge};
use super::{Backend, NO_CLUSTER, Pass, Session, TwoNearest};
use crate::error::Result;
use crate::partial::ClusterPartial;
use crate::tiles::{Centroids, TileSet};

/// The backend that all others are held against.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScalarBackend;

impl Backend for ScalarBackend {
    fn name(&self) -> &'static str {
        "scalar"
    }

    fn description(&self) -> String {
        "scalar reference, 1 thread".into()
    }

    fn judge<'d>(&'d self, rows: Labelled<'d>) -> Result<Option<Box<dyn Judge + 'd>>> {
        Ok(Some(Box::new(ScalarJudge(rows))))
    }

    fn open<'d>(&'d self, data: &'d TileSet, _max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        Ok(Box::new(ScalarSession {
            data,
            labels: vec![NO_CLUSTER; data.n_rows()],
        }))
    }
}

struct ScalarSession<'d> {
    data: &'d TileSet,
    labels: Vec<u32>,
}

impl Session for ScalarSession<'_> {
    fn assign(&mut self, centroids: &Centroids) -> Result<Pass> {
        let mut partial = ClusterPartial::zero(centroids.n_clusters(), self.data.n_features());
        let mut x = vec![0; self.data.n_features()];
        let mut n_moved = 0;
        for (row, label) in self.labels.iter_mut().enumerate() {
            self.data.read_row(row, &mut x);
            let (nearest, _) = two_nearest(&x, centroids);
            partial.add_row(nearest as usize, &x, self.data.weight(row));
            n_moved += u64::from(*label != nearest);
            *label = nearest;
        }
        Ok(Pass {
            partial,
            n_moved,
            n_doubtful: 0,
            n_read: self.data.n_rows() as u64,
            n_unsettled: 0,
        })
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        Ok(self.labels.clone())
    }

    fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
        let mut x = vec![0; self.data.n_features()];
        let (labels, runners_up) = (0..self.data.n_rows())
            .map(|row| {
                self.data.read_row(row, &mut x);
                two_nearest(&x, centroids)
            })
            .unzip();
        Ok(TwoNearest {
            labels,
            runners_up,
            may_have_ties: true,
            n_doubtful: 0,
            n_audited: 0,
        })
    }
}

/// Nearest and second-nearest centroid of one row by exact squared distance, ties to the lower index.
#[must_use]
pub fn two_nearest(x: &[i32], centroids: &Centroids) -> (u32, u32) {
    let mut best = (u128::MAX, NO_CLUSTER);
    let mut second = best;
    for cluster in 0..centroids.n_clusters() {
        let candidate = (centroids.sq_dist(x, cluster), cluster as u32);
        if candidate < best {
            (best, second) = (candidate, best);
        } else if candidate < second {
            second = candidate;
        }
    }
    (best.1, second.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_index() {
        let centroids = Centroids::on_rows(1, &[4, 0, 4, 0]);
        assert_eq!(two_nearest(&[2], &centroids), (0, 1));
        assert_eq!(two_nearest(&[3], &centroids), (0, 2));
        assert_eq!(two_nearest(&[0], &Centroids::on_rows(1, &[9])), (0, NO_CLUSTER));
    }
}
