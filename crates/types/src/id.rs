//! Identities: who wrote, where, and under which incarnation.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest region name, in bytes; the bound of a DNS label (RFC 1035 section 2.3.4).
pub const REGION_NAME_BYTES_MAX: usize = 63;

/// The name of a failure domain, such as `us-east-1`.
///
/// Lower-case letters, digits and hyphens, 1 to 63 bytes, starting with a letter or a digit, so
/// that it can be a DNS label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionId(Arc<str>);

/// Why a text is not a region's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a region name: use 1 to 63 of a-z, 0-9 and `-`, not starting with `-`")]
pub struct RegionIdError(String);

impl RegionId {
    /// Checks a name.
    ///
    /// # Errors
    /// When the text is empty, too long, or has other characters than those allowed.
    pub fn new(name: &str) -> Result<Self, RegionIdError> {
        let well_formed = !name.is_empty()
            && name.len() <= REGION_NAME_BYTES_MAX
            && !name.starts_with('-')
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if well_formed { Ok(Self(name.into())) } else { Err(RegionIdError(name.to_owned())) }
    }
}

/// What every checked name has around its `new`: a type over an `Arc<str>`, and its error.
#[macro_export]
macro_rules! text_id {
    ($name:ident, $error:ident) => {
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(RegionId, RegionIdError);

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:x}"), self.0)
            }
        }
    };
}

number_id!(
    /// One voter, learner or witness of the control plane. A node that lost its disk returns
    /// under a new id (rule 15).
    NodeId, u64, "n"
);
number_id!(
    /// A cluster's identity; `control recover --force` changes it (rule 15).
    ClusterId, u64, "c"
);
number_id!(
    /// A residency domain: the set of regions that may hold a transaction. Domain 0 is every
    /// region of the cluster.
    DomainId, u16, "d"
);
number_id!(
    /// How often a region's duties were taken over; work of a lower epoch is refused at
    /// acceptance (rule 4).
    Epoch, u64, "e"
);
number_id!(
    /// One incarnation of one writing loop in one residency domain; the owner of a log.
    ///
    /// The upper 48 bits are drawn at random when the incarnation is minted, the lower 16 are the
    /// domain, so that a receiver knows the domain of any dot without asking.
    OriginId, u64, "o"
);

impl DomainId {
    /// The domain that every region carries.
    pub const EVERYWHERE: Self = Self(0);
}

impl OriginId {
    /// The origin of an incarnation in a domain.
    ///
    /// `incarnation` is random; its lower 16 bits are replaced by the domain.
    #[must_use]
    pub const fn new(incarnation: u64, domain: DomainId) -> Self {
        Self((incarnation & !0xffff) | domain.0 as u64)
    }

    /// The residency domain in which this origin writes.
    #[must_use]
    pub const fn domain(self) -> DomainId {
        let [low, high, ..] = self.0.to_le_bytes();
        DomainId(u16::from_le_bytes([low, high]))
    }

    /// The random part, common to the origins of one incarnation in all its domains.
    #[must_use]
    pub const fn incarnation(self) -> u64 {
        self.0 & !0xffff
    }
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_are_no_dns_label() {
        for bad in ["", "-a", "Us", "a_b", "a.b", &"x".repeat(64)] {
            assert!(RegionId::new(bad).is_err(), "{bad}");
        }
        assert_eq!(RegionId::new("us-east-1").unwrap().as_str(), "us-east-1");
    }

    #[test]
    fn an_origin_carries_its_domain() {
        let origin = OriginId::new(0xdead_beef_cafe_f00d, DomainId(7));
        assert_eq!(origin.domain(), DomainId(7));
        assert_eq!(origin.incarnation(), 0xdead_beef_cafe_0000);
    }
}
