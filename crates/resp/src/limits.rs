//! The bounds of what a decoder accepts.

/// The bounds of what a decoder accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Longest string, in bytes.
    pub bulk_bytes_max: usize,
    /// Most arguments of a request, or elements of one aggregate of a reply.
    pub elements_max: usize,
    /// Longest inline command or line of a reply, in bytes.
    pub line_bytes_max: usize,
    /// Largest request as a whole, in bytes.
    pub request_bytes_max: usize,
    /// Deepest nesting of a reply.
    pub nesting_max: usize,
    /// Whether the client has said who it is; decides the words of a refusal.
    pub authenticated: bool,
}

impl Limits {
    /// What an authenticated client may send: Redis's `proto-max-bulk-len` and
    /// `client-query-buffer-limit`.
    pub const AUTHENTICATED: Self = Self {
        bulk_bytes_max: 512 << 20,
        elements_max: 1 << 20,
        line_bytes_max: 64 << 10,
        request_bytes_max: 1 << 30,
        nesting_max: 32,
        authenticated: true,
    };

    /// What a client may send before it has said who it is, as in Redis.
    pub const UNAUTHENTICATED: Self = Self {
        bulk_bytes_max: 16 << 10,
        elements_max: 10,
        line_bytes_max: 64 << 10,
        request_bytes_max: 256 << 10,
        nesting_max: 4,
        authenticated: false,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::AUTHENTICATED
    }
}
