//! Texts with wildcards: `*` stands for any characters or none, `?` for one.

/// A text with wildcards, as what lies between its stars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// What the text starts with.
    first: Piece,
    /// What follows in this order, each after a star; the text ends with the last.
    rest: Vec<Piece>,
}

/// Characters; `None` is any one.
type Piece = Vec<Option<char>>;

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let piece = |text: &str| text.chars().map(|char| (char != '?').then_some(char)).collect();
        let mut pieces = text.split('*').map(piece);
        let first = pieces.next().unwrap_or_default();
        Self { first, rest: pieces.collect() }
    }

    /// Whether a text is of this form. Takes each piece where it first occurs: no later place could
    /// help those that follow. At most as many steps as text and pattern have characters, multiplied.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some(mut text) = after(text, &self.first) else { return false };
        let Some((last, middle)) = self.rest.split_last() else { return text.is_empty() };
        for piece in middle {
            let Some(left) = found(text, piece) else { return false };
            text = left;
        }
        ends_with(text, last)
    }
}

/// What follows a piece at the start of a text.
fn after<'a>(text: &'a str, piece: &[Option<char>]) -> Option<&'a str> {
    let mut chars = text.chars();
    for wanted in piece {
        let char = chars.next()?;
        if wanted.is_some_and(|wanted| wanted != char) {
            return None;
        }
    }
    Some(chars.as_str())
}

/// What follows a piece where it first occurs.
fn found<'a>(text: &'a str, piece: &[Option<char>]) -> Option<&'a str> {
    let mut chars = text.chars();
    loop {
        if let Some(left) = after(chars.as_str(), piece) {
            return Some(left);
        }
        chars.next()?;
    }
}

fn ends_with(text: &str, piece: &[Option<char>]) -> bool {
    let mut chars = text.chars();
    piece.iter().rev().all(|wanted| {
        chars.next_back().is_some_and(|char| wanted.is_none_or(|wanted| wanted == char))
    })
}
