//! Redis' glob patterns: `*`, `?`, `[a-z]`, `[^a]`, and `\` for a literal.
//!
//! Work is bounded by pattern length times text length: a mismatch returns to the last `*` only,
//! which suffices because an earlier `*` could not take more than the last one can give back.

/// What one pattern element does with one byte of text.
struct Step<'a> {
    matches: bool,
    rest: &'a [u8],
}

/// Whether a text matches a pattern, from end to end, by bytes.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on after a mismatch: the pattern after the last star, and the text it may eat.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some(rest) = pattern.strip_prefix(b"*") {
            pattern = rest;
            star = Some((rest, text));
            continue;
        }
        let advanced = match text.split_first() {
            None => return pattern.is_empty(),
            Some((byte, after)) => {
                step(pattern, *byte).filter(|step| step.matches).map(|step| (step.rest, after))
            }
        };
        if let Some((rest, after)) = advanced {
            (pattern, text) = (rest, after);
            continue;
        }
        let Some((resume, [_, eaten @ ..])) = star else { return false };
        (pattern, text) = (resume, eaten);
        star = Some((resume, eaten));
    }
}

/// The bytes that every match starts with, so that a scan can start and end there.
#[must_use]
pub fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    let end = pattern.iter().position(special).unwrap_or(pattern.len());
    pattern.get(..end).unwrap_or_default()
}

/// Whether a pattern matches every text.
#[must_use]
pub fn matches_all(pattern: &[u8]) -> bool {
    !pattern.is_empty() && pattern.iter().all(|byte| *byte == b'*')
}

/// Takes the first element of a pattern, other than `*`; `None` at its end.
fn step(pattern: &[u8], byte: u8) -> Option<Step<'_>> {
    Some(match pattern {
        [] => return None,
        [b'?', rest @ ..] => Step { matches: true, rest },
        [b'[', rest @ ..] => class(rest, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            Step { matches: *literal == byte, rest }
        }
    })
}

/// Takes a class, after its bracket. A class that is not closed ends with the pattern.
fn class(pattern: &[u8], byte: u8) -> Step<'_> {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [] => break,
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [b'\\', literal, after @ ..] => {
                found |= *literal == byte;
                after
            }
            [from, b'-', to, after @ ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                after
            }
            [literal, after @ ..] => {
                found |= *literal == byte;
                after
            }
        };
    }
    Step { matches: found != negated, rest }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn agrees_with_redis_on_examples() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h[a-b]llo", "hcllo", false),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("a\\", "a\\", true),
            ("[\\]]", "]", true),
            ("[abc", "b", true),
            ("[]", "a", false),
            ("[^]", "a", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("user:*:name", "user:17:name", true),
            ("a*", "b", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_its_length_times_the_texts() {
        let pattern = b"a*".repeat(1_000);
        let text = [b"a".repeat(10_000), b"b".to_vec()].concat();
        let hostile = [pattern, b"c".to_vec()].concat();
        // Exponential matching would not end in the life of the universe.
        assert!(!matches(&hostile, &text));
    }

    /// The definition, without care for cost.
    fn specification(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => {
                (0..=text.len()).any(|eaten| specification(rest, &text[eaten..]))
            }
            (_, []) => false,
            (_, [byte, after @ ..]) => {
                step(pattern, *byte).is_some_and(|s| s.matches && specification(s.rest, after))
            }
        }
    }

    proptest! {
        #[test]
        fn returning_to_the_last_star_suffices(
            pattern in "[ab*?\\[\\]^\\\\-]{0,9}", text in "[ab\\]-]{0,8}",
        ) {
            prop_assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                specification(pattern.as_bytes(), text.as_bytes())
            );
        }

        #[test]
        fn what_matches_starts_with_the_literal_prefix(
            pattern in "[ab*?\\\\]{0,6}", text in "[ab\\\\]{0,6}",
        ) {
            if matches(pattern.as_bytes(), text.as_bytes()) {
                prop_assert!(text.as_bytes().starts_with(literal_prefix(pattern.as_bytes())));
            }
        }
    }
}
