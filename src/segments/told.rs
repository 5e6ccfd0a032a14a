//! From exact figures to those that are told: where few rows stand behind one, or another could be found from it, it is
//! left out here, before anything is written, printed or drawn.

use super::effect::{self, Group};
use super::profile::{FeatureProfile, Profile, SegmentProfile};
use crate::cells::{Count, MinCell};
use crate::features::{FeaturePreparation, Preparation, ValueKind};
use crate::num::quantile::Deciles;

/// Exact figures of one feature in some rows.
#[derive(Debug)]
pub(super) struct Figures {
    /// `None` where no row has a value.
    pub(super) group: Option<Group>,
    pub(super) deciles: Option<Deciles>,
    /// Values in each bin.
    pub(super) bins: Vec<u64>,
    /// The middle value of the most typical rows.
    pub(super) typical: Option<f64>,
}

/// Exact figures of one feature.
#[derive(Debug)]
pub(super) struct FeatureFigures {
    /// The borders of its bins.
    pub(super) edges: Vec<f64>,
    /// Whether all its values are 0 or 1, so that its mean is a share of rows.
    pub(super) is_flag: bool,
    /// Of each segment, then of all rows.
    pub(super) rows: Vec<Figures>,
}

/// The profile of segments of these sizes.
pub(super) fn profile(
    preparation: &Preparation,
    figures: Vec<FeatureFigures>,
    sizes: &[u64],
    min_cell: MinCell,
) -> Profile {
    let n_rows = sizes.iter().sum();
    let told_sizes = min_cell.parts(sizes);
    let mut segments: Vec<SegmentProfile> = { (1..).zip(&told_sizes) }
        .map(|(segment, &count)| SegmentProfile {
            segment,
            count,
            share: count.share_of(Count::Exact(n_rows)),
            features: Vec::with_capacity(figures.len()),
        })
        .collect();
    let mut overall = Vec::with_capacity(figures.len());
    let mut first = 0;
    for features in preparation.features.chunk_by(|a, b| a.column == b.column) {
        let column = Column {
            features,
            figures: &figures[first..first + features.len()],
        };
        first += features.len();
        let cells: Vec<Vec<u64>> = { sizes.iter().enumerate() }
            .map(|(segment, &size)| column.cells(segment, size))
            .collect();
        let told = min_cell.table(&cells, &told_sizes);
        let all = Told {
            size: Count::Exact(n_rows),
            cells: &told.all,
            tells_figures: |n| min_cell.tells_figures(n),
        };
        let of_all = column.told(sizes.len(), &all, None);
        for (at, (segment, cells)) in segments.iter_mut().zip(&told.rows).enumerate() {
            let told = Told {
                size: told_sizes[at],
                cells,
                tells_figures: |n| min_cell.tells_figures(n) && !min_cell.is_small(sizes[at]),
            };
            segment.features.extend(column.told(at, &told, Some(&of_all)));
        }
        overall.extend(of_all);
    }
    Profile {
        segments,
        overall,
        edges: figures.into_iter().map(|feature| feature.edges).collect(),
    }
}

/// What may be told of a column in some rows.
struct Told<'t, F> {
    size: Count,
    /// Of [`Column::cells`].
    cells: &'t [Count],
    /// Whether figures of so many values are told.
    tells_figures: F,
}

/// The features of one column: a table of segments by categories, in which every row is once.
struct Column<'c> {
    features: &'c [FeaturePreparation],
    figures: &'c [FeatureFigures],
}

