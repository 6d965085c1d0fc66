//! The framing `aws-chunked`: chunks with their lengths before them, and trailers behind them.
//!
//! ```text
//! 10000;chunk-signature=ad80...48 CRLF
//! 65536 bytes CRLF
//! 0;chunk-signature=b6c6...f9 CRLF
//! x-amz-checksum-crc32c:sOO8/Q== CRLF
//! x-amz-trailer-signature:d81f...35 CRLF
//! CRLF
//! ```
//!
//! The decoder keeps nothing but a line that has not ended; the bytes of chunks are handed on as they come.

use bytes::{Buf, Bytes};
use rhumb_sigv4::unhex;

use crate::limits::{CHUNK_BYTES_MAX, CHUNK_LINE_BYTES_MAX, TRAILERS_MAX};

/// What comes out of the framing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Bytes of the chunk that is under way.
    Data(Bytes),
    /// The chunk is complete. The one without bytes is the last.
    Chunk {
        /// The signature that it carried.
        signature: Option<[u8; 32]>,
    },
    /// A trailer.
    Trailer {
        /// In lower case.
        name: String,
        /// Without spaces around it.
        value: String,
    },
    /// Nothing follows.
    End,
}

/// Why a body is not framed as it ought to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Broken {
    /// A line has more bytes than are kept.
    #[error("a line of the chunked encoding is too long")]
    Line,
    /// No hexadecimal number stands where a chunk begins, or its signature is none.
    #[error("a chunk does not begin with its length")]
    Head,
    /// A chunk is longer than any object that is put.
    #[error("a chunk is longer than 5 GiB")]
    Length,
    /// A chunk does not end where its length says.
    #[error("the bytes of a chunk are not followed by a line break")]
    Tail,
    /// A trailer cannot be read, or there are too many.
    #[error("a trailer is no header, or there are too many")]
    Trailer,
    /// More comes than the last trailer.
    #[error("bytes follow after the end of the chunked encoding")]
    Rest,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Head,
    Data { left: u64 },
    Tail,
    Trailers { seen: usize },
    Ended,
}

/// The decoder.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    line: Vec<u8>,
    signature: Option<[u8; 32]>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Head, line: Vec::new(), signature: None }
    }
}

impl Decoder {
    /// The next piece out of what has come; nothing when more must come first.
    ///
    /// # Errors
    /// [`Broken`]; what follows means nothing then.
    pub fn next(&mut self, frame: &mut Bytes) -> Result<Option<Piece>, Broken> {
        loop {
            if frame.is_empty() {
                return Ok(None);
            }
            match self.state {
                State::Head => {
                    let Some(line) = self.line(frame)? else { return Ok(None) };
                    let (length, signature) = read_head(&line)?;
                    self.signature = signature;
                    if length == 0 {
                        self.state = State::Trailers { seen: 0 };
                        return Ok(Some(Piece::Chunk { signature }));
                    }
                    self.state = State::Data { left: length };
                }
                State::Data { left } => return Ok(Some(self.data(left, frame))),
                State::Tail => {
                    let Some(line) = self.line(frame)? else { return Ok(None) };
                    if !line.is_empty() {
                        return Err(Broken::Tail);
                    }
                    self.state = State::Head;
                    return Ok(Some(Piece::Chunk { signature: self.signature }));
                }
                State::Trailers { seen } => {
                    let Some(line) = self.line(frame)? else { return Ok(None) };
                    return self.trailer(&line, seen).map(Some);
                }
                State::Ended => return Err(Broken::Rest),
            }
        }
    }

    /// Whether all has come. The line break at the very end may be missing: nothing is lost with it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Ended | State::Trailers { .. }) && self.line.is_empty()
    }

    fn data(&mut self, left: u64, frame: &mut Bytes) -> Piece {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(frame.len());
        let left = left - taken as u64;
        self.state = if left == 0 { State::Tail } else { State::Data { left } };
        Piece::Data(frame.split_to(taken))
    }

    fn trailer(&mut self, line: &[u8], seen: usize) -> Result<Piece, Broken> {
        if line.is_empty() {
            self.state = State::Ended;
            return Ok(Piece::End);
        }
        let text = std::str::from_utf8(line).map_err(|_| Broken::Trailer)?;
        let (name, value) = text.split_once(':').ok_or(Broken::Trailer)?;
        if seen >= TRAILERS_MAX {
            return Err(Broken::Trailer);
        }
        self.state = State::Trailers { seen: seen + 1 };
        let name = name.trim().to_ascii_lowercase();
        Ok(Piece::Trailer { name, value: value.trim().to_owned() })
    }

    /// A line without its end, once it has ended.
    fn line(&mut self, frame: &mut Bytes) -> Result<Option<Vec<u8>>, Broken> {
        let end = frame.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(frame.len());
        if self.line.len() + taken > CHUNK_LINE_BYTES_MAX {
            return Err(Broken::Line);
        }
        self.line.extend_from_slice(&frame.split_to(taken));
        if end.is_none() {
            return Ok(None);
        }
        frame.advance(1);
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(line))
    }
}

