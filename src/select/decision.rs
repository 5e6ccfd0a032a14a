//! Which number of clusters to take, and why, in sentences.
//!
//! The rule, in this order. Candidates whose smallest cluster is below the least share, or that lie outside the
//! preferred range, are left out (unless that leaves none, which is said). Of the others
//!
//! 1. *clear*: the labels come out again in every resample ([`CLEAR`]), and every cluster has a gap to every other
//!    ([`GAP`]). The largest such k is taken, as a smaller one lumps groups together that stand apart, unless its rows lie
//!    far less clearly in their clusters than those of another such k ([`CLEARNESS`]).
//! 2. *fair*: the labels come out again, on average and in every resample ([`FAIR`]), but some border cuts through a
//!    crowd. The largest such k is taken here too, unless it comes out again less well than another ([`FAIR_LOSS`]): it
//!    says more, and says it reliably. One whose clusters mostly have gaps comes before the others.
//! 3. *none*: neither. The k with the best mean agreement is taken, and it is said that no k stands out.
//!
//! A cut in two is the easiest to make (those without the internet, and all others) and says the least: if it is clear,
//! it stands behind larger numbers that are clear, or fair with clusters that mostly have gaps.
//!
//! The thresholds were set on generated tables with known clusters (`benches/choose_k.rs`).

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::separation::GAP;
use super::{Candidate, SweepOptions};

/// Least adjusted Rand index over the resamples that makes a candidate clear, where it has gaps.
pub const CLEAR: f64 = 0.9;
/// Least share of the best simplified silhouette of all clear candidates that a larger one must have.
pub const CLEARNESS: f64 = 0.85;
/// Mean and least that make it fair.
pub const FAIR: (f64, f64) = (0.9, 0.75);

/// So much less agreement than the best of the fair candidates a larger one may have.
pub const FAIR_LOSS: f64 = 0.03;

/// How far the data speaks for the number chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// No number stands out.
    None,
    /// It comes out again, but its segments are parts of a continuum.
    Fair,
    /// It comes out again, and its segments stand apart.
    Clear,
}

/// The number of clusters to take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The number.
    pub k: usize,
    /// How far the data speaks for it.
    pub strength: Strength,
    /// The number to take otherwise; none where only one was tried.
    pub runner_up: Option<usize>,
    /// Why, one sentence each.
    pub reasons: Vec<String>,
}

/// Decides between candidates, of which there is one at least.
pub(super) fn decide(candidates: &[Candidate], options: &SweepOptions) -> Decision {
    let mut reasons = Vec::new();
    let mut ranked = allowed(candidates, options, &mut reasons);
    rank(&mut ranked);
    let (chosen, runner_up) = (ranked[0], ranked.get(1).copied());
    let mut told = vec![verdict(chosen)];
    told.extend(chosen.next_in(candidates).and_then(|next| why_not_more(chosen, next)));
    told.extend(runner_up.map(|other| about_runner_up(chosen, other)));
    if candidates.iter().any(|c| level(c) == Level::ClearCutInTwo) && chosen.k > 2 {
        told.push("A cut in two is clear as well, but says less.".into());
    }
    told.append(&mut reasons);
    if let Some(prefer) = &options.prefer {
        told.extend(preferred_over(candidates, options, prefer, chosen));
    }
    Decision {
        k: chosen.k,
        strength: strength(chosen),
        runner_up: runner_up.map(|other| other.k),
        reasons: told,
    }
}

/// The candidates that the options leave, and what is to be said of that.
fn allowed<'c>(candidates: &'c [Candidate], options: &SweepOptions, reasons: &mut Vec<String>) -> Vec<&'c Candidate> {
    let large_enough = |c: &&Candidate| c.smallest_share >= options.min_share;
    let preferred = |c: &&Candidate| options.prefer.as_ref().is_none_or(|prefer| prefer.contains(&c.k));
    let preferred: Vec<&Candidate> = match candidates.iter().filter(preferred).collect::<Vec<_>>() {
        none if none.is_empty() => {
            reasons.push("None of the preferred numbers could be fitted.".into());
            candidates.iter().collect()
        }
        some => some,
    };
    let kept: Vec<&Candidate> = preferred.iter().copied().filter(large_enough).collect();
    let left_out: Vec<&Candidate> = preferred.iter().copied().filter(|c| !large_enough(c)).collect();
    let least = percent(options.min_share);
    if kept.is_empty() {
        reasons.push(format!(
            "Every number tried leaves a segment with less than {least} of the weight."
        ));
        return preferred;
    }
    if !left_out.is_empty() {
        let numbers = listed(left_out.iter().map(|c| c.k));
        reasons.push(format!(
            "Left out: {numbers}, where the smallest segment has less than {least} of the weight."
        ));
    }
    kept
}

