//! A reply as a value.

use bytes::Bytes;

/// A reply as a value: every type of RESP2 and RESP3.
#[derive(Clone, PartialEq, Debug)]
pub enum Frame {
    /// Nothing; in RESP2 a bulk string or array of length -1.
    Null,
    /// `+`: a short text without line breaks.
    Simple(Bytes),
    /// `-` or `!`: an error, its code first.
    Error(Bytes),
    /// `:`: a number.
    Integer(i64),
    /// `$`: bytes.
    Bulk(Bytes),
    /// `#`: true or false.
    Boolean(bool),
    /// `,`: a double, infinities and NaN included.
    Double(f64),
    /// `(`: a whole number of any size, in digits.
    BigNumber(Bytes),
    /// `=`: text in a format.
    Verbatim {
        /// Three bytes, such as `txt` or `mkd`.
        format: [u8; 3],
        /// The text.
        text: Bytes,
    },
    /// `*`: values in order.
    Array(Vec<Frame>),
    /// `%`: pairs in order.
    Map(Vec<(Frame, Frame)>),
    /// `~`: values without order.
    Set(Vec<Frame>),
    /// `>`: values that nobody asked for, such as a message.
    Push(Vec<Frame>),
}

impl Frame {
    /// The bytes of a text of any kind.
    #[must_use]
    pub const fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Simple(text)
            | Self::Error(text)
            | Self::Bulk(text)
            | Self::BigNumber(text)
            | Self::Verbatim { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether it is an error.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}
