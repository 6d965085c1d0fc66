//! Who a node is: one exact name, and the certificate that proves it.
//!
//! A cluster has an authority of its own ([`ClusterAuthority`], made by `rhumb init`). It signs one
//! certificate per node, whose only name is the URI `rhumb://<cluster>/<region>/<node>`. No public
//! authority, host name or address takes part.

mod authority;
mod files;
mod secret;
mod store;

pub use authority::{AuthorityError, ClusterAuthority, Issued, Validity};
pub use files::{FileError, write_private, write_public};
pub(crate) use files::{failed, make_private_folder};
pub use secret::{CLUSTER_SECRET_BYTES, ClusterSecret};
pub use store::{Identities, IdentityError, Material};
pub(crate) use store::{pem, provider, read_key, replace_certificate, write_identity};

use std::{fmt, str::FromStr};

use rhumb_types::{ClusterId, NodeId, RegionId};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The scheme of an identity.
const SCHEME: &str = "rhumb://";

/// The one name that a node's certificate carries.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity {
    /// The cluster whose authority vouches for it.
    pub cluster: ClusterId,
    /// The node's region.
    pub region: RegionId,
    /// The node.
    pub node: NodeId,
}

/// Why a text or a certificate does not name a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text has another form.
    #[error("`{0}` is not a node's name: it must be rhumb://c<cluster>/<region>/n<node>")]
    Form(String),
    /// The certificate cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Certificate(String),
    /// The certificate must carry one URI and no other name.
    #[error("the certificate carries {0} names, and must carry exactly one URI")]
    Names(usize),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.cluster, self.region, self.node)
    }
}

impl FromStr for Identity {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || NameError::Form(text.to_owned());
        let path = text.strip_prefix(SCHEME).ok_or_else(refused)?;
        let mut parts = path.split('/');
        let (Some(cluster), Some(region), Some(node), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refused());
        };
        let identity = Self {
            cluster: ClusterId(number(cluster, 'c').ok_or_else(refused)?),
            region: RegionId::new(region).map_err(|_| refused())?,
            node: NodeId(number(node, 'n').ok_or_else(refused)?),
        };
        // One identity has one spelling: no signs, capitals or leading zeros.
        if identity.to_string() == text { Ok(identity) } else { Err(refused()) }
    }
}

impl Identity {
    /// Reads the name that a certificate carries. Says nothing about who signed it.
    ///
    /// # Errors
    /// [`NameError`] when the certificate cannot be read or has not exactly one URI as its names.
    pub fn of_certificate(der: &[u8]) -> Result<Self, NameError> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| NameError::Certificate(error.to_string()))?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| NameError::Certificate(error.to_string()))?
            .map(|extension| extension.value.general_names.as_slice())
            .unwrap_or_default();
        match names {
            [GeneralName::URI(uri)] => uri.parse(),
            other => Err(NameError::Names(other.len())),
        }
    }
}

fn number(text: &str, prefix: char) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix(prefix)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_identity_has_one_spelling() {
        let good = "rhumb://cf00/eu-west-1/n2a";
        assert_eq!(good.parse::<Identity>().unwrap().to_string(), good);
        for bad in [
            "rhumb://cf00/eu-west-1",
            "rhumb://cf00/eu-west-1/n2a/x",
            "rhumb://cF00/eu-west-1/n2a",
            "rhumb://c0f00/eu-west-1/n2a",
            "rhumb://c+f00/eu-west-1/n2a",
            "rhumb://cf00/EU/n2a",
            "https://cf00/eu-west-1/n2a",
            "",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }
}