/// Sorts candidates, the best first: by level, and within one the largest k that does not lose too much against others of
/// its level. Where nothing holds, by agreement.
fn rank(candidates: &mut [&Candidate]) {
    let all = candidates.to_vec();
    let best = |of: Level, figure: fn(&Candidate) -> f64| {
        let figures = all.iter().filter(|c| level(c) == of).map(|c| figure(c));
        figures.fold(f64::MIN, f64::max)
    };
    let holds = |c: &Candidate| match level(c) {
        Level::Clear => c.simplified_silhouette >= CLEARNESS * best(Level::Clear, |c| c.simplified_silhouette),
        Level::None => true,
        of => agreement(c) >= best(of, agreement) - FAIR_LOSS,
    };
    let within = |c: &Candidate| match level(c) {
        Level::None => agreement(c),
        _ => c.k as f64,
    };
    candidates.sort_by(|a, b| {
        let levels = (level(b), holds(b)).cmp(&(level(a), holds(a)));
        levels.then(within(b).total_cmp(&within(a))).then(a.k.cmp(&b.k))
    });
}

/// What a candidate is ranked by, the best last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    None,
    Fair,
    ClearCutInTwo,
    FairWithGaps,
    Clear,
}

fn level(c: &Candidate) -> Level {
    match strength(c) {
        Strength::None => Level::None,
        Strength::Fair if 2 * c.n_apart() >= c.k && c.k > 2 => Level::FairWithGaps,
        Strength::Fair => Level::Fair,
        Strength::Clear if c.k == 2 => Level::ClearCutInTwo,
        Strength::Clear => Level::Clear,
    }
}

fn strength(c: &Candidate) -> Strength {
    let least = least_agreement(c);
    if least >= CLEAR && c.n_apart() == c.k {
        Strength::Clear
    } else if agreement(c) >= FAIR.0 && least >= FAIR.1 {
        Strength::Fair
    } else {
        Strength::None
    }
}

fn least_agreement(c: &Candidate) -> f64 {
    c.stability
        .as_ref()
        .map_or(0.0, |stability| stability.least_adjusted_rand)
}

fn agreement(c: &Candidate) -> f64 {
    c.stability
        .as_ref()
        .map_or(c.silhouette - 1.0, |stability| stability.adjusted_rand)
}

fn verdict(c: &Candidate) -> String {
    let stability = |how: &str| match &c.stability {
        Some(s) => format!(
            "{how} (adjusted Rand {:.2} on average, {:.2} at least)",
            s.adjusted_rand, s.least_adjusted_rand
        ),
        None => "there are too few rows to draw them again".into(),
    };
    let k = c.k;
    match strength(c) {
        Strength::Clear => format!(
            "{k} segments stand out: each stands apart from the others, and {}.",
            stability("they come out again when the rows are drawn again")
        ),
        Strength::Fair => format!(
            "{k} segments are a sound cut, not a discovery: {}, but {} of {k} have no gap to a neighbour, so \
             their borders run through a crowd.",
            stability("they come out again when the rows are drawn again"),
            k - c.n_apart(),
        ),
        Strength::None => format!(
            "No k stands out: even at {k}, the most stable number, {}. Take the segments as a rough order, and look at \
             other features.",
            stability("other segments come out when the rows are drawn again")
        ),
    }
}

