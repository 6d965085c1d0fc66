//! Why bytes are not RESP.

/// Why bytes are not RESP. The texts are those of Redis; a server sends `-ERR ` and the text, and
/// closes the connection, because what follows cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The count of a request or reply is no number or too large.
    #[error("Protocol error: invalid multibulk length")]
    MultibulkLength,
    /// More arguments than a client may send that has not authenticated.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// The length of a string is no number, negative or too large.
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// A longer string than a client may send that has not authenticated.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// An argument does not begin as one.
    #[error("Protocol error: expected '$', got '{}'", .0.escape_ascii())]
    ExpectedBulk(u8),
    /// A string does not end where its length says.
    #[error("Protocol error: bulk string is not followed by CRLF")]
    BulkEnd,
    /// An inline command does not end.
    #[error("Protocol error: too big inline request")]
    InlineSize,
    /// An inline command has an open quote.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// A request is too large as a whole.
    #[error("Protocol error: too big request")]
    RequestSize,
    /// A reply begins with an unknown byte.
    #[error("Protocol error: unknown type '{}'", .0.escape_ascii())]
    UnknownType(u8),
    /// The line of a reply is too long.
    #[error("Protocol error: too big line")]
    LineSize,
    /// A reply has a malformed number, boolean, null or verbatim string.
    #[error("Protocol error: malformed '{}'", .0.escape_ascii())]
    Malformed(u8),
    /// Replies inside of replies, too deep.
    #[error("Protocol error: nested too deep")]
    Nesting,
}
