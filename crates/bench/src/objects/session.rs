//! A client of S3 as thin as the protocol allows: one connection that is kept, Signature Version 4, and
//! a payload whose SHA-256 is signed, so that every server has the same to check.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use rhumb_sigv4::{ALGORITHM, Content, PathStyle, Request, Scope, Secret, SigningKey, Stamp};
use rhumb_types::UnixMillis;
use socket2::SockRef;

use super::body::Body;

/// How long any answer is waited for: a gigabyte is stored before it is answered.
const ANSWER_WAIT: Duration = Duration::from_secs(120);
/// What is read of a body at a time.
const READ_BYTES: usize = 256 << 10;
const SIGNED: [&str; 3] = ["host", "x-amz-content-sha256", "x-amz-date"];

/// An access key.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// Where a store is, and who may use it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) region: &'static str,
    pub(crate) keys: Vec<Credential>,
}

/// What a page of a listing holds.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) keys: usize,
    /// Where the next page begins; none after the last.
    pub(crate) next: Option<String>,
}

/// A connection that acknowledges at once what comes. A server that writes the head and the body of an
/// answer one after the other, and lets the second wait until the first is acknowledged (Nagle, RFC 896),
/// would be measured by this side's delay of 40 ms.
struct Prompt(TcpStream);

impl Read for Prompt {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        // The system forgets it with every exchange.
        SockRef::from(&self.0).set_tcp_quickack(true)?;
        self.0.read(room)
    }
}

impl Write for Prompt {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A line that takes so many bytes in a second.
struct Line<'a, W> {
    to: &'a mut W,
    begun: Instant,
    sent: u64,
    bytes_per_second: u64,
}

impl<W: Write> Write for Line<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.sent += written as u64;
        let due = Duration::from_micros(self.sent * 1_000_000 / self.bytes_per_second.max(1));
        std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// One connection.
pub(crate) struct Session {
    stream: BufReader<Prompt>,
    host: String,
    id: String,
    secret: Secret,
    scope: Scope,
    key: SigningKey,
    head: String,
    buffer: Vec<u8>,
    /// The tag of the last answer.
    tag: Option<String>,
}

impl Session {
    /// The nth of several clients: what one key may ask per second is bounded, so they share the keys.
    pub(crate) fn open(endpoint: &Endpoint, nth: usize) -> Result<Self> {
        let keys = &endpoint.keys;
        let credential = keys.get(nth % keys.len().max(1)).context("a store without keys")?;
        let stream = TcpStream::connect(endpoint.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        let secret = Secret::new(credential.secret.clone());
        let scope = Scope {
            day: now()?.day(),
            region: endpoint.region.to_owned(),
            service: "s3".to_owned(),
        };
        let key = SigningKey::derive(&secret, &scope);
        Ok(Self {
            stream: BufReader::new(Prompt(stream)),
            host: endpoint.address.to_string(),
            id: credential.id.clone(),
            secret,
            scope,
            key,
            head: String::new(),
            buffer: Vec::new(),
            tag: None,
        })
    }

    /// Makes a bucket.
    pub(crate) fn create_bucket(&mut self, bucket: &str) -> Result<()> {
        self.head("PUT", &format!("/{bucket}"), "", &Body::empty())?;
        self.send_head()?;
        self.answer().map(drop)
    }

    /// Writes an object.
    pub(crate) fn put(&mut self, path: &str, body: &Body) -> Result<()> {
        self.put_over(path, body, u64::MAX)
    }

    /// Writes an object over a line that takes so many bytes in a second.
    pub(crate) fn put_over(
        &mut self,
        path: &str,
        body: &Body,
        bytes_per_second: u64,
    ) -> Result<()> {
        self.head("PUT", path, "", body)?;
        self.buffer.clear();
        self.buffer.extend_from_slice(self.head.as_bytes());
        let to = self.stream.get_mut();
        let mut line = Line { to, begun: Instant::now(), sent: 0, bytes_per_second };
        body.write(&mut self.buffer, &mut line)?;
        self.answer().map(drop)
    }

    /// Begins an upload in parts; its id.
    pub(crate) fn begin_upload(&mut self, path: &str) -> Result<String> {
        self.head("POST", path, "uploads=", &Body::empty())?;
        self.send_head()?;
        let text = String::from_utf8(self.answer()?)?;
        between(&text, "<UploadId>", "</UploadId>").context("no id of an upload")
    }

    /// Writes a part; its tag.
    pub(crate) fn put_part(
        &mut self,
        path: &str,
        (upload, number): (&str, usize),
        body: &Body,
    ) -> Result<String> {
        let query = format!("partNumber={number}&uploadId={}", encoded(upload));
        self.head("PUT", path, &query, body)?;
        self.buffer.clear();
        self.buffer.extend_from_slice(self.head.as_bytes());
        body.write(&mut self.buffer, self.stream.get_mut())?;
        self.answer()?;
        self.tag.clone().context("a part without a tag")
    }

    /// Ends an upload.
    pub(crate) fn complete_upload(
        &mut self,
        path: &str,
        upload: &str,
        tags: &[String],
    ) -> Result<()> {
        let part = |(number, tag): (usize, &String)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
        };
        let parts: String = (1..).zip(tags).map(part).collect();
        let text = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let body = Body::of_text(&text);
        self.head("POST", path, &format!("uploadId={}", encoded(upload)), &body)?;
        self.send_head()?;
        self.stream.get_mut().write_all(text.as_bytes())?;
        self.answer().map(drop)
    }

