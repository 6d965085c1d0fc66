//! A small blocking RESP client, for the commands that speak to a node.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::BytesMut;
use rhumb_resp::{Frame, Limits, Protocol, ProtocolError, ReplyDecoder, Writer};

/// Bytes read at a time.
const READ_BYTES: usize = 16 << 10;

/// Why a command had no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The connection failed; what was sent may have been done.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The answer is not RESP.
    #[error("the answer is not RESP: {0}")]
    Protocol(#[from] ProtocolError),
    /// The server said no.
    #[error("{0}")]
    Refused(String),
    /// The answer is of another kind than asked for.
    #[error("an unexpected answer: {0:?}")]
    Unexpected(Frame),
}

/// A connection to a node's RESP server.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    incoming: BytesMut,
    outgoing: BytesMut,
    decoder: ReplyDecoder,
}

impl Client {
    /// Connects; `wait` bounds the connecting and every answer.
    pub(crate) fn connect(address: SocketAddr, wait: Duration) -> Result<Self, ClientError> {
        let stream = TcpStream::connect_timeout(&address, wait)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(wait))?;
        stream.set_write_timeout(Some(wait))?;
        Ok(Self {
            stream,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            decoder: ReplyDecoder::new(Limits::AUTHENTICATED),
        })
    }

    /// Sends a command without waiting.
    pub(crate) fn send(&mut self, words: &[&[u8]]) -> Result<(), ClientError> {
        self.outgoing.clear();
        Writer::new(&mut self.outgoing, Protocol::Resp2).command(words);
        self.stream.write_all(&self.outgoing)?;
        Ok(())
    }

    /// Waits for the next answer or message.
    pub(crate) fn receive(&mut self) -> Result<Frame, ClientError> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.incoming)? {
                return Ok(frame);
            }
            let mut piece = [0; READ_BYTES];
            let read = self.stream.read(&mut piece)?;
            if read == 0 {
                return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
            }
            self.incoming.extend_from_slice(piece.get(..read).unwrap_or_default());
        }
    }

    /// Sends a command and waits for its answer; an error of the server is an error here.
    pub(crate) fn call(&mut self, words: &[&[u8]]) -> Result<Frame, ClientError> {
        self.send(words)?;
        match self.receive()? {
            Frame::Error(text) => {
                Err(ClientError::Refused(String::from_utf8_lossy(&text).into_owned()))
            }
            frame => Ok(frame),
        }
    }

    /// A command whose answer is a value, or nothing.
    pub(crate) fn value(&mut self, words: &[&[u8]]) -> Result<Option<Vec<u8>>, ClientError> {
        match self.call(words)? {
            Frame::Null => Ok(None),
            Frame::Bulk(bytes) | Frame::Simple(bytes) => Ok(Some(bytes.to_vec())),
            other => Err(ClientError::Unexpected(other)),
        }
    }

    /// A command whose answer is a number.
    pub(crate) fn number(&mut self, words: &[&[u8]]) -> Result<i64, ClientError> {
        match self.call(words)? {
            Frame::Integer(number) => Ok(number),
            other => Err(ClientError::Unexpected(other)),
        }
    }
}
