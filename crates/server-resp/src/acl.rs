//! Users: passwords, commands, keys, channels, in the words of Redis's ACL.

use rhumb_state::glob;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::command::Class;

/// A user, as configured.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UserConfig {
    /// The name; `default` is the user of clients that send only a password.
    pub name: String,
    /// SHA-256 of each password, as 64 hexadecimal digits.
    pub password_sha256: Vec<String>,
    /// `+get`, `-flushdb`, `+@read`, `-@all`, in order.
    pub commands: Vec<String>,
    /// Patterns of keys.
    pub keys: Vec<String>,
    /// Patterns of channels.
    pub channels: Vec<String>,
}

/// Why a user cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// A password's digest is not 64 hexadecimal digits.
    #[error("user `{user}`: a password is not the 64 hexadecimal digits of a SHA-256")]
    Digest {
        /// Whose.
        user: String,
    },
    /// A rule is not `+name`, `-name`, `+@class` or `-@class`.
    #[error("user `{user}`: `{rule}` is not a rule: use +NAME, -NAME, +@CLASS or -@CLASS")]
    Rule {
        /// Whose.
        user: String,
        /// Which.
        rule: String,
    },
}

/// Which commands a rule is for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Scope {
    All,
    Class(Class),
    Name(String),
}

/// A user whose rules are understood.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    digests: Vec<[u8; 32]>,
    rules: Vec<(bool, Scope)>,
    keys: Vec<Vec<u8>>,
    channels: Vec<Vec<u8>>,
}

impl User {
    pub(crate) fn new(config: &UserConfig) -> Result<Self, UserError> {
        let user = || config.name.clone();
        let digests = config
            .password_sha256
            .iter()
            .map(|text| digest(text).ok_or_else(|| UserError::Digest { user: user() }));
        let rules = config.commands.iter().map(|text| {
            rule(text).ok_or_else(|| UserError::Rule { user: user(), rule: text.clone() })
        });
        let patterns = |texts: &[String]| texts.iter().map(|text| text.clone().into()).collect();
        Ok(Self {
            name: user(),
            digests: digests.collect::<Result<_, _>>()?,
            rules: rules.collect::<Result<_, _>>()?,
            keys: patterns(&config.keys),
            channels: patterns(&config.channels),
        })
    }

    /// Who everybody is while the server asks for no password: all but removing everything.
    pub(crate) fn anybody() -> Self {
        Self {
            name: "default".to_owned(),
            digests: Vec::new(),
            rules: vec![(true, Scope::All), (false, Scope::Class(Class::Dangerous))],
            keys: vec![b"*".to_vec()],
            channels: vec![b"*".to_vec()],
        }
    }

    /// Compares in a time that does not depend on the password.
    pub(crate) fn has_password(&self, password: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(password).into();
        let matches = self.digests.iter().map(|digest| digest.ct_eq(&given));
        matches.fold(subtle::Choice::from(0), |any, one| any | one).into()
    }

    /// The last rule that fits decides; without any, no.
    pub(crate) fn may_call(&self, name: &str, class: Class) -> bool {
        let fits = |scope: &Scope| match scope {
            Scope::All => true,
            Scope::Class(known) => *known == class,
            Scope::Name(known) => known == name,
        };
        self.rules.iter().rev().find(|(_, scope)| fits(scope)).is_some_and(|(allow, _)| *allow)
    }

    pub(crate) fn may_touch(&self, key: &[u8]) -> bool {
        self.keys.iter().any(|pattern| pattern == b"*" || glob::matches(pattern, key))
    }

    pub(crate) fn may_use(&self, channel: &[u8]) -> bool {
        self.channels.iter().any(|pattern| pattern == b"*" || glob::matches(pattern, channel))
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

fn rule(text: &str) -> Option<(bool, Scope)> {
    let allow = match text.as_bytes().first()? {
        b'+' => true,
        b'-' => false,
        _ => return None,
    };
    let name = text.get(1..)?.to_ascii_lowercase();
    let scope = match name.strip_prefix('@') {
        Some("all") => Scope::All,
        Some(class) => Scope::Class(Class::named(class)?),
        None if name.is_empty() => return None,
        None => Scope::Name(name),
    };
    Some((allow, scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(commands: &[&str]) -> User {
        let commands = commands.iter().map(|rule| (*rule).to_owned()).collect();
        User::new(&UserConfig { name: "u".to_owned(), commands, ..UserConfig::default() }).unwrap()
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        let user = user(&["+@all", "-@dangerous", "+flushdb", "-get"]);
        assert!(user.may_call("set", Class::Write));
        assert!(user.may_call("flushdb", Class::Dangerous));
        assert!(!user.may_call("keys", Class::Dangerous));
        assert!(!user.may_call("get", Class::Read));
        assert!(!self::user(&[]).may_call("get", Class::Read));
    }

    #[test]
    fn refuses_rules_that_it_does_not_understand() {
        for bad in ["get", "+", "+@nonsense", ""] {
            let config = UserConfig { commands: vec![bad.to_owned()], ..UserConfig::default() };
            assert!(User::new(&config).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_compared_by_digest() {
        let sha = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
        let config = UserConfig { password_sha256: vec![sha.to_owned()], ..UserConfig::default() };
        let user = User::new(&config).unwrap();
        assert!(user.has_password(b"password"));
        assert!(!user.has_password(b"Password"));
    }
}
