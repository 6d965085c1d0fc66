//! A connection to a node's HTTP server that stays open, as thin as the protocol allows: tests see each
//! answer, and benchmarks measure the server and not this.
//!
//! Deliberately absent: TLS, tokens, chunked answers and repeats. The command line has a client of its own
//! with the first two, and answers are never chunked where a test or a benchmark asks.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

/// How long connecting may take.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// A connection.
#[derive(Debug)]
pub struct Http {
    stream: BufReader<TcpStream>,
    host: String,
    out: Vec<u8>,
    line: Vec<u8>,
    content: Vec<u8>,
}

impl Http {
    /// Connects; every answer must come within so long.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(address: SocketAddr, answer_wait: Duration) -> Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, CONNECT_WAIT)?, address, answer_wait)
    }

    /// Connects from one of the addresses of this machine, as one client of several.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open_from(from: Ipv4Addr, address: SocketAddr, answer_wait: Duration) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&address.into(), CONNECT_WAIT)?;
        Self::over(socket.into(), address, answer_wait)
    }

    fn over(stream: TcpStream, address: SocketAddr, answer_wait: Duration) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(answer_wait))?;
        let (stream, host) = (BufReader::new(stream), address.to_string());
        Ok(Self { stream, host, out: Vec::new(), line: Vec::new(), content: Vec::new() })
    }

    /// Asks with a body of JSON, which may be empty; gives the status and the body of the answer.
    ///
    /// # Errors
    /// When the connection ends, or the answer is late or no HTTP.
    pub fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<(u16, &[u8])> {
        self.out.clear();
        write!(
            self.out,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            self.host,
            body.len()
        )?;
        self.out.extend_from_slice(body);
        self.stream.get_mut().write_all(&self.out)?;
        ensure!(self.next_line()? > 0, "the connection was closed");
        let status = self.line.split(|byte| *byte == b' ').nth(1).context("no status")?;
        let status = std::str::from_utf8(status)?.parse()?;
        let mut length = 0;
        while self.next_line()? > 0 {
            let Some(colon) = self.line.iter().position(|byte| *byte == b':') else { break };
            let (name, value) = self.line.split_at(colon);
            if name.eq_ignore_ascii_case(b"content-length") {
                let value = value.get(1..).unwrap_or_default().trim_ascii();
                length = std::str::from_utf8(value)?.parse()?;
            }
        }
        self.content.resize(length, 0);
        self.stream.read_exact(&mut self.content)?;
        Ok((status, &self.content))
    }

    fn next_line(&mut self) -> Result<usize> {
        self.line.clear();
        Ok(self.stream.read_until(b'\n', &mut self.line)?)
    }
}
