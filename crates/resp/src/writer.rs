//! Frames to bytes, in the words of the protocol that the client asked for.

use bytes::{BufMut, BytesMut};

use crate::{double, frame::Frame};

/// Which protocol a connection speaks; it starts with RESP2, and `HELLO 3` changes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Protocol {
    /// The five types of old.
    #[default]
    Resp2,
    /// All types.
    Resp3,
}

/// Writes into a buffer, without anything in between.
///
/// In RESP2 the newer types fall back as in Redis: null to a bulk string of length -1, booleans to
/// 0 and 1, doubles, big numbers and verbatim text to bulk strings, maps to arrays of twice the
/// length, sets and pushes to arrays.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut BytesMut,
    protocol: Protocol,
}

impl<'b> Writer<'b> {
    /// Writes to the end of a buffer.
    pub const fn new(out: &'b mut BytesMut, protocol: Protocol) -> Self {
        Self { out, protocol }
    }

    /// The protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Nothing, where a value would stand.
    pub fn null(&mut self) {
        self.out.put_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Nothing, where an array would stand.
    pub fn null_array(&mut self) {
        self.out.put_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.out.put_slice(b"+OK\r\n");
    }

    /// A short text. Line breaks in it become spaces, because they would end it.
    pub fn simple(&mut self, text: &str) {
        self.text_line(b'+', text.as_bytes());
    }

    /// An error: its code, a space, its text. Line breaks become spaces.
    pub fn error(&mut self, text: &str) {
        self.text_line(b'-', text.as_bytes());
    }

    /// A number.
    pub fn integer(&mut self, number: i64) {
        self.number_line(b':', number);
    }

    /// Bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.sized(b'$', bytes.len(), &[bytes]);
    }

    /// Bytes, or nothing.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// A number as bytes, as in the reply of GET.
    pub fn bulk_integer(&mut self, number: i64) {
        self.bulk(itoa::Buffer::new().format(number).as_bytes());
    }

    /// True or false.
    pub fn boolean(&mut self, value: bool) {
        match (self.protocol, value) {
            (Protocol::Resp2, _) => self.integer(i64::from(value)),
            (Protocol::Resp3, true) => self.out.put_slice(b"#t\r\n"),
            (Protocol::Resp3, false) => self.out.put_slice(b"#f\r\n"),
        }
    }

    /// A double.
    pub fn double(&mut self, value: f64) {
        let mut text = double::Text::new();
        let text = text.of(value).as_bytes();
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => self.text_line(b',', text),
        }
    }

    /// A whole number of any size, in digits.
    pub fn big_number(&mut self, digits: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits),
            Protocol::Resp3 => self.text_line(b'(', digits),
        }
    }

    /// Text in a format such as `txt`.
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => self.sized(b'=', text.len() + 4, &[&format, b":", text]),
        }
    }

    /// The head of an array; its elements follow.
    pub fn array(&mut self, length: usize) {
        self.head(b'*', length);
    }

    /// The head of a map; its keys and values follow in turn.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.head(b'*', pairs.saturating_mul(2)),
            Protocol::Resp3 => self.head(b'%', pairs),
        }
    }

    /// The head of a set; its members follow.
    pub fn set(&mut self, length: usize) {
        self.head_or_array(b'~', length);
    }

    /// The head of something that nobody asked for; its elements follow.
    pub fn push(&mut self, length: usize) {
        self.head_or_array(b'>', length);
    }

    /// A request, as clients send it.
    pub fn command(&mut self, arguments: &[&[u8]]) {
        self.array(arguments.len());
        arguments.iter().for_each(|argument| self.bulk(argument));
    }

    /// A whole frame.
    pub fn frame(&mut self, frame: &Frame) {
        match frame {
            Frame::Null => self.null(),
            Frame::Simple(text) => self.text_line(b'+', text),
            Frame::Error(text) => self.text_line(b'-', text),
            Frame::Integer(number) => self.integer(*number),
            Frame::Bulk(bytes) => self.bulk(bytes),
            Frame::Boolean(value) => self.boolean(*value),
            Frame::Double(value) => self.double(*value),
            Frame::BigNumber(digits) => self.big_number(digits),
            Frame::Verbatim { format, text } => self.verbatim(*format, text),
            Frame::Array(frames) => {
                self.array(frames.len());
                frames.iter().for_each(|frame| self.frame(frame));
            }
            Frame::Set(frames) => {
                self.set(frames.len());
                frames.iter().for_each(|frame| self.frame(frame));
            }
            Frame::Push(frames) => {
                self.push(frames.len());
                frames.iter().for_each(|frame| self.frame(frame));
            }
            Frame::Map(pairs) => {
                self.map(pairs.len());
                for (key, value) in pairs {
                    self.frame(key);
                    self.frame(value);
                }
            }
        }
    }

    fn head_or_array(&mut self, kind: u8, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.head(b'*', length),
            Protocol::Resp3 => self.head(kind, length),
        }
    }

    fn head(&mut self, kind: u8, length: usize) {
        self.sized(kind, length, &[]);
    }

    fn number_line(&mut self, kind: u8, number: i64) {
        self.text_line(kind, itoa::Buffer::new().format(number).as_bytes());
    }

    fn text_line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.put_u8(kind);
        if memchr::memchr2(b'\r', b'\n', text).is_none() {
            self.out.put_slice(text);
        } else {
            let spaced = |byte: &u8| if b"\r\n".contains(byte) { b' ' } else { *byte };
            self.out.extend(text.iter().map(spaced));
        }
        self.out.put_slice(b"\r\n");
    }

    /// A type byte, a length, and, if there is a body, the body and its end.
    fn sized(&mut self, kind: u8, length: usize, body: &[&[u8]]) {
        const HEAD_BYTES_MAX: usize = 24;
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(length).as_bytes();
        self.out.reserve(HEAD_BYTES_MAX + if body.is_empty() { 0 } else { length + 2 });
        self.out.put_u8(kind);
        self.out.put_slice(digits);
        self.out.put_slice(b"\r\n");
        if !body.is_empty() {
            body.iter().for_each(|part| self.out.put_slice(part));
            self.out.put_slice(b"\r\n");
        }
    }
}
