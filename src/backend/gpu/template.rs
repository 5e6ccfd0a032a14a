//! Kernels' text with numbers and repeated lines filled in: what WGSL's `override` constants cannot say.
//!
//! A template is WGSL but for two things. A line `const NAME: u32 = 4u;` takes another value. And the lines between
//! `//@ for j in NAME` and `//@ end` appear once for each number below that of `NAME`, or for each word in
//! `//@ for i in x y z w`, with `$j` replaced by it; those after `//@ for i j in NAME` once for each entry of the list
//! `NAME`, with one replaced for each of its numbers. Loops may stand in one another.

/// A list: its name, and its entries of several numbers each.
pub(crate) type List = (&'static str, Vec<Vec<usize>>);

/// `text` with the values of `constants`, and its loops, over these or `lists`, written out.
///
/// # Panics
/// If the template lacks a constant, or a loop its end or its numbers: a defect of the text, which tests would show.
pub(crate) fn expand(text: &str, constants: &[(&str, usize)], lists: &[List]) -> String {
    let text = constants
        .iter()
        .fold(text.to_owned(), |text, &(name, value)| with_const(&text, name, value));
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::with_capacity(2 * text.len());
    repeat(&lines, &|list| items(list, constants, lists), &mut Vec::new(), &mut out);
    out
}

/// Writes lines out, under the values that the loops around them have.
fn repeat(
    lines: &[&str],
    items: &dyn Fn(&str) -> Vec<Vec<String>>,
    values: &mut Vec<(String, String)>,
    out: &mut String,
) {
    let mut at = 0;
    while at < lines.len() {
        let Some(head) = lines[at].trim().strip_prefix("//@ for ") else {
            let line = values
                .iter()
                .fold(lines[at].to_owned(), |line, (name, value)| line.replace(name, value));
            out.push_str(&line);
            out.push('\n');
            at += 1;
            continue;
        };
        let end = at + end_of_loop(&lines[at..]);
        let (names, list) = head.split_once(" in ").expect("a loop over something");
        let outer = values.len();
        for item in items(list) {
            assert_eq!(
                names.split(' ').count(),
                item.len(),
                "the numbers of an entry of {list}"
            );
            values.extend(names.split(' ').map(|name| format!("${name}")).zip(item));
            repeat(&lines[at + 1..end], items, values, out);
            values.truncate(outer);
        }
        at = end + 1;
    }
}

/// Where the loop that starts in the first line ends.
fn end_of_loop(lines: &[&str]) -> usize {
    let mut depth = 0;
    let end = lines.iter().position(|line| {
        match line.trim() {
            "//@ end" => depth -= 1,
            line if line.starts_with("//@ for ") => depth += 1,
            _ => {}
        }
        depth == 0
    });
    end.expect("a loop has an end")
}

/// What a loop goes through: for each turn, a text for each of its names.
fn items(list: &str, constants: &[(&str, usize)], lists: &[List]) -> Vec<Vec<String>> {
    let texts = |entry: &Vec<usize>| entry.iter().map(usize::to_string).collect();
    if let Some((_, entries)) = lists.iter().find(|(name, _)| *name == list) {
        return entries.iter().map(texts).collect();
    }
    if let Some(&(_, n)) = constants.iter().find(|(name, _)| *name == list) {
        return (0..n).map(|i| vec![i.to_string()]).collect();
    }
    assert!(list.contains(' '), "{list} has no value");
    list.split(' ').map(|word| vec![word.to_owned()]).collect()
}

/// `text` with another value in its one line `const NAME: u32 = ...u;`.
fn with_const(text: &str, name: &str, value: usize) -> String {
    let start = format!("const {name}: u32 = ");
    let at = text.find(&start).expect("the template declares it") + start.len();
    let end = at + text[at..].find("u;").expect("an unsigned literal");
    format!("{}{value}{}", &text[..at], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_are_written_out_inside_one_another() {
        let text =
            "const N: u32 = 4u; // so many\n//@ for c in N\na$c\n  //@ for i in x y\nb$c$i $cu\n  //@ end\n//@ end\nz";
        assert_eq!(
            expand(text, &[("N", 2)], &[]),
            "const N: u32 = 2u; // so many\na0\nb0x 0u\nb0y 0u\na1\nb1x 1u\nb1y 1u\nz\n"
        );
        assert_eq!(expand(text, &[("N", 0)], &[]), "const N: u32 = 0u; // so many\nz\n");
    }

    #[test]
    fn entries_of_a_list_have_a_name_for_each_number() {
        let text = "//@ for i j in PAIRS\na$i $ju\n//@ end\n//@ for i in NONE\nb\n//@ end";
        let lists = [("PAIRS", vec![vec![0, 7], vec![1, 8]]), ("NONE", vec![])];
        assert_eq!(expand(text, &[], &lists), "a0 7u\na1 8u\n");
    }

    #[test]
    #[should_panic(expected = "M has no value")]
    fn a_loop_over_nothing_known_is_a_defect() {
        expand("//@ for c in M\n//@ end", &[], &[]);
    }
}