/// Why not one segment more.
fn why_not_more(chosen: &Candidate, next: &Candidate) -> Option<String> {
    let without_gap = next.k - next.n_apart();
    let k = next.k;
    if strength(next) == Strength::None && strength(chosen) > Strength::None {
        let (mean, least) = (agreement(next), least_agreement(next));
        return Some(format!(
            "With {k}, other segments come out on other draws of the rows (adjusted Rand {mean:.2} on average, {least:.2} \
             at least)."
        ));
    }
    if strength(chosen) == Strength::Clear && without_gap > 0 {
        return Some(format!(
            "With {k}, {without_gap} have no gap to a neighbour: a group is cut in two."
        ));
    }
    let (here, there) = (chosen.simplified_silhouette, next.simplified_silhouette);
    (there < here).then(|| {
        format!("With {k}, rows lie less clearly in their segments (simplified silhouette {there:.2} after {here:.2}).")
    })
}

fn about_runner_up(chosen: &Candidate, other: &Candidate) -> String {
    let agreement = other.stability.as_ref().map_or_else(
        || "not drawn again".to_owned(),
        |stability| format!("adjusted Rand {:.2}", stability.adjusted_rand),
    );
    format!(
        "Runner-up: {} segments ({agreement}, {} of {} stand apart, silhouette {:.2} against {:.2}).",
        other.k,
        other.n_apart(),
        other.k,
        other.silhouette,
        chosen.silhouette
    )
}

/// What would have been taken without a preference, if that is another number and the data speaks more for it.
fn preferred_over(
    candidates: &[Candidate],
    options: &SweepOptions,
    prefer: &RangeInclusive<usize>,
    chosen: &Candidate,
) -> Option<String> {
    let free = SweepOptions {
        prefer: None,
        ..options.clone()
    };
    let mut all = allowed(candidates, &free, &mut Vec::new());
    rank(&mut all);
    let best = all[0];
    (best.k != chosen.k).then(|| {
        format!(
            "Without the preference for {} to {}, {} segments would be taken.",
            prefer.start(),
            prefer.end(),
            best.k
        )
    })
}

fn percent(share: f64) -> String {
    format!("{}%", (share * 1e6).round() / 1e4)
}

/// `7, 8 and 11`, neighbours as `7 to 9`.
fn listed(numbers: impl Iterator<Item = usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let text = |&(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first} to {last}"),
    };
    let texts: Vec<String> = runs.iter().map(text).collect();
    match texts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => texts.concat(),
    }
}

impl Candidate {
    /// Clusters with a gap to every other.
    #[must_use]
    pub fn n_apart(&self) -> usize {
        self.valleys.iter().filter(|&&valley| valley <= GAP).count()
    }

