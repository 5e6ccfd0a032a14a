//! The decision about the number of segments.

use super::*;

/// The decision in sentences, its curves, and the figures behind them.
pub(super) fn section(report: &Report) -> String {
    let Some(selection) = &report.record.selection else {
        return format!(
            "<p>{} were asked for. <code>kohort sweep</code>, or <code>kohort fit -k auto</code>, judges a range of \
             numbers and says which stands out.</p>\n",
            figures::plural(report.record.n_clusters as u64, "segment")
        );
    };
    let sweep = &selection.sweep;
    let reasons: String = { sweep.decision.reasons.iter() }
        .map(|reason| format!("<li>{}</li>\n", sentence(reason)))
        .collect();
    let curve = |name, class, value: &dyn Fn(&crate::select::Candidate) -> Option<f64>| Curve {
        name,
        class,
        points: sweep
            .candidates
            .iter()
            .map(|candidate| (candidate.k, value(candidate)))
            .collect(),
    };
    let curves = [
        curve("stability", "one", &|c| c.stability.as_ref().map(|s| s.adjusted_rand)),
        curve("silhouette", "two", &|c| Some(c.silhouette)),
        curve("explained", "three", &|c| Some(c.share_explained)),
    ];
    format!(
        "<ul class=\"plain\">\n{reasons}</ul>\n<figure>{}<figcaption>Stability (solid): agreement \
         with {} resamples, adjusted Rand index. Silhouette (dashed): how much nearer rows are to their own segment than \
         to the next. Explained (dotted): share of the scatter that lies between segments; it always \
         grows.</figcaption></figure>\n{}",
        svg::curves(&curves, sweep.decision.k),
        sweep.n_resamples,
        candidates(sweep),
    )
}

/// The share of the smallest segment, or what it is at most.
fn smallest(c: &crate::select::Candidate) -> String {
    let is_told = c.sizes.iter().all(|size| size.exact().is_some());
    format!("{}{}", if is_told { "" } else { "at most " }, percent(c.smallest_share))
}

fn candidates(sweep: &crate::select::Sweep) -> String {
    let row = |c: &crate::select::Candidate| {
        let chosen = c.k == sweep.decision.k;
        let stability = c
            .stability
            .as_ref()
            .map_or_else(String::new, |s| format!("{:.3}", s.adjusted_rand));
        format!(
            "<tr{}><th scope=\"row\">{}{}</th><td>{stability}</td><td>{:.3}</td><td class=\"n\">{} of {}</td><td>{}</td>\
             <td>{}</td><td>{:.3}</td><td>{}</td></tr>\n",
            if chosen { " class=\"here\"" } else { "" },
            c.k,
            if chosen { " (chosen)" } else { "" },
            c.silhouette,
            c.n_apart(),
            c.k,
            smallest(c),
            percent(c.share_explained),
            c.davies_bouldin,
            c.calinski_harabasz.map_or_else(String::new, number),
        )
    };
    let rows: String = sweep.candidates.iter().map(row).collect();
    let heads: String = [
        "segments",
        "stability",
        "silhouette",
        "with a gap",
        "smallest",
        "explained",
        "Davies-Bouldin",
        "Calinski-Harabasz",
    ]
    .map(|head| format!("<th scope=\"col\">{head}</th>"))
    .concat();
    format!(
        "<div class=\"scroll\"><table><caption>Every number tried</caption><thead><tr>{heads}</tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>\n"
    )
}
