//! From words to typed commands.
//!
//! A command is a [`Step`] of state, or something that concerns the connection or the server. The
//! words of the state commands are read in one module per type.

use bytes::Bytes;
use rhumb_resp::Request;
use rhumb_state::{Choice, Op, Query, strong::StrongStep};

mod hashes;
mod keys;
mod refused;
mod scripts;
mod sets;
mod sorted_sets;
mod strings;
mod words;

pub(crate) use words::Words;

/// What a step's reply is turned into before it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// As it is.
    Plain,
    /// `Ok` becomes 1 and `Nil` becomes 0.
    Flag,
    /// `OK` whatever it was.
    Done,
    /// The only one of several; of pairs, without a nesting of its own.
    Only,
    /// A number as text.
    Text,
}

/// A command on state.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Step {
    pub(crate) what: StrongStep,
    pub(crate) shape: Shape,
}

impl Step {
    const fn write(op: Op) -> Parsed {
        Parsed::Step(Self { what: StrongStep::Write(op), shape: Shape::Plain })
    }

    const fn read(query: Query) -> Parsed {
        Parsed::Step(Self { what: StrongStep::Read(query), shape: Shape::Plain })
    }

    const fn choose(choice: Choice) -> Parsed {
        Parsed::Step(Self { what: StrongStep::Choose(choice), shape: Shape::Plain })
    }

    /// Shows every key that it names.
    pub(crate) fn keys(&self, visit: &mut impl FnMut(&Bytes)) {
        self.what.keys(visit);
    }
}

/// What words were found to mean.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Parsed {
    /// A command on state.
    Step(Step),
    /// A scan whose cursor the connection must look up.
    Scan(Scan),
    /// Something of the connection or the server; its words are read where it is done.
    Control(Control),
}

/// A page of a scan, as asked for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Scan {
    pub(crate) cursor: u64,
    pub(crate) pattern: Option<Bytes>,
    pub(crate) count: usize,
    pub(crate) of: ScanOf,
}

/// What is scanned.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum ScanOf {
    Keys(Option<rhumb_state::KeyType>),
    Hash(Bytes),
    Set(Bytes),
    SortedSet(Bytes),
}

/// Commands that are not about state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Control {
    Ping,
    Echo,
    Hello,
    Auth,
    Select,
    Quit,
    Reset,
    Client,
    Command,
    Config,
    Info,
    Time,
    Acl,
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    Wait,
    Publish,
    Subscribe,
    Unsubscribe,
    PSubscribe,
    PUnsubscribe,
    PubSub,
    Script,
    Eval,
    EvalSha,
    Fence,
    Session,
    Why,
    Conflicts,
}

impl Control {
    /// Whether its words are keys, which the user must be allowed to touch.
    pub(crate) const fn names_keys(self) -> bool {
        matches!(self, Self::Watch | Self::Fence | Self::Why)
    }

    /// Whether it is done at once between MULTI and EXEC, instead of being queued.
    pub(crate) const fn is_immediate(self) -> bool {
        matches!(
            self,
            Self::Multi
                | Self::Exec
                | Self::Discard
                | Self::Watch
                | Self::Quit
                | Self::Reset
                // These queue what they stand for.
                | Self::Eval
                | Self::EvalSha
        )
    }
}

/// What a command is, for ACL rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Read,
    Write,
    PubSub,
    Connection,
    Transaction,
    Scripting,
    Admin,
    Dangerous,
}

impl Class {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Read, "read"),
        (Self::Write, "write"),
        (Self::PubSub, "pubsub"),
        (Self::Connection, "connection"),
        (Self::Transaction, "transaction"),
        (Self::Scripting, "scripting"),
        (Self::Admin, "admin"),
        (Self::Dangerous, "dangerous"),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(class, _)| *class)
    }

    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|(_, name)| *name)
    }
}