    fn next_in<'c>(&self, candidates: &'c [Candidate]) -> Option<&'c Candidate> {
        candidates.iter().find(|other| other.k > self.k)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Stability;
    use super::*;

    /// Agreement, least agreement, clusters with a gap.
    fn candidate(k: usize, mean: f64, least: f64, n_apart: usize) -> Candidate {
        let valley = |cluster: usize| if cluster < n_apart { 0.1 } else { 1.0 };
        Candidate {
            k,
            labels_hash: String::new(),
            inertia: 1.0,
            inertia_exact: "1".into(),
            n_iter: 1,
            sizes: vec![crate::cells::Count::Exact(10); k],
            smallest_share: 1.0 / k as f64,
            share_explained: 0.5,
            silhouette: 0.5,
            segment_silhouettes: vec![0.5; k],
            simplified_silhouette: 0.6 - 0.01 * k as f64,
            davies_bouldin: 1.0,
            calinski_harabasz: Some(100.0),
            stability: Some(Stability {
                adjusted_rand: mean,
                least_adjusted_rand: least,
                refined_adjusted_rand: 1.0,
                recovered: vec![mean; k],
            }),
            valleys: (0..k).map(valley).collect(),
        }
    }

    fn decided(candidates: &[Candidate], options: &SweepOptions) -> (usize, Strength, Option<usize>) {
        let decision = decide(candidates, options);
        (decision.k, decision.strength, decision.runner_up)
    }

    #[test]
    fn the_largest_clear_number_is_taken() {
        let all = [
            candidate(2, 1.0, 0.99, 2),
            candidate(3, 0.8, 0.4, 3),
            candidate(4, 0.99, 0.95, 4),
            candidate(5, 0.99, 0.95, 3),
        ];
        let options = SweepOptions::default();
        assert_eq!(decided(&all, &options), (4, Strength::Clear, Some(5)));
        let decision = decide(&all, &options);
        assert!(decision.reasons[0].starts_with("4 segments stand out"), "{decision:?}");
        assert!(decision.reasons[1].contains("With 5, 2 have no gap"), "{decision:?}");
        assert!(decision.reasons[2].starts_with("Runner-up: 5"), "{decision:?}");
    }

    #[test]
    fn a_cut_in_two_stands_behind_numbers_that_say_more() {
        let options = SweepOptions::default();
        let two = candidate(2, 1.0, 1.0, 2);
        let with_gaps = [two.clone(), candidate(3, 0.95, 0.9, 1), candidate(5, 0.95, 0.9, 3)];
        assert_eq!(decided(&with_gaps, &options), (5, Strength::Fair, Some(2)));
        let told = decide(&with_gaps, &options).reasons.concat();
        assert!(told.contains("A cut in two is clear as well"), "{told}");
        let halves = [two.clone(), candidate(3, 0.95, 0.9, 1), candidate(4, 0.95, 0.9, 1)];
        assert_eq!(decided(&halves, &options), (2, Strength::Clear, Some(4)));
        // However much less clearly its rows lie.
        let mut four = candidate(4, 1.0, 1.0, 4);
        four.simplified_silhouette = 0.2;
        assert_eq!(decided(&[two, four], &options), (4, Strength::Clear, Some(2)));
    }

    #[test]
    fn a_clear_number_must_not_lose_too_much() {
        let mut all = [candidate(3, 1.0, 1.0, 3), candidate(4, 1.0, 1.0, 4)];
        let options = SweepOptions::default();
        (all[0].simplified_silhouette, all[1].simplified_silhouette) = (0.8, 0.7);
        assert_eq!(decided(&all, &options), (4, Strength::Clear, Some(3)));
        all[1].simplified_silhouette = 0.6;
        assert_eq!(decided(&all, &options), (3, Strength::Clear, Some(4)));
        assert!(decide(&all, &options).reasons[1].contains("less clearly"));
    }

    #[test]
    fn a_continuum_is_called_one_and_chance_too() {
        let options = SweepOptions::default();
        let fair = [
            candidate(2, 0.7, 0.5, 0),
            candidate(3, 0.95, 0.95, 0),
            candidate(4, 0.93, 0.8, 1),
            candidate(5, 0.91, 0.8, 1),
        ];
        assert_eq!(decided(&fair, &options), (4, Strength::Fair, Some(3)));
        assert!(decide(&fair, &options).reasons[0].contains("not a discovery"));
        let chance = [candidate(2, 0.5, 0.1, 2), candidate(3, 0.6, 0.2, 0)];
        assert_eq!(decided(&chance, &options), (3, Strength::None, Some(2)));
        assert!(decide(&chance, &options).reasons[0].starts_with("No k stands out"));
    }

    #[test]
    fn wishes_are_kept_where_they_can_be_and_named() {
        let all = [
            candidate(2, 1.0, 1.0, 2),
            candidate(3, 0.9, 0.8, 1),
            candidate(4, 0.9, 0.8, 0),
        ];
        let prefer = SweepOptions {
            prefer: Some(3..=5),
            ..SweepOptions::default()
        };
        assert_eq!(decided(&all, &prefer).0, 4);
        let told = decide(&all, &prefer).reasons.concat();
        assert!(told.contains("Without the preference for 3 to 5, 2 segments"), "{told}");
        let large = SweepOptions {
            min_share: 0.3,
            ..SweepOptions::default()
        };
        let told = decide(&all, &large).reasons.concat();
        assert!(
            told.contains("Left out: 4, where the smallest segment has less than 30%"),
            "{told}"
        );
        let larger = SweepOptions {
            min_share: 0.6,
            ..prefer
        };
        let decision = decide(&all, &larger);
        assert_eq!(decision.k, 4);
        assert!(decision.reasons.concat().contains("Every number tried"), "{decision:?}");
    }

    #[test]
    fn numbers_are_listed_in_runs() {
        assert_eq!(listed([7, 8, 9, 11].into_iter()), "7 to 9 and 11");
        assert_eq!(listed([3].into_iter()), "3");
        assert_eq!((percent(0.02), percent(0.0125)), ("2%".into(), "1.25%".into()));
    }
}
