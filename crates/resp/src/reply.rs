//! What servers send, for clients.

use bytes::{Buf, Bytes, BytesMut};

use crate::{
    double,
    error::ProtocolError,
    frame::Frame,
    limits::Limits,
    number::{self, Line},
};

/// Room made for the elements of an aggregate before they are there; its length is only a word.
const ELEMENTS_RESERVED_MAX: usize = 1_024;

/// What kind of aggregate is being filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Array,
    Map,
    Set,
    Push,
    /// Read and dropped: it comes before the value that it describes.
    Attribute,
}

#[derive(Clone, Debug)]
struct Level {
    kind: Kind,
    missing: usize,
    frames: Vec<Frame>,
}

/// What the start of the buffer holds.
enum Piece {
    Leaf(Frame),
    Head(Kind, usize),
}

/// Cuts replies out of a read buffer.
///
/// Values are taken out of the buffer as soon as they are whole, also those inside of a reply that
/// is not, so that nothing is read twice. After an error the connection is lost.
#[derive(Clone, Debug, Default)]
pub struct ReplyDecoder {
    limits: Limits,
    /// The aggregates that are not complete, the outermost first.
    levels: Vec<Level>,
    /// How much of the buffer is known to hold no end of line.
    scanned: usize,
}

impl ReplyDecoder {
    /// A decoder at the start of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The next reply, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are not RESP or exceed a limit.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        while let Some(piece) = self.piece(buffer)? {
            let whole = match piece {
                Piece::Leaf(frame) => self.place(frame),
                Piece::Head(kind, missing) => self.open(kind, missing)?,
            };
            if whole.is_some() {
                return Ok(whole);
            }
        }
        Ok(None)
    }

    fn open(&mut self, kind: Kind, missing: usize) -> Result<Option<Frame>, ProtocolError> {
        if self.levels.len() >= self.limits.nesting_max {
            return Err(ProtocolError::Nesting);
        }
        let frames = Vec::with_capacity(missing.min(ELEMENTS_RESERVED_MAX));
        self.levels.push(Level { kind, missing, frames });
        Ok(if missing == 0 { self.close() } else { None })
    }

    /// Puts a whole frame where it belongs; the reply, if that completes it.
    fn place(&mut self, frame: Frame) -> Option<Frame> {
        let Some(level) = self.levels.last_mut() else { return Some(frame) };
        level.frames.push(frame);
        level.missing -= 1;
        if level.missing == 0 { self.close() } else { None }
    }

    /// Closes complete aggregates from the inside out.
    fn close(&mut self) -> Option<Frame> {
        loop {
            let closed = self.levels.pop_if(|level| level.missing == 0)?;
            let frame = closed.into_frame();
            match (frame, self.levels.last_mut()) {
                // The value that an attribute describes is still to come.
                (None, _) => return None,
                (Some(frame), None) => return Some(frame),
                (Some(frame), Some(level)) => {
                    level.frames.push(frame);
                    level.missing -= 1;
                }
            }
        }
    }

    fn piece(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, ProtocolError> {
        let Some(kind) = buffer.first().copied() else { return Ok(None) };
        match kind {
            b'+' | b'-' | b',' | b'(' | b'#' | b'_' => self.line(kind, buffer),
            b'$' | b'=' | b'!' => self.sized(kind, buffer),
            b':' => Ok(number_of(kind, buffer)?.map(|(number, length)| {
                buffer.advance(length);
                Piece::Leaf(Frame::Integer(number))
            })),
            b'*' | b'%' | b'~' | b'>' | b'|' => self.head(kind, buffer),
            other => Err(ProtocolError::UnknownType(other)),
        }
    }

    fn line(&mut self, kind: u8, buffer: &mut BytesMut) -> Result<Option<Piece>, ProtocolError> {
        let unseen = buffer.get(self.scanned..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', unseen).map(|at| self.scanned + at) else {
            self.scanned = buffer.len();
            let too_long = buffer.len() > self.limits.line_bytes_max;
            return if too_long { Err(ProtocolError::LineSize) } else { Ok(None) };
        };
        if end > self.limits.line_bytes_max {
            return Err(ProtocolError::LineSize);
        }
        self.scanned = 0;
        let mut line = buffer.split_to(end + 1).freeze();
        line.advance(1);
        let text = match line.strip_suffix(b"\r\n") {
            Some(text) => text.len(),
            None => return Err(ProtocolError::Malformed(kind)),
        };
        line.truncate(text);
        leaf(kind, line).map(|frame| Some(Piece::Leaf(frame)))
    }

    fn sized(&self, kind: u8, buffer: &mut BytesMut) -> Result<Option<Piece>, ProtocolError> {
        let Some((length, head)) = number_of(kind, buffer)? else { return Ok(None) };
        if length == -1 && kind == b'$' {
            buffer.advance(head);
            return Ok(Some(Piece::Leaf(Frame::Null)));
        }
        let length = usize::try_from(length).map_err(|_| ProtocolError::BulkLength)?;
        if length > self.limits.bulk_bytes_max {
            return Err(ProtocolError::BulkLength);
        }
        match buffer.get(head + length..head + length + 2) {
            None => return Ok(None),
            Some(b"\r\n") => {}
            Some(_) => return Err(ProtocolError::BulkEnd),
        }
        buffer.advance(head);
        let text = buffer.split_to(length).freeze();
        buffer.advance(2);
        leaf(kind, text).map(|frame| Some(Piece::Leaf(frame)))
    }

    fn head(&self, kind: u8, buffer: &mut BytesMut) -> Result<Option<Piece>, ProtocolError> {
        let Some((count, head)) = number_of(kind, buffer)? else { return Ok(None) };
        buffer.advance(head);
        if count == -1 && kind == b'*' {
            return Ok(Some(Piece::Leaf(Frame::Null)));
        }
        let count = usize::try_from(count).map_err(|_| ProtocolError::MultibulkLength)?;
        if count > self.limits.elements_max {
            return Err(ProtocolError::MultibulkLength);
        }
        Ok(Some(match kind {
            b'%' => Piece::Head(Kind::Map, count * 2),
            b'|' => Piece::Head(Kind::Attribute, count * 2),
            b'~' => Piece::Head(Kind::Set, count),
            b'>' => Piece::Head(Kind::Push, count),
            _ => Piece::Head(Kind::Array, count),
        }))
    }
}