/// Why words are not a command. The text is Redis's, after `ERR `, unless it has a code of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("ERR unknown command '{name}', with args beginning with: {words}")]
    Unknown { name: String, words: String },
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(String),
    /// The same, where Redis only finds out when it executes the command.
    #[error("ERR wrong number of arguments for '{0}' command")]
    LateArity(String),
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR value is not a valid float")]
    NotAFloat,
    #[error("ERR invalid expire time in '{0}' command")]
    Expire(String),
    #[error("ERR unknown subcommand '{part}'. Try {command} HELP.")]
    UnknownPart { command: &'static str, part: String },
    #[error("ERR Syntax error in HELLO option '{0}'")]
    HelloOption(String),
    #[error("ERR Unsupported option {0}")]
    Option(String),
    #[error("ERR {0}")]
    Other(&'static str),
    #[error("ERR '{name}' is not offered: {why}")]
    Refused { name: String, why: &'static str },
}

impl CommandError {
    /// Whether EXEC is refused when it comes up between MULTI and EXEC; others are errors of the
    /// one command.
    pub(crate) const fn breaks_transaction(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Arity(_) | Self::Refused { .. })
    }
}

/// What reads a command's words.
#[derive(Clone, Copy)]
pub(crate) enum Reader {
    State(fn(&mut Words<'_>) -> Result<Parsed, CommandError>),
    Control(Control),
    Refused(&'static str),
}

/// A command that is known.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) class: Class,
    /// The fewest words, the name included.
    pub(crate) least: usize,
    /// The most words; no bound when 0.
    pub(crate) most: usize,
    pub(crate) reader: Reader,
}

const fn control(
    name: &'static str,
    class: Class,
    (least, most): (usize, usize),
    which: Control,
) -> Known {
    Known { name, class, least, most, reader: Reader::Control(which) }
}

/// Commands of the connection and the server.
const CONTROLS: [Known; 32] = [
    control("ping", Class::Connection, (1, 0), Control::Ping),
    control("echo", Class::Connection, (2, 2), Control::Echo),
    control("hello", Class::Connection, (1, 0), Control::Hello),
    control("auth", Class::Connection, (2, 0), Control::Auth),
    control("select", Class::Connection, (2, 2), Control::Select),
    control("quit", Class::Connection, (1, 1), Control::Quit),
    control("reset", Class::Connection, (1, 1), Control::Reset),
    control("client", Class::Connection, (2, 0), Control::Client),
    control("command", Class::Connection, (1, 0), Control::Command),
    control("config", Class::Admin, (2, 0), Control::Config),
    control("info", Class::Read, (1, 0), Control::Info),
    control("time", Class::Read, (1, 1), Control::Time),
    control("acl", Class::Connection, (2, 0), Control::Acl),
    control("multi", Class::Transaction, (1, 1), Control::Multi),
    control("exec", Class::Transaction, (1, 1), Control::Exec),
    control("discard", Class::Transaction, (1, 1), Control::Discard),
    control("watch", Class::Transaction, (2, 0), Control::Watch),
    control("unwatch", Class::Transaction, (1, 1), Control::Unwatch),
    control("wait", Class::Connection, (3, 3), Control::Wait),
    control("publish", Class::PubSub, (3, 3), Control::Publish),
    control("subscribe", Class::PubSub, (2, 0), Control::Subscribe),
    control("unsubscribe", Class::PubSub, (1, 0), Control::Unsubscribe),
    control("psubscribe", Class::PubSub, (2, 0), Control::PSubscribe),
    control("punsubscribe", Class::PubSub, (1, 0), Control::PUnsubscribe),
    control("pubsub", Class::PubSub, (2, 0), Control::PubSub),
    control("script", Class::Scripting, (2, 0), Control::Script),
    control("eval", Class::Scripting, (3, 0), Control::Eval),
    control("evalsha", Class::Scripting, (3, 0), Control::EvalSha),
    control("rhumb.fence", Class::Read, (2, 2), Control::Fence),
    control("rhumb.session", Class::Connection, (1, 2), Control::Session),
    control("rhumb.why", Class::Read, (2, 2), Control::Why),
    control("rhumb.conflicts", Class::Read, (1, 2), Control::Conflicts),
];

const TABLES: [&[Known]; 7] = [
    &strings::COMMANDS,
    &keys::COMMANDS,
    &hashes::COMMANDS,
    &sets::COMMANDS,
    &sorted_sets::COMMANDS,
    &CONTROLS,
    &refused::COMMANDS,
];

/// Longest name of a command, in bytes.
const NAME_BYTES_MAX: usize = 32;
/// How much of an unknown command is shown again.
const UNKNOWN_BYTES_SHOWN: usize = 128;

/// Every command, in the order of the tables.
pub(crate) fn all() -> impl Iterator<Item = &'static Known> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// Every command that is offered.
pub(crate) fn offered() -> impl Iterator<Item = &'static Known> {
    all().filter(|known| !matches!(known.reader, Reader::Refused(_)))
}

/// How many commands there are, those that are refused included.
pub(crate) fn count() -> usize {
    index().len()
}

/// A command by its place, see [`place_of`].
pub(crate) fn at(place: usize) -> Option<&'static Known> {
    index().get(place).copied()
}

/// The name of a command by its place.
pub(crate) fn name_at(place: usize) -> Option<&'static str> {
    at(place).map(|known| known.name)
}

