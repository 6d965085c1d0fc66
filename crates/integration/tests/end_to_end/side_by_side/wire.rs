//! A RESP client that shows replies as they are, types and all.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::commands::Words;

/// How long a server may take for a sequence.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A reply with its type. Those with parts that have no order are compared in any.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Verbatim(Vec<u8>),
    NullBulk,
    NullArray,
    Null,
    Double(String),
    Boolean(bool),
    Array(Vec<Reply>),
    /// Names and values in turn.
    Map(Vec<Reply>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Simple(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Integer(number) => write!(f, ":{number}"),
            Self::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Verbatim(bytes) => write!(f, "={}", bytes.escape_ascii()),
            Self::NullBulk => write!(f, "$-1"),
            Self::NullArray => write!(f, "*-1"),
            Self::Null => write!(f, "_"),
            Self::Double(text) => write!(f, ",{text}"),
            Self::Boolean(value) => write!(f, "#{value}"),
            Self::Array(parts) => write!(f, "*{parts:?}"),
            Self::Map(parts) => write!(f, "%{parts:?}"),
            Self::Set(parts) => write!(f, "~{parts:?}"),
            Self::Push(parts) => write!(f, ">{parts:?}"),
        }
    }
}

impl Reply {
    /// What it consists of, after its kind.
    pub(crate) fn parts(&self) -> Option<(char, &[Self])> {
        match self {
            Self::Array(parts) => Some(('*', parts)),
            Self::Map(parts) => Some(('%', parts)),
            Self::Set(parts) => Some(('~', parts)),
            Self::Push(parts) => Some(('>', parts)),
            _ => None,
        }
    }

    /// What stands beside a name, in a map or in the flat array that RESP2 makes of one.
    pub(crate) fn beside(&self, name: &str) -> Option<&Self> {
        let (_, parts) = self.parts()?;
        let mut pairs = parts.chunks_exact(2);
        pairs.find_map(|pair| match pair {
            [Self::Bulk(bytes), value] if bytes == name.as_bytes() => Some(value),
            _ => None,
        })
    }

    /// The number that its text stands for.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Bulk(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            Self::Double(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr, protocol: u8) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        let mut wire = Self { reader: BufReader::new(stream.try_clone()?), stream };
        if protocol == 3 {
            let hello = wire.ask(&[Words::of(&["HELLO", "3"])])?;
            ensure!(matches!(hello.as_slice(), [Reply::Map(_)]), "{hello:?}");
        }
        Ok(wire)
    }

    /// Sends commands together and gives their replies.
    pub(crate) fn ask(&mut self, commands: &[Words]) -> Result<Vec<Reply>> {
        let mut bytes = Vec::new();
        for Words(words) in commands {
            write!(bytes, "*{}\r\n", words.len())?;
            for word in words {
                write!(bytes, "${}\r\n", word.len())?;
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        let mut sender = self.stream.try_clone()?;
        // Beside the reading: a server may want its replies taken before it reads on.
        let sending = std::thread::spawn(move || sender.write_all(&bytes));
        let replies = commands
            .iter()
            .map(|command| self.reply().with_context(|| format!("the reply to {command}")));
        let replies = replies.collect();
        sending.join().ok().context("the sender ended")??;
        replies
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        let text = line.strip_suffix(b"\r\n").context("the connection was closed")?;
        let (kind, text) = text.split_first().context("an empty line")?;
        let text = String::from_utf8_lossy(text).into_owned();
        Ok(match kind {
            b'+' => Reply::Simple(text),
            b'-' => Reply::Error(text),
            b':' => Reply::Integer(text.parse()?),
            b',' => Reply::Double(text),
            b'#' => Reply::Boolean(text == "t"),
            b'_' => Reply::Null,
            b'$' if text == "-1" => Reply::NullBulk,
            b'*' if text == "-1" => Reply::NullArray,
            // Verbatim text has its format in front.
            b'=' => Reply::Verbatim(self.bulk(text.parse()?)?),
            b'$' => Reply::Bulk(self.bulk(text.parse()?)?),
            b'*' => Reply::Array(self.replies(text.parse()?)?),
            b'~' => Reply::Set(self.replies(text.parse()?)?),
            b'>' => Reply::Push(self.replies(text.parse()?)?),
            b'%' => Reply::Map(self.replies(text.parse::<usize>()? * 2)?),
            other => bail!("{:?} begins no reply", char::from(*other)),
        })
    }

    fn bulk(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    }

    fn replies(&mut self, count: usize) -> Result<Vec<Reply>> {
        (0..count).map(|_| self.reply()).collect()
    }
}