impl Level {
    fn into_frame(self) -> Option<Frame> {
        Some(match self.kind {
            Kind::Array => Frame::Array(self.frames),
            Kind::Set => Frame::Set(self.frames),
            Kind::Push => Frame::Push(self.frames),
            Kind::Attribute => return None,
            Kind::Map => {
                let mut frames = self.frames.into_iter();
                let pairs = std::iter::from_fn(|| frames.next().zip(frames.next()));
                Frame::Map(pairs.collect())
            }
        })
    }
}

/// The number after a type byte, and the length of both with their CRLF.
fn number_of(kind: u8, buffer: &BytesMut) -> Result<Option<(i64, usize)>, ProtocolError> {
    match number::line(buffer.get(1..).unwrap_or_default()) {
        Line::Number(number, length) => Ok(Some((number, 1 + length))),
        Line::Incomplete => Ok(None),
        Line::Malformed => Err(match kind {
            b'$' | b'=' | b'!' => ProtocolError::BulkLength,
            b':' => ProtocolError::Malformed(kind),
            _ => ProtocolError::MultibulkLength,
        }),
    }
}

fn leaf(kind: u8, mut text: Bytes) -> Result<Frame, ProtocolError> {
    let malformed = ProtocolError::Malformed(kind);
    Ok(match kind {
        b'+' => Frame::Simple(text),
        b'-' | b'!' => Frame::Error(text),
        b'$' => Frame::Bulk(text),
        b',' => Frame::Double(double::parse(&text).ok_or(malformed)?),
        b'(' => {
            let digits = text.strip_prefix(b"-").unwrap_or(&text);
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(malformed);
            }
            Frame::BigNumber(text)
        }
        b'=' => {
            let format = match text.get(..4) {
                Some([a, b, c, b':']) => [*a, *b, *c],
                _ => return Err(malformed),
            };
            text.advance(4);
            Frame::Verbatim { format, text }
        }
        _ => match (kind, text.as_ref()) {
            (b'#', b"t") => Frame::Boolean(true),
            (b'#', b"f") => Frame::Boolean(false),
            (b'_', b"") => Frame::Null,
            _ => return Err(malformed),
        },
    })
}
