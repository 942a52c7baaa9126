//! What differs between two texts.

/// The lines that only one of two texts has, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Difference {
    pub(crate) theirs: String,
    pub(crate) ours: String,
}

impl Difference {
    /// The difference, unless there is none.
    pub(crate) fn between(theirs: &str, ours: &str) -> Option<Self> {
        if theirs == ours {
            return None;
        }
        let (left, right) = (lines(theirs), lines(ours));
        let start = same(left.iter(), right.iter());
        let (left, right) = (&left[start..], &right[start..]);
        let end = same(left.iter().rev(), right.iter().rev());
        let (left, right) = (&left[..left.len() - end], &right[..right.len() - end]);
        Some(Self::of_lines(left, right))
    }

    /// By the longest common subsequence.
    fn of_lines(left: &[&str], right: &[&str]) -> Self {
        let width = right.len() + 1;
        let mut lengths = vec![0_usize; (left.len() + 1) * width];
        for l in (0..left.len()).rev() {
            for r in (0..right.len()).rev() {
                lengths[l * width + r] = match left[l] == right[r] {
                    true => lengths[(l + 1) * width + r + 1] + 1,
                    false => lengths[(l + 1) * width + r].max(lengths[l * width + r + 1]),
                };
            }
        }
        let mut difference = Self::default();
        let (mut l, mut r) = (0, 0);
        while l < left.len() || r < right.len() {
            if l < left.len() && r < right.len() && left[l] == right[r] {
                (l, r) = (l + 1, r + 1);
            } else if r == right.len()
                || (l < left.len() && lengths[(l + 1) * width + r] >= lengths[l * width + r + 1])
            {
                difference.theirs.push_str(left[l]);
                l += 1;
            } else {
                difference.ours.push_str(right[r]);
                r += 1;
            }
        }
        difference
    }
}

/// The lines of a text, each with its end, so that a missing last one shows.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn same<'a>(
    left: impl Iterator<Item = &'a &'a str>,
    right: impl Iterator<Item = &'a &'a str>,
) -> usize {
    left.zip(right).take_while(|(l, r)| l == r).count()
}

#[cfg(test)]
mod tests {
    use super::Difference;

    #[test]
    fn lines_of_one_side_are_found() {
        let difference = Difference::between("a\nb\nc\nd\n", "a\nc\nx\nd\n").unwrap();
        assert_eq!(difference.theirs, "b\n");
        assert_eq!(difference.ours, "x\n");
        assert_eq!(Difference::between("a\n", "a\n"), None);
        let moved = Difference::between("a\nb\n", "b\na\n").unwrap();
        assert_eq!((moved.theirs.len(), moved.ours.len()), (2, 2));
        let end = Difference::between("a\n", "a").unwrap();
        assert_eq!((end.theirs.as_str(), end.ours.as_str()), ("a\n", "a"));
    }
}