/// The length of a chunk and its signature.
fn read_head(line: &[u8]) -> Result<(u64, Option<[u8; 32]>), Broken> {
    let text = std::str::from_utf8(line).map_err(|_| Broken::Head)?;
    let mut parts = text.split(';');
    let digits = parts.next().unwrap_or_default().trim();
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !plain {
        return Err(Broken::Head);
    }
    let length = u64::from_str_radix(digits, 16).map_err(|_| Broken::Length)?;
    if length > CHUNK_BYTES_MAX {
        return Err(Broken::Length);
    }
    let mut signature = None;
    for part in parts {
        if let Some(text) = part.trim().strip_prefix("chunk-signature=") {
            signature = Some(unhex(text).ok_or(Broken::Head)?);
        }
    }
    Ok((length, signature))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All pieces of a body that comes in frames of some length, neighbouring data joined.
    fn decode(body: &[u8], step: usize) -> Result<(Vec<Piece>, bool), Broken> {
        let mut decoder = Decoder::default();
        let mut pieces: Vec<Piece> = Vec::new();
        for frame in body.chunks(step) {
            let mut frame = Bytes::copy_from_slice(frame);
            while let Some(piece) = decoder.next(&mut frame)? {
                match (pieces.last_mut(), piece) {
                    (Some(Piece::Data(before)), Piece::Data(more)) => {
                        *before = [before.as_ref(), &more].concat().into();
                    }
                    (_, piece) => pieces.push(piece),
                }
            }
        }
        Ok((pieces, decoder.is_complete()))
    }

    fn data(text: &'static str) -> Piece {
        Piece::Data(Bytes::from_static(text.as_bytes()))
    }

    const END: Piece = Piece::Chunk { signature: None };

    #[test]
    fn chunks_and_trailers_come_out_whatever_the_frames() {
        let body = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32: DUoRhQ==\r\n\r\n";
        let trailer =
            Piece::Trailer { name: "x-amz-checksum-crc32".into(), value: "DUoRhQ==".into() };
        let expected = vec![data("hello"), END, data(" world"), END, END, trailer, Piece::End];
        for step in 1..=body.len() {
            assert_eq!(decode(body, step), Ok((expected.clone(), true)), "{step}");
        }
    }

    #[test]
    fn signatures_come_with_their_chunks() {
        let signature = "ab".repeat(32);
        let body =
            format!("1;chunk-signature={signature}\r\nx\r\n0;chunk-signature={signature}\r\n\r\n");
        let (pieces, complete) = decode(body.as_bytes(), 7).unwrap();
        let signed = Piece::Chunk { signature: Some([0xab; 32]) };
        assert_eq!(pieces, [data("x"), signed.clone(), signed, Piece::End]);
        assert!(complete);
    }

    #[test]
    fn a_body_that_breaks_off_is_not_complete() {
        let body = b"5\r\nhello\r\n0\r\n\r\n";
        for end in 0..body.len() - 2 {
            let (_, complete) = decode(&body[..end], 3).unwrap();
            assert!(!complete, "{end}");
        }
        assert!(
            decode(&body[..body.len() - 2], 3).unwrap().1,
            "nothing but the last break is away"
        );
    }

    #[test]
    fn what_is_no_framing_is_refused() {
        for (body, broken) in [
            (&b"x\r\n"[..], Broken::Head),
            (b"\r\n", Broken::Head),
            (b"+5\r\nhello\r\n", Broken::Head),
            (b"5;chunk-signature=00\r\n", Broken::Head),
            (b"ffffffffffffffffff\r\n", Broken::Length),
            (b"7fffffffffffffff\r\n", Broken::Length),
            (b"5\r\nhello!\r\n", Broken::Tail),
            (b"0\r\nno trailer\r\n", Broken::Trailer),
            (b"0\r\n\r\nmore", Broken::Rest),
        ] {
            assert_eq!(decode(body, 100).map(|_| ()), Err(broken), "{body:?}");
        }
        let long = vec![b'0'; CHUNK_LINE_BYTES_MAX + 1];
        assert_eq!(decode(&long, 10).map(|_| ()), Err(Broken::Line));
        let many = format!("0\r\n{}", "a:b\r\n".repeat(TRAILERS_MAX + 1));
        assert_eq!(decode(many.as_bytes(), 10).map(|_| ()), Err(Broken::Trailer));
    }

    proptest! {
        #[test]
        fn what_is_framed_comes_out(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..8),
            step in 1_usize..64,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let (pieces, complete) = decode(&body, step).unwrap();
            let mut came = Vec::new();
            for piece in pieces {
                if let Piece::Data(bytes) = piece {
                    came.extend_from_slice(&bytes);
                }
            }
            prop_assert!(complete);
            prop_assert_eq!(came, chunks.concat());
        }

        #[test]
        fn nothing_makes_it_panic(body: Vec<u8>, step in 1_usize..64) {
            let _any = decode(&body, step);
        }
    }
}