/// The place of a command among all, by its name in any case.
pub(crate) fn place_of(name: &[u8]) -> Option<usize> {
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    for (to, from) in lower.iter_mut().zip(name) {
        *to = from.to_ascii_lowercase();
    }
    index().binary_search_by(|known| known.name.as_bytes().cmp(lower)).ok()
}

/// An unknown command, as Redis says it: the name, and the words up to a bound.
pub(crate) fn unknown(request: &Request) -> CommandError {
    let shown = |word: &[u8]| {
        let word = word.get(..UNKNOWN_BYTES_SHOWN).unwrap_or(word);
        String::from_utf8_lossy(word).into_owned()
    };
    let mut words = String::new();
    for word in (1..request.len()).filter_map(|at| request.get(at)) {
        if words.len() >= UNKNOWN_BYTES_SHOWN {
            break;
        }
        words.push_str(&format!("'{}' ", shown(word)));
    }
    CommandError::Unknown { name: shown(request.name()), words }
}

/// The commands sorted by name, made once.
fn index() -> &'static [&'static Known] {
    static INDEX: std::sync::OnceLock<Vec<&'static Known>> = std::sync::OnceLock::new();
    INDEX.get_or_init(|| {
        let mut sorted: Vec<&'static Known> = all().collect();
        sorted.sort_unstable_by_key(|known| known.name);
        sorted
    })
}

impl Known {
    /// Reads the words of a command whose name was found.
    pub(crate) fn read(&self, mut words: Words<'_>) -> Result<Parsed, CommandError> {
        let count = words.total();
        if count < self.least || (self.most > 0 && count > self.most) {
            return Err(CommandError::Arity(self.name.to_owned()));
        }
        match self.reader {
            Reader::Control(control) => Ok(Parsed::Control(control)),
            Reader::Refused(why) => Err(CommandError::Refused { name: self.name.to_owned(), why }),
            Reader::State(read) => {
                let parsed = read(&mut words)?;
                words.end()?;
                Ok(parsed)
            }
        }
    }
}

pub(crate) use scripts::{script_by_digest, script_by_text};

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::{prelude::*, sample::select};
    use rhumb_resp::{Limits, Protocol, RequestDecoder, Writer};

    use super::*;

    /// Words that mean something somewhere, and such that are nearly numbers.
    const WORDS: [&str; 34] = [
        "EX",
        "PX",
        "EXAT",
        "PXAT",
        "KEEPTTL",
        "PERSIST",
        "NX",
        "XX",
        "GT",
        "LT",
        "GET",
        "CH",
        "INCR",
        "MATCH",
        "COUNT",
        "TYPE",
        "hash",
        "LIMIT",
        "WITHSCORES",
        "BYSCORE",
        "BYLEX",
        "REV",
        "BEFORE",
        "(1",
        "[a",
        "-inf",
        "+inf",
        "nan",
        "-0",
        "1e308",
        "0.5",
        "9223372036854775807",
        "-9223372036854775808",
        "3",
    ];

    fn word() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..12),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_words_are_read_or_refused(
            place in 0..count(),
            words in prop::collection::vec(word(), 0..8),
        ) {
            let known = at(place).unwrap();
            let mut all = vec![known.name.as_bytes()];
            all.extend(words.iter().map(Vec::as_slice));
            let mut sent = BytesMut::new();
            Writer::new(&mut sent, Protocol::Resp2).command(&all);
            let request = RequestDecoder::new(Limits::AUTHENTICATED).decode(&mut sent);
            let request = request.unwrap().unwrap();
            match known.read(Words::new(&request)) {
                Ok(Parsed::Step(step)) => {
                    // What it names was among the words.
                    step.keys(&mut |key| assert!(words.iter().any(|word| word == key)));
                }
                Ok(_) => {}
                Err(refused) => prop_assert!(!refused.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn every_name_is_known_once_in_any_case() {
        let mut names: Vec<&str> = all().map(|known| known.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in names {
            let place = place_of(name.to_ascii_uppercase().as_bytes());
            assert_eq!(place.and_then(name_at), Some(name));
        }
        assert_eq!(place_of(b"nonsense"), None);
        assert_eq!(place_of(&[b'x'; 100]), None);
    }
}
