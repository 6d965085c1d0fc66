//! The body of a request as it comes in: taken out of its framing, held against the signatures of its
//! chunks and its length, and not waited for without end.
//!
//! Bytes are handed on as they come. What is wrong shows at the end, if not before, as an error in the
//! place of the end; whoever stores the bytes must not keep what did not end well.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use md5::Md5;
use rhumb_objects::checksum::Algorithm;
use rhumb_sigv4::{Chain, Content, Refusal};
use s3s::{S3Error, S3ErrorCode};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};

use crate::{
    chunked::{Broken, Decoder, Piece},
    declared::{Declared, header_of, too_large},
    door::sentence,
    limits::{PACE, PACE_BYTES_MIN, PUT_BYTES_MAX},
};

/// The trailer that signs the others.
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// What is wrong with a body.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum BodyFault {
    #[error("the body is {came} bytes long, and {said} were announced")]
    Incomplete { said: u64, came: u64 },
    #[error("the body broke off: {0}")]
    BrokeOff(String),
    #[error("less than 32 KiB of the body came within 30 s")]
    Late,
    #[error("the body is larger than 5 GiB")]
    TooLarge,
    #[error(transparent)]
    Framing(#[from] Broken),
    #[error("a part of the body does not carry its signature")]
    Signature,
    #[error("the body is not the one that was signed")]
    Payload,
    #[error("the Content-MD5 you specified did not match what was received")]
    Md5,
    #[error("the {} you specified did not match the calculated checksum", .0.name())]
    Checksum(Algorithm),
    #[error("the trailer {} was announced, and another or none came", header_of(*.0))]
    Trailer(Algorithm),
    #[error("a trailer came that was not announced")]
    Unannounced,
}

impl BodyFault {
    /// As clients see it.
    pub(crate) fn error(&self) -> S3Error {
        let code = match self {
            Self::Incomplete { .. } | Self::BrokeOff(_) => S3ErrorCode::IncompleteBody,
            Self::Late => S3ErrorCode::RequestTimeout,
            Self::TooLarge => return too_large(true),
            Self::Framing(_) => return self.custom("InvalidChunkSizeError"),
            Self::Signature => S3ErrorCode::SignatureDoesNotMatch,
            Self::Payload => return self.custom("XAmzContentSHA256Mismatch"),
            Self::Md5 | Self::Checksum(_) => S3ErrorCode::BadDigest,
            Self::Trailer(_) | Self::Unannounced => return self.custom("MalformedTrailerError"),
        };
        S3Error::with_message(code, sentence(&self.to_string()))
    }

    /// A code that the codec does not know.
    fn custom(&self, code: &'static str) -> S3Error {
        let code = S3ErrorCode::Custom(code.into());
        let mut error = S3Error::with_message(code, sentence(&self.to_string()));
        error.set_status_code(http::StatusCode::BAD_REQUEST);
        error
    }
}

/// What became of a body, for whoever gets the bytes through others that do not know of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(Arc<Outcome>);

#[derive(Debug, Default)]
struct Outcome {
    fault: OnceLock<BodyFault>,
    trailer: OnceLock<String>,
}

impl Verdict {
    /// What was wrong with it, if that has shown already.
    pub(crate) fn fault(&self) -> Option<S3Error> {
        self.0.fault.get().map(BodyFault::error)
    }

    /// The checksum that came after it.
    pub(crate) fn trailer(&self) -> Option<String> {
        self.0.trailer.get().cloned()
    }
}

/// Holds a document that has come against what was declared of it. The bytes of objects are held
/// against that by the engine, which computes over them anyway.
pub(crate) fn check_document(
    declared: &Declared,
    verdict: &Verdict,
    document: &[u8],
) -> Result<(), BodyFault> {
    if let Content::Hash(hash) = declared.content
        && Sha256::digest(document)[..] != hash
    {
        return Err(BodyFault::Payload);
    }
    if declared.md5.is_some_and(|md5| Md5::digest(document)[..] != md5) {
        return Err(BodyFault::Md5);
    }
    let header = declared.sum.clone();
    let trailer = declared.trailer.zip(verdict.trailer());
    let Some((algorithm, text)) = header.or(trailer) else { return Ok(()) };
    let same = algorithm.read(&text).is_ok_and(|given| given == algorithm.over(document));
    if same { Ok(()) } else { Err(BodyFault::Checksum(algorithm)) }
}

/// How a body comes: a client that is waited for must not let its bytes trickle.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    came: u64,
}

impl Pace {
    fn count(&mut self, waited: Duration, came: usize) -> Result<(), BodyFault> {
        self.waited += waited;
        self.came += came as u64;
        if self.waited < PACE {
            return Ok(());
        }
        if self.came < PACE_BYTES_MIN {
            return Err(BodyFault::Late);
        }
        *self = Self::default();
        Ok(())
    }
}

