//! What a change of a queue or a bucket counts on.

use http::header;
use rhumb_engine::Expect;

use crate::{problem::Problem, request::Call};

impl Call {
    /// What a change of a thing counts on (RFC 9110 section 13.1), which this node knows at a version.
    ///
    /// What is known not to hold is refused here, so that the audit chain is not told of it. A version
    /// that is newer than the known one is another node's, and the strong group decides.
    pub(crate) fn expected(&self, thing: &str, known: Option<u64>) -> Result<Expect, Problem> {
        let match_ = self.header(header::IF_MATCH.as_str())?;
        let none_match = self.header(header::IF_NONE_MATCH.as_str())?;
        let expect = match (match_, none_match) {
            (None, None) => Expect::Any,
            (None, Some("*")) => Expect::Absent,
            (Some(_), None) => Expect::Version(self.expected_version()?),
            _ => {
                let detail =
                    format!("a {thing} is made with `if-none-match: *` or changed with `if-match`");
                return Err(Problem::invalid(detail));
            }
        };
        match (expect, known) {
            (Expect::Absent, Some(_)) => {
                Err(Problem::precondition(format!("the {thing} is there already")))
            }
            (Expect::Version(version), Some(known)) if version < known => {
                Err(Problem::precondition(format!("the {thing} was changed meanwhile")))
            }
            _ => Ok(expect),
        }
    }
}
