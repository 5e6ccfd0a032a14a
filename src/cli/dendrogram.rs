//! A tree in lines of text, its leaves one below the other and its root to the right.

use kohort::segments::WardTree;

/// One line per segment in [`WardTree::order`]. `heights` has one number per merge, none below the one before; the last
/// stands `room` columns to the right, unless more are needed to tell a group from its parts.
pub(super) fn lines(tree: &WardTree, heights: &[f64], room: usize) -> Vec<String> {
    let k = tree.n_segments();
    let mut place = vec![0; k];
    for (at, segment) in tree.order().into_iter().enumerate() {
        place[segment] = at;
    }
    let highest = heights.last().copied().unwrap_or_default().max(f64::MIN_POSITIVE);
    let mut lines = vec![String::new(); k];
    // Per group, the column that its line has come to.
    let mut reached = vec![0; k];
    for (merge, &height) in tree.merges().iter().zip(heights) {
        let scaled = (height / highest * (room - 2) as f64).round() as usize + 1;
        let column = scaled.max(reached[merge.first] + 1).max(reached[merge.second] + 1);
        let (top, bottom) = (place[merge.first], place[merge.second]);
        extend(&mut lines[top], '─', column);
        lines[top].push('┬');
        extend(&mut lines[bottom], '─', column);
        lines[bottom].push('┘');
        for line in &mut lines[top + 1..bottom] {
            extend(line, ' ', column);
            line.push('│');
        }
        reached[merge.first] = column;
    }
    if let Some(line) = lines.first_mut() {
        line.push('─');
    }
    lines
}

/// Fills a line up to a column.
fn extend(line: &mut String, with: char, column: usize) {
    let n = line.chars().count();
    line.extend(std::iter::repeat_n(with, column.saturating_sub(n)));
}

#[cfg(test)]
mod tests {
    use kohort::partial::ClusterPartial;

    use super::*;

    #[test]
    fn lines_meet_where_groups_are_joined() {
        let mut sums = ClusterPartial::zero(5, 1);
        let rows = [0, 100, 1, 110, 40];
        rows.iter()
            .enumerate()
            .for_each(|(segment, &x)| sums.add_row(segment, &[x], 1));
        let tree = WardTree::new(&sums).unwrap();
        assert_eq!(tree.order(), [0, 2, 4, 1, 3]);
        let drawn = ["─┬─┬─────┬─", "─┘ │     │", "───┘     │", "──┬──────┘", "──┘"];
        assert_eq!(lines(&tree, &[0.0, 1.0, 2.0, 8.0], 10), drawn);
    }

    #[test]
    fn a_group_stands_to_the_right_of_its_parts_however_near() {
        let mut sums = ClusterPartial::zero(4, 1);
        [0, 1, 3, 7]
            .iter()
            .enumerate()
            .for_each(|(segment, &x)| sums.add_row(segment, &[x], 1));
        let tree = WardTree::new(&sums).unwrap();
        let drawn = ["─┬┬┬─", "─┘││", "──┘│", "───┘"];
        assert_eq!(lines(&tree, &[0.0, 0.0, 0.0], 4), drawn);
        let mut one = ClusterPartial::zero(1, 1);
        one.add_row(0, &[5], 1);
        assert_eq!(lines(&WardTree::new(&one).unwrap(), &[], 10), ["─"]);
    }
}