/// A body that comes in.
struct Intake<S> {
    body: S,
    frame: Bytes,
    decoder: Option<Decoder>,
    chain: Option<Chain>,
    /// Of the chunk that is under way.
    chunk: Sha256,
    /// Trailers as they are signed.
    trailers: Vec<u8>,
    trailers_signed: bool,
    signs_trailers: bool,
    announced: Option<Algorithm>,
    verdict: Verdict,
    said: Option<u64>,
    came: u64,
    pace: Pace,
}

impl<S, E> Intake<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    fn new(body: S, declared: &Declared, chain: Option<Chain>, verdict: Verdict) -> Self {
        let signed = matches!(declared.content, Content::Chunks | Content::ChunksAndTrailers);
        Self {
            body,
            frame: Bytes::new(),
            decoder: declared.chunked.then(Decoder::default),
            chain: chain.filter(|_| signed),
            chunk: Sha256::new(),
            trailers: Vec::new(),
            trailers_signed: false,
            signs_trailers: declared.content == Content::ChunksAndTrailers,
            announced: declared.trailer,
            verdict,
            said: declared.bytes,
            came: 0,
            pace: Pace::default(),
        }
    }

    /// The next bytes of the content.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyFault> {
        loop {
            if let Some(bytes) = self.decode()? {
                return self.pass(bytes).map(Some);
            }
            match self.receive().await? {
                Some(frame) => self.frame = frame,
                None => return self.finish().map(|()| None),
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, BodyFault> {
        let began = Instant::now();
        let frame = timeout(PACE, self.body.next()).await.map_err(|_| BodyFault::Late)?;
        let frame = frame.transpose().map_err(|error| BodyFault::BrokeOff(error.to_string()))?;
        self.pace.count(began.elapsed(), frame.as_ref().map_or(0, Bytes::len))?;
        Ok(frame)
    }

    /// Bytes of the content out of what has come.
    fn decode(&mut self) -> Result<Option<Bytes>, BodyFault> {
        let Some(decoder) = &mut self.decoder else {
            let frame = std::mem::take(&mut self.frame);
            return Ok((!frame.is_empty()).then_some(frame));
        };
        while let Some(piece) = decoder.next(&mut self.frame)? {
            match piece {
                Piece::Data(bytes) => {
                    if self.chain.is_some() {
                        self.chunk.update(&bytes);
                    }
                    return Ok(Some(bytes));
                }
                Piece::Chunk { signature } => {
                    let hash = std::mem::take(&mut self.chunk).finalize().into();
                    if let Some(chain) = &mut self.chain {
                        let signature = signature.ok_or(BodyFault::Signature)?;
                        chain.check_chunk(hash, &signature)?;
                    }
                }
                Piece::Trailer { name, value } if name == TRAILER_SIGNATURE => {
                    if let Some(chain) = &mut self.chain {
                        let signature = rhumb_sigv4::unhex(&value).ok_or(BodyFault::Signature)?;
                        chain.check_trailers(&self.trailers, &signature)?;
                    }
                    self.trailers_signed = true;
                }
                Piece::Trailer { name, value } => {
                    let wanted = self.announced.filter(|it| header_of(*it) == name);
                    let open = !self.trailers_signed;
                    wanted.filter(|_| open).ok_or(BodyFault::Unannounced)?;
                    self.trailers.extend_from_slice(format!("{name}:{value}\n").as_bytes());
                    let twice = self.verdict.0.trailer.set(value).is_err();
                    if twice {
                        return Err(BodyFault::Unannounced);
                    }
                }
                Piece::End => {}
            }
        }
        Ok(None)
    }

    fn pass(&mut self, bytes: Bytes) -> Result<Bytes, BodyFault> {
        self.came += bytes.len() as u64;
        if self.came > PUT_BYTES_MAX {
            return Err(BodyFault::TooLarge);
        }
        if let Some(said) = self.said.filter(|said| self.came > *said) {
            return Err(BodyFault::Incomplete { said, came: self.came });
        }
        Ok(bytes)
    }

    fn finish(&mut self) -> Result<(), BodyFault> {
        if self.decoder.as_ref().is_some_and(|decoder| !decoder.is_complete()) {
            return Err(BodyFault::BrokeOff("its last chunk is missing".to_owned()));
        }
        if let Some(said) = self.said.filter(|said| self.came != *said) {
            return Err(BodyFault::Incomplete { said, came: self.came });
        }
        if self.signs_trailers && self.chain.is_some() && !self.trailers_signed {
            return Err(BodyFault::Signature);
        }
        match self.announced.filter(|_| self.verdict.0.trailer.get().is_none()) {
            Some(algorithm) => Err(BodyFault::Trailer(algorithm)),
            None => Ok(()),
        }
    }
}

impl From<Refusal> for BodyFault {
    fn from(_: Refusal) -> Self {
        Self::Signature
    }
}

/// The content of a body, and what became of it. An error is the last item.
pub(crate) fn content<S, E>(
    body: S,
    declared: &Declared,
    chain: Option<Chain>,
) -> (impl Stream<Item = Result<Bytes, BodyFault>> + use<S, E>, Verdict)
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let verdict = Verdict::default();
    let told = verdict.clone();
    let intake = Some(Intake::new(body, declared, chain, verdict.clone()));
    let content = stream::unfold((intake, told), |(intake, told)| async move {
        let mut intake = intake?;
        match intake.next().await {
            Ok(bytes) => bytes.map(|bytes| (Ok(bytes), (Some(intake), told))),
            Err(fault) => {
                // Nobody else sets it.
                let _first = told.0.fault.set(fault.clone());
                Some((Err(fault), (None, told)))
            }
        }
    });
    (content, verdict)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use rhumb_sigv4::{Scope, Secret, Seed, SigningKey, Stamp};

    use super::*;

    /// What an object is declared to be, when nothing is said of it.
    fn silent() -> Declared {
        Declared {
            content: Content::Unsigned,
            chunked: false,
            bytes: None,
            md5: None,
            sum: None,
            trailer: None,
            is_object: true,
        }
    }

    fn seed() -> Seed {
        let stamp = Stamp::parse("20130524T000000Z").unwrap();
        let scope = Scope { day: stamp.day(), region: "us-east-1".into(), service: "s3".into() };
        let key = SigningKey::derive(&Secret::new("secret".into()), &scope);
        Seed { signature: [7; 32], key, scope, stamp }
    }

    /// The content of a body that comes in frames of some length.
    async fn take(body: &[u8], declared: &Declared) -> Result<Vec<u8>, BodyFault> {
        let frames: Vec<Result<Bytes, Infallible>> =
            body.chunks(11).map(|frame| Ok(Bytes::copy_from_slice(frame))).collect();
        let (content, verdict) = content(stream::iter(frames), declared, Some(Chain::from(seed())));
        let mut came = Vec::new();
        let mut content = std::pin::pin!(content);
        while let Some(bytes) = content.next().await {
            match bytes {
                Ok(bytes) => came.extend_from_slice(&bytes),
                Err(fault) => {
                    assert!(verdict.fault().is_some(), "it is told aside too");
                    assert!(content.next().await.is_none(), "nothing follows an error");
                    return Err(fault);
                }
            }
        }
        assert!(verdict.fault().is_none());
        check_document(declared, &verdict, &came)?;
        Ok(came)
    }

    const TEXT: &[u8] = b"the quick brown fox jumps over the lazy dog";

    #[tokio::test]
    async fn what_is_declared_is_checked() {
        let hash = Content::of_body(TEXT);
        let md5: [u8; 16] = Md5::digest(TEXT).into();
        let good = Declared { content: hash, md5: Some(md5), ..silent() };
        assert_eq!(take(TEXT, &good).await.unwrap(), TEXT);
        let other = Declared { content: Content::of_body(b"other"), ..silent() };
        assert_eq!(take(TEXT, &other).await, Err(BodyFault::Payload));
        let other = Declared { md5: Some([0; 16]), ..silent() };
        assert_eq!(take(TEXT, &other).await, Err(BodyFault::Md5));
        for algorithm in Algorithm::ALL {
            let sum = |text: &[u8]| Some((algorithm, STANDARD.encode(algorithm.over(text))));
            let good = Declared { sum: sum(TEXT), ..silent() };
            assert_eq!(take(TEXT, &good).await.unwrap(), TEXT);
            let bad = Declared { sum: sum(b"other"), ..silent() };
            assert_eq!(take(TEXT, &bad).await, Err(BodyFault::Checksum(algorithm)));
        }
    }

    #[tokio::test]
    async fn a_body_is_as_long_as_was_said() {
        let of = |bytes| Declared { bytes: Some(bytes), ..silent() };
        let came = TEXT.len() as u64;
        assert_eq!(take(TEXT, &of(came)).await.unwrap(), TEXT);
        for said in [came - 1, came + 1] {
            let refused = take(TEXT, &of(said)).await;
            assert!(matches!(refused, Err(BodyFault::Incomplete { .. })), "{said}");
        }
    }

    /// A body in chunks of ten bytes, signed, with a checksum behind it.
    fn signed(checksum: &str, spoil: Option<usize>) -> Vec<u8> {
        let mut chain = Chain::from(seed());
        let mut body = Vec::new();
        let hex = |bytes: [u8; 32]| bytes.map(|byte| format!("{byte:02x}")).concat();
        for (at, chunk) in TEXT.chunks(10).chain([&b""[..]]).enumerate() {
            let signature = chain.sign_chunk(Sha256::digest(chunk).into());
            let mut chunk = chunk.to_vec();
            if spoil == Some(at) {
                chunk.iter_mut().for_each(|byte| *byte ^= 1);
            }
            let head = format!("{:x};chunk-signature={}\r\n", chunk.len(), hex(signature));
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(&chunk);
            if !chunk.is_empty() {
                body.extend_from_slice(b"\r\n");
            }
        }
        let trailer = format!("x-amz-checksum-crc32:{checksum}\n");
        let signature = hex(chain.sign_trailers(trailer.as_bytes()));
        let trailer = trailer.trim();
        let tail = format!("{trailer}\r\nx-amz-trailer-signature:{signature}\r\n\r\n");
        body.extend_from_slice(tail.as_bytes());
        body
    }

    fn checksum() -> String {
        STANDARD.encode(Algorithm::Crc32.over(TEXT))
    }

    fn chunks_and_trailers() -> Declared {
        Declared {
            content: Content::ChunksAndTrailers,
            chunked: true,
            bytes: Some(TEXT.len() as u64),
            trailer: Some(Algorithm::Crc32),
            ..silent()
        }
    }

    #[tokio::test]
    async fn every_chunk_and_the_trailers_are_signed() {
        let declared = chunks_and_trailers();
        assert_eq!(take(&signed(&checksum(), None), &declared).await.unwrap(), TEXT);
        for chunk in 0..5 {
            let spoiled = signed(&checksum(), Some(chunk));
            assert_eq!(take(&spoiled, &declared).await, Err(BodyFault::Signature), "{chunk}");
        }
        let text = String::from_utf8(signed(&checksum(), None)).unwrap();
        let (body, _) = text.split_once("x-amz-trailer-signature").unwrap();
        let unsigned = format!("{body}\r\n");
        assert_eq!(take(unsigned.as_bytes(), &declared).await, Err(BodyFault::Signature));
        let other = text.replace(&checksum(), "AAAAAA==");
        assert_eq!(take(other.as_bytes(), &declared).await, Err(BodyFault::Signature));
        let wrong = signed("AAAAAA==", None);
        let refused = take(&wrong, &declared).await;
        assert_eq!(refused, Err(BodyFault::Checksum(Algorithm::Crc32)), "signed, and wrong");
        let broken = signed(&checksum(), None);
        let refused = take(&broken[..broken.len() / 2], &declared).await;
        assert!(matches!(refused, Err(BodyFault::BrokeOff(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn trailers_are_those_that_were_announced() {
        let declared = Declared { content: Content::UnsignedTrailers, ..chunks_and_trailers() };
        let body = |trailers: &str| {
            let text = String::from_utf8_lossy(TEXT);
            format!("{:x}\r\n{text}\r\n0\r\n{trailers}\r\n", TEXT.len())
        };
        let good = body(&format!("x-amz-checksum-crc32:{}\r\n", checksum()));
        assert_eq!(take(good.as_bytes(), &declared).await.unwrap(), TEXT);
        let none = take(body("").as_bytes(), &declared).await;
        assert_eq!(none, Err(BodyFault::Trailer(Algorithm::Crc32)));
        let other = body("x-amz-checksum-sha1:AAAA\r\n");
        assert_eq!(take(other.as_bytes(), &declared).await, Err(BodyFault::Unannounced));
        let wrong = body("x-amz-checksum-crc32:AAAAAA==\r\n");
        let refused = take(wrong.as_bytes(), &declared).await;
        assert_eq!(refused, Err(BodyFault::Checksum(Algorithm::Crc32)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_lets_bytes_trickle_is_given_up() {
        let slow = |every: Duration, bytes: usize| {
            stream::unfold(0_u32, move |at| async move {
                tokio::time::sleep(every).await;
                (at < 100).then(|| (Ok::<_, Infallible>(Bytes::from(vec![0; bytes])), at + 1))
            })
        };
        let outcome = async |every: u64, bytes: usize| {
            let body = Box::pin(slow(Duration::from_secs(every), bytes));
            let (content, verdict) = content(body, &silent(), None);
            let _items = content.count().await;
            verdict.0.fault.get().cloned()
        };
        assert_eq!(outcome(1, 1).await, Some(BodyFault::Late));
        assert_eq!(outcome(31, 1 << 20).await, Some(BodyFault::Late), "silence");
        assert_eq!(outcome(1, 2 << 10).await, None);
    }
}