impl Column<'_> {
    fn is_text(&self) -> bool {
        matches!(self.features[0].kind, ValueKind::Level(_) | ValueKind::OtherThan(_))
    }

    /// Rows in each category: levels, or the bins of numbers; last, rows without a value.
    fn cells(&self, at: usize, size: u64) -> Vec<u64> {
        let n_present = self.figures[0].rows[at].n();
        let mut cells = if self.is_text() {
            let levels =
                { self.features.iter().zip(self.figures) }.filter(|(feature, _)| feature.kind != ValueKind::Missing);
            let mut cells: Vec<u64> = levels.map(|(_, figures)| figures.rows[at].bins[1]).collect();
            // Levels without a feature.
            cells.push(n_present.saturating_sub(cells.iter().sum()));
            cells
        } else {
            self.figures[0].rows[at].bins.clone()
        };
        cells.push(size - n_present);
        cells
    }

    fn told<F: Fn(u64) -> bool>(
        &self,
        at: usize,
        told: &Told<'_, F>,
        all: Option<&Vec<FeatureProfile>>,
    ) -> Vec<FeatureProfile> {
        let missing = *told.cells.last().expect("rows without a value are a category");
        let features = self.features.iter().zip(self.figures).enumerate();
        let profile = |(place, (feature, figures)): (usize, (&FeaturePreparation, &FeatureFigures))| {
            let (count, histogram) = match &feature.kind {
                ValueKind::Missing => (told.size, vec![told.size.minus(missing), missing]),
                ValueKind::Level(_) | ValueKind::OtherThan(_) => {
                    let (count, yes) = (told.size.minus(missing), told.cells[place]);
                    (count, vec![count.minus(yes), yes])
                }
                // What few rows stand behind is decided by the column's ages, or numbers of rows, alone.
                kind if kind.is_coordinate() => (told.size.minus(missing), Vec::new()),
                // In very many segments there are no bins, and one category of all that have a value.
                _ if figures.edges.is_empty() => (told.size.minus(missing), Vec::new()),
                _ => (told.size.minus(missing), told.cells[..told.cells.len() - 1].to_vec()),
            };
            let profile = FeatureProfile {
                feature: feature.name(),
                count,
                share_missing: match feature.kind {
                    ValueKind::Missing => Some(0.0),
                    _ => { missing.exact().zip(told.size.exact()) }.map(|(n, size)| n as f32 / size.max(1) as f32),
                },
                histogram,
                ..FeatureProfile::default()
            };
            let (own, of_all) = (&figures.rows[at], figures.rows.last().expect("all rows stand last"));
            let all_told = all.map(|all| &all[place]);
            if figures.is_flag {
                profile.with_share(own, of_all, all_told)
            } else if (told.tells_figures)(own.n()) {
                profile.with_figures(own, of_all)
            } else {
                profile
            }
        };
        features.map(profile).collect()
    }
}

impl Figures {
    fn n(&self) -> u64 {
        self.group.map_or(0, |group| group.n)
    }
}

impl FeatureProfile {
    /// With everything that is known.
    fn with_figures(self, own: &Figures, all: &Figures) -> Self {
        let both = own.group.zip(all.group);
        Self {
            mean: own.group.map(|group| group.mean),
            std: own.group.map(|group| group.std),
            median: own.deciles.map(|deciles| deciles.median),
            p10: own.deciles.map(|deciles| deciles.p10),
            p90: own.deciles.map(|deciles| deciles.p90),
            difference_sd: both.map(|(own, all)| effect::difference(own, all)),
            difference_interval: both.and_then(|(own, all)| effect::interval(own, all)),
            typical: own.typical,
            ..self
        }
    }

    /// With the share of a level, where the numbers behind it are told; else with its bounds. Quantiles of zeros and ones
    /// would tell as much as the share.
    fn with_share(self, own: &Figures, all: &Figures, all_told: Option<&Self>) -> Self {
        let n_with = self.histogram[1];
        let Some(share) = n_with.share_of(self.count) else {
            let [low, high] = n_with.shares_of(self.count);
            return Self {
                // None of them have it, however many they are.
                mean: (high <= 0.0).then_some(0.0),
                mean_bounds: (high > 0.0).then_some([low, high]),
                ..self
            };
        };
        let with = if self.count == Count::Exact(0) {
            self
        } else {
            self.with_figures(own, all)
        };
        debug_assert!(with.mean.is_none_or(|mean| mean == share));
        match all_told {
            // The mean of all could be found from the difference.
            Some(all) if all.mean.is_none() => Self {
                difference_sd: None,
                difference_interval: None,
                ..with
            },
            _ => with,
        }
    }
}
