//! What a person who wrote an unknown word may have meant.

/// Most edits between what was written and what is suggested.
const EDITS_MAX: usize = 2;

/// The closest of some words, if it is close enough to be a slip.
#[must_use]
pub fn closest<'a>(written: &str, words: &[&'a str]) -> Option<&'a str> {
    words
        .iter()
        .map(|word| (edits(written, word), *word))
        .filter(|(edits, word)| *edits <= EDITS_MAX && *edits < word.len())
        .min()
        .map(|(_, word)| word)
}

/// Levenshtein's distance, in characters.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (done, from) in a.chars().enumerate() {
        let mut left = done + 1;
        let mut next = vec![left];
        for ((to, above), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            left = (left + 1).min(above + 1).min(diagonal + usize::from(from != *to));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_a_slip_and_nothing_far_away() {
        let words = ["detection", "timeout", "retries"];
        assert_eq!(closest("detecton", &words), Some("detection"));
        assert_eq!(closest("retry_s", &words), Some("retries"));
        assert_eq!(closest("colour", &words), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
