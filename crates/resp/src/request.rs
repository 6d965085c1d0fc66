//! What clients send: arrays of bulk strings, and inline commands.

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;

use crate::{
    error::ProtocolError,
    inline,
    limits::Limits,
    number::{self, Line},
};

/// A part of a request's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    start: usize,
    end: usize,
}

impl Range {
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }
}

pub(crate) type Arguments = SmallVec<[Range; 4]>;

/// One request: its name and arguments, as one piece of the read buffer. Never empty.
#[derive(Clone, Debug)]
pub struct Request {
    bytes: Bytes,
    arguments: Arguments,
}

impl Request {
    /// How many arguments there are, the name included; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a request is never empty")]
    pub fn len(&self) -> usize {
        self.arguments.len()
    }

    /// An argument; the name is the first.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        self.arguments.get(at).map(|range| range.of(&self.bytes))
    }

    /// An argument that outlives the request, without a copy. It keeps the whole piece of the read
    /// buffer alive: copy what is small and stays long.
    #[must_use]
    pub fn bytes(&self, at: usize) -> Option<Bytes> {
        self.arguments.get(at).map(|range| self.bytes.slice(range.start..range.end))
    }

    /// The name of the command, as it was written.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.get(0).unwrap_or_default()
    }

    /// The name and all arguments.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.arguments.iter().map(|range| range.of(&self.bytes))
    }

    /// The name and all arguments, each outliving the request.
    pub fn iter_bytes(&self) -> impl ExactSizeIterator<Item = Bytes> {
        self.arguments.iter().map(|range| self.bytes.slice(range.start..range.end))
    }

    /// The size of the request on the wire, or of its words if it was an inline command.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Where in a request the decoder is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// Before its first byte.
    #[default]
    Start,
    /// Before the next argument; so many are missing.
    Argument { missing: usize },
    /// In an argument of this length; so many are missing, this one included.
    Bulk { missing: usize, length: usize },
    /// In an inline command.
    Inline,
}

/// Cuts requests out of a read buffer.
///
/// Between two calls bytes may only be appended to the buffer. After an error the connection is
/// lost, because what follows has no meaning.
#[derive(Clone, Debug, Default)]
pub struct RequestDecoder {
    limits: Limits,
    state: State,
    /// How much of the buffer belongs to what has been understood of the present request; in an
    /// inline command, how much is known to hold no end of line.
    position: usize,
    arguments: Arguments,
}

impl RequestDecoder {
    /// A decoder at the start of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Changes the limits, from the next length on: call it when the client has authenticated.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// How many bytes must at least come before the next request can be complete. At least one.
    /// The number is the client's word: do not allocate for it without a bound.
    #[must_use]
    pub fn missing_bytes(&self, buffer: &BytesMut) -> usize {
        let wanted = match self.state {
            State::Bulk { length, .. } => self.position + length + 2,
            _ => buffer.len() + 1,
        };
        wanted.saturating_sub(buffer.len()).max(1)
    }

    /// The next request, or `None` when more bytes are needed. Empty requests are passed over, as
    /// in Redis.
    ///
    /// # Errors
    /// When the bytes are not RESP or exceed a limit.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        loop {
            let step = match self.state {
                State::Start => self.start(buffer)?,
                State::Argument { missing: 0 } => return Ok(Some(self.finish(buffer))),
                State::Argument { missing } => self.argument(buffer, missing)?,
                State::Bulk { missing, length } => self.bulk(buffer, missing, length)?,
                State::Inline => {
                    if let Some(request) = self.inline(buffer)? {
                        return Ok(Some(request));
                    }
                    // Either the line was empty, or it is not all there.
                    (self.state == State::Start).then_some(State::Start)
                }
            };
            match step {
                Some(state) => self.state = state,
                None => return Ok(None),
            }
        }
    }

    fn start(&self, buffer: &mut BytesMut) -> Result<Option<State>, ProtocolError> {
        loop {
            match buffer.first() {
                None => return Ok(None),
                Some(b'*') => {}
                Some(_) => return Ok(Some(State::Inline)),
            }
            let (count, length) = match number::line(buffer.get(1..).unwrap_or_default()) {
                Line::Number(count, length) => (count, 1 + length),
                Line::Incomplete => return Ok(None),
                Line::Malformed => return Err(ProtocolError::MultibulkLength),
            };
            buffer.advance(length);
            match usize::try_from(count) {
                // Redis passes over an empty request, and over one with a negative count.
                Err(_) | Ok(0) => {}
                Ok(count) if count <= self.limits.elements_max => {
                    return Ok(Some(State::Argument { missing: count }));
                }
                Ok(_) if self.limits.authenticated => return Err(ProtocolError::MultibulkLength),
                Ok(_) => return Err(ProtocolError::UnauthenticatedMultibulkLength),
            }
        }
    }

    fn argument(
        &mut self,
        buffer: &BytesMut,
        missing: usize,
    ) -> Result<Option<State>, ProtocolError> {
        match buffer.get(self.position) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => return Err(ProtocolError::ExpectedBulk(*other)),
        }
        let (length, line) = match number::line(buffer.get(self.position + 1..).unwrap_or_default())
        {
            Line::Number(length, line) => (length, 1 + line),
            Line::Incomplete => return Ok(None),
            Line::Malformed => return Err(ProtocolError::BulkLength),
        };
        let length = usize::try_from(length).map_err(|_| ProtocolError::BulkLength)?;
        if length > self.limits.bulk_bytes_max {
            return Err(if self.limits.authenticated {
                ProtocolError::BulkLength
            } else {
                ProtocolError::UnauthenticatedBulkLength
            });
        }
        self.position += line;
        if self.position.saturating_add(length) > self.limits.request_bytes_max {
            return Err(ProtocolError::RequestSize);
        }
        Ok(Some(State::Bulk { missing, length }))
    }

    fn bulk(
        &mut self,
        buffer: &BytesMut,
        missing: usize,
        length: usize,
    ) -> Result<Option<State>, ProtocolError> {
        let end = self.position + length;
        match buffer.get(end..end + 2) {
            None => Ok(None),
            Some(b"\r\n") => {
                self.arguments.push(Range::new(self.position, end));
                self.position = end + 2;
                Ok(Some(State::Argument { missing: missing - 1 }))
            }
            Some(_) => Err(ProtocolError::BulkEnd),
        }
    }

    fn finish(&mut self, buffer: &mut BytesMut) -> Request {
        let bytes = buffer.split_to(self.position).freeze();
        self.position = 0;
        self.state = State::Start;
        Request { bytes, arguments: std::mem::take(&mut self.arguments) }
    }

    fn inline(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        let unseen = buffer.get(self.position..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', unseen).map(|at| self.position + at) else {
            self.position = buffer.len();
            let too_big = buffer.len() > self.limits.line_bytes_max;
            return if too_big { Err(ProtocolError::InlineSize) } else { Ok(None) };
        };
        if end > self.limits.line_bytes_max {
            return Err(ProtocolError::InlineSize);
        }
        let line = buffer.split_to(end);
        buffer.advance(1);
        self.position = 0;
        self.state = State::Start;
        let (text, arguments) = inline::split(line.strip_suffix(b"\r").unwrap_or(&line))?;
        if arguments.is_empty() {
            return Ok(None);
        }
        if arguments.len() > self.limits.elements_max {
            return Err(ProtocolError::MultibulkLength);
        }
        Ok(Some(Request { bytes: text.freeze(), arguments }))
    }
}
