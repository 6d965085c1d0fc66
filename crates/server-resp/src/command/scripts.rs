//! The well-known lock scripts, recognised by their digest and run as built-ins.
//!
//! A script is the same script whatever its blanks: texts are compared with runs of white space
//! folded, and `EVALSHA` with the SHA-1 of the texts as their libraries send them.

use std::sync::OnceLock;

use bytes::Bytes;
use rhumb_state::{Op, number, op::Prolong, strong::StrongStep};
use sha1::{Digest, Sha1};

use super::{CommandError, Shape, Step};

/// What a script does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Script {
    /// Deletes a lock that is still one's own.
    Release,
    /// Sets a lock's time to live, in milliseconds, if it is still one's own.
    Prolong,
    /// The same where the key must have a time to live, by or to a time.
    Extend,
    /// redis-py's: the same to a time.
    Reacquire,
}

/// redis-py 5 and 6, `redis/lock.py`.
const REDIS_PY_RELEASE: &str = "\n        local token = redis.call('get', KEYS[1])\n        if not token or token ~= ARGV[1] then\n            return 0\n        end\n        redis.call('del', KEYS[1])\n        return 1\n    ";
const REDIS_PY_EXTEND: &str = "\n        local token = redis.call('get', KEYS[1])\n        if not token or token ~= ARGV[1] then\n            return 0\n        end\n        local expiration = redis.call('pttl', KEYS[1])\n        if not expiration then\n            expiration = 0\n        end\n        if expiration < 0 then\n            return 0\n        end\n\n        local newttl = ARGV[2]\n        if ARGV[3] == \"0\" then\n            newttl = ARGV[2] + expiration\n        end\n        redis.call('pexpire', KEYS[1], newttl)\n        return 1\n    ";
const REDIS_PY_REACQUIRE: &str = "\n        local token = redis.call('get', KEYS[1])\n        if not token or token ~= ARGV[1] then\n            return 0\n        end\n        redis.call('pexpire', KEYS[1], ARGV[2])\n        return 1\n    ";
/// The Redis documentation's, "Distributed locks with Redis", and what libraries made of it.
const RELEASES: [&str; 4] = [
    "if redis.call(\"get\",KEYS[1]) == ARGV[1] then\n    return redis.call(\"del\",KEYS[1])\nelse\n    return 0\nend",
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
    "if redis.call(\"get\", KEYS[1]) == ARGV[1] then return redis.call(\"del\", KEYS[1]) else return 0 end",
    "if redis.call(\"GET\", KEYS[1]) == ARGV[1] then return redis.call(\"DEL\", KEYS[1]) else return 0 end",
];
const PROLONGS: [&str; 3] = [
    "if redis.call(\"get\",KEYS[1]) == ARGV[1] then\n    return redis.call(\"pexpire\",KEYS[1],ARGV[2])\nelse\n    return 0\nend",
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end",
    "if redis.call(\"get\", KEYS[1]) == ARGV[1] then return redis.call(\"pexpire\", KEYS[1], ARGV[2]) else return 0 end",
];

struct Text {
    script: Script,
    folded: String,
    digest: String,
}

fn texts() -> &'static [Text] {
    static TEXTS: OnceLock<Vec<Text>> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let releases = RELEASES.iter().map(|text| (Script::Release, *text));
        let prolongs = PROLONGS.iter().map(|text| (Script::Prolong, *text));
        let redis_py = [
            (Script::Release, REDIS_PY_RELEASE),
            (Script::Extend, REDIS_PY_EXTEND),
            (Script::Reacquire, REDIS_PY_REACQUIRE),
        ];
        let text = |(script, text): (Script, &str)| Text {
            script,
            folded: fold(text),
            digest: hex(&Sha1::digest(text.as_bytes())),
        };
        redis_py.into_iter().chain(releases).chain(prolongs).map(text).collect()
    })
}

fn fold(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

/// A script by its text, with the digest of that text.
pub(crate) fn script_by_text(text: &[u8]) -> Option<(Script, String)> {
    let folded = fold(std::str::from_utf8(text).ok()?);
    let known = texts().iter().find(|known| known.folded == folded)?;
    Some((known.script, hex(&Sha1::digest(text))))
}

/// A script by the digest of one of its texts.
pub(crate) fn script_by_digest(digest: &[u8]) -> Option<Script> {
    let digest = std::str::from_utf8(digest).ok()?.to_ascii_lowercase();
    texts().iter().find(|known| known.digest == digest).map(|known| known.script)
}

impl Script {
    /// The step that it stands for. `arguments` are the keys and then the values.
    pub(crate) fn step(self, keys: &[Bytes], values: &[Bytes]) -> Result<Step, CommandError> {
        let wrong =
            CommandError::Other("the lock script has one key, and the values that it names");
        let [key] = keys else { return Err(wrong) };
        let (key, mut values) = (key.clone(), values.iter());
        let expected = values.next().cloned().ok_or_else(|| wrong.clone())?;
        let op = match self {
            Self::Release => Op::CompareAndDelete { key, expected },
            Self::Prolong | Self::Reacquire | Self::Extend => {
                let millis = values.next().ok_or_else(|| wrong.clone())?;
                let millis = number::parse_int(millis).ok_or(CommandError::NotAnInteger)?;
                let millis = u64::try_from(millis).unwrap_or(0);
                let replace = values.next().is_some_and(|flag| flag.as_ref() != b"0");
                let ttl = match (self, replace) {
                    (Self::Extend, false) => Prolong::VolatileBy(millis),
                    (Self::Extend, true) => Prolong::VolatileTo(millis),
                    _ => Prolong::To(millis),
                };
                Op::CompareAndExpire { key, expected, ttl }
            }
        };
        Ok(Step { what: StrongStep::Write(op), shape: Shape::Plain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_scripts_by_text_and_by_digest() {
        for text in RELEASES {
            assert_eq!(script_by_text(text.as_bytes()).unwrap().0, Script::Release);
        }
        let (script, digest) = script_by_text(REDIS_PY_EXTEND.as_bytes()).unwrap();
        assert_eq!(script, Script::Extend);
        assert_eq!(script_by_digest(digest.as_bytes()), Some(Script::Extend));
        assert_eq!(script_by_text(b"return 1"), None);
    }
}