    /// Reads an object to its end; how many bytes came.
    pub(crate) fn get(&mut self, path: &str) -> Result<u64> {
        self.head("GET", path, "", &Body::empty())?;
        self.send_head()?;
        let bytes = self.answer_head()?;
        let mut left = bytes;
        self.buffer.resize(READ_BYTES, 0);
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(READ_BYTES);
            let room = self.buffer.get_mut(..want).context("a short buffer")?;
            let came = self.stream.read(room)?;
            ensure!(came > 0, "the body breaks off");
            left -= u64::try_from(came)?;
        }
        Ok(bytes)
    }

    /// A page of a listing.
    pub(crate) fn list(&mut self, bucket: &str, after: Option<&str>) -> Result<Page> {
        let token = after.map(|token| format!("continuation-token={}&", encoded(token)));
        let query = format!("{}list-type=2&max-keys=1000", token.unwrap_or_default());
        self.head("GET", &format!("/{bucket}"), &query, &Body::empty())?;
        self.send_head()?;
        let text = String::from_utf8(self.answer()?)?;
        let next = between(&text, "<NextContinuationToken>", "</NextContinuationToken>");
        Ok(Page { keys: text.matches("<Key>").count(), next })
    }

    /// Writes the head of a request, signed now.
    fn head(&mut self, method: &str, path: &str, query: &str, body: &Body) -> Result<()> {
        let stamp = now()?;
        if stamp.day() != self.scope.day {
            self.scope.day = stamp.day();
            self.key = SigningKey::derive(&self.secret, &self.scope);
        }
        let (hash, date) = (hex(&body.hash), stamp.to_string());
        let values = [self.host.as_bytes(), hash.as_bytes(), date.as_bytes()];
        let headers: Vec<(&str, &[u8])> = SIGNED.into_iter().zip(values).collect();
        let request = Request { method, path, query, headers: &headers };
        let signature = rhumb_sigv4::sign(
            &request,
            PathStyle::Plain,
            &SIGNED.map(str::to_owned),
            Content::Hash(body.hash),
            (&self.key, &self.scope, stamp),
        );
        let mark = if query.is_empty() { "" } else { "?" };
        self.head.clear();
        write!(
            self.head,
            "{method} {path}{mark}{query} HTTP/1.1\r\nhost: {}\r\nx-amz-content-sha256: {hash}\r\n\
             x-amz-date: {date}\r\nauthorization: {ALGORITHM} Credential={}/{}, SignedHeaders={}, \
             Signature={}\r\ncontent-length: {}\r\n\r\n",
            self.host,
            self.id,
            self.scope,
            SIGNED.join(";"),
            hex(&signature),
            body.bytes
        )?;
        Ok(())
    }

    fn send_head(&mut self) -> Result<()> {
        Ok(self.stream.get_mut().write_all(self.head.as_bytes())?)
    }

    /// The body of an answer that is a yes.
    fn answer(&mut self) -> Result<Vec<u8>> {
        let bytes = self.answer_head()?;
        let mut body = vec![0; usize::try_from(bytes)?];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    /// The length of the body of an answer that is a yes.
    fn answer_head(&mut self) -> Result<u64> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the server closed the connection");
        let status: u16 = line.split(' ').nth(1).context("no status")?.parse()?;
        let mut length = None;
        let mut is_chunked = false;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse()?);
            }
            if name.eq_ignore_ascii_case("etag") {
                self.tag = Some(value.trim().to_owned());
            }
            is_chunked |= name.eq_ignore_ascii_case("transfer-encoding");
        }
        ensure!(!is_chunked, "an answer in chunks: {line}");
        let length: u64 = length.unwrap_or_default();
        if !(200..300).contains(&status) {
            let mut text = String::new();
            self.stream.by_ref().take(length).read_to_string(&mut text)?;
            anyhow::bail!("{} answered {status}: {text}", self.head.lines().next().unwrap_or(""));
        }
        Ok(length)
    }
}

/// What stands between two marks.
fn between(text: &str, begin: &str, end: &str) -> Option<String> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _)| found.to_owned())
}

fn now() -> Result<Stamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Stamp::at(UnixMillis(u64::try_from(since.as_millis())?)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// A value as it stands in a query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _written = write!(out, "%{byte:02X}");
        }
        out
    })
}
