//! Conditional requests (RFC 9110 section 13), as far as they say something here.

use http::header;
use rhumb_state::op::Presence;

use crate::{problem::Problem, request::Call};

/// What must hold for a request to be carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Condition {
    /// Nothing.
    Any,
    /// `If-None-Match: *`: the key is absent.
    Absent,
    /// `If-Match: *`: the key is present.
    Present,
    /// `If-Match: "TAG"`: the key is as it was read.
    Tag(String),
    /// `If-None-Match: "TAG"`: the key is not as it was read; for reads.
    NotTag(String),
}

impl Condition {
    pub(super) fn of(call: &Call) -> Result<Self, Problem> {
        let tag = |text: &str| {
            let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            let bare = bare.filter(|tag| !tag.is_empty() && !tag.contains('"'));
            let help = "Send `*`, or one entity tag as an answer gave it, in quotes.";
            let one = || Problem::invalid(format!("`{text}` is not one entity tag")).help(help);
            bare.map(str::to_owned).ok_or_else(one)
        };
        let matches = call.header(header::IF_MATCH.as_str())?;
        let differs = call.header(header::IF_NONE_MATCH.as_str())?;
        match (matches, differs) {
            (None, None) => Ok(Self::Any),
            (Some("*"), None) => Ok(Self::Present),
            (None, Some("*")) => Ok(Self::Absent),
            (Some(text), None) => tag(text).map(Self::Tag),
            (None, Some(text)) => tag(text).map(Self::NotTag),
            (Some(_), Some(_)) => {
                Err(Problem::invalid("`if-match` and `if-none-match` exclude each other here"))
            }
        }
    }

    /// The condition of a write, which cannot depend on what the key is not.
    pub(super) fn of_write(call: &Call) -> Result<Self, Problem> {
        match Self::of(call)? {
            Self::NotTag(_) => {
                Err(Problem::invalid("a write takes `if-none-match: *` and no other tag"))
            }
            condition => Ok(condition),
        }
    }

    pub(super) const fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }

    /// What a write checks by itself.
    pub(super) const fn presence(&self) -> Presence {
        match self {
            Self::Absent => Presence::Absent,
            Self::Present => Presence::Present,
            Self::Any | Self::Tag(_) | Self::NotTag(_) => Presence::Any,
        }
    }

    /// Whether the client of a read has what is there already.
    pub(super) fn is_unmodified(&self, found: &str) -> bool {
        match self {
            Self::Absent => true,
            Self::NotTag(tag) => tag == found,
            Self::Any | Self::Present | Self::Tag(_) => false,
        }
    }

    /// Refuses what does not hold; `found` is the tag of what is there.
    pub(super) fn check(&self, found: Option<&str>) -> Result<(), Problem> {
        let holds = match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Tag(tag) => found == Some(tag),
            Self::NotTag(tag) => found != Some(tag),
        };
        if holds { Ok(()) } else { Err(self.failed()) }
    }

    /// What a request is answered whose condition does not hold.
    pub(super) fn failed(&self) -> Problem {
        Problem::precondition(match self {
            Self::Absent => "the key is there already",
            Self::Present => "there is no such key",
            Self::Any | Self::Tag(_) | Self::NotTag(_) => "the key is not as it was",
        })
    }
}
