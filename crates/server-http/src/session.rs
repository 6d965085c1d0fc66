//! Version vectors as text: session tokens and cursors of the change feed.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rhumb_types::record::{Record, VersionVector};

use crate::{limits::VECTOR_BYTES_MAX, problem::Problem};

/// The header in which a client's session travels both ways: what it has written and seen.
pub(crate) const SESSION_HEADER: &str = "rhumb-session";

/// A vector as text that fits into a header or a query.
pub(crate) fn encode(vector: &VersionVector) -> String {
    URL_SAFE_NO_PAD.encode(vector.encode())
}

/// Reads what [`encode`] wrote; `name` says in errors what it was given as.
pub(crate) fn decode(name: &str, text: &[u8]) -> Result<VersionVector, Problem> {
    let refuse = |why: &str| {
        let help = "Send back what an answer of this API gave, unchanged, or leave it out.";
        Problem::invalid(format!("{name} {why}")).help(help)
    };
    if text.len() > VECTOR_BYTES_MAX {
        return Err(refuse(&format!("is longer than {VECTOR_BYTES_MAX} bytes")));
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refuse("is not base64url"))?;
    let vector =
        VersionVector::decode(&bytes).map_err(|error| refuse(&format!("is not one: {error}")))?;
    // What a client sends may be in any order and name an origin twice; versions are kept sorted.
    Ok(vector.iter().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rhumb_types::OriginId;

    use super::*;

    proptest! {
        #[test]
        fn a_vector_comes_back(pairs in proptest::collection::vec((any::<u64>(), 1_u64..), 0..9)) {
            let vector: VersionVector =
                pairs.into_iter().map(|(origin, version)| (OriginId(origin), version)).collect();
            let text = encode(&vector);
            prop_assert_eq!(decode("x", text.as_bytes()).unwrap(), vector);
        }

        #[test]
        fn any_text_is_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(vector) = decode("x", &text) {
                prop_assert_eq!(decode("x", encode(&vector).as_bytes()).unwrap(), vector);
            }
        }
    }
}
