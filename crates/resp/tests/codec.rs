//! The laws of the codec: round trips, any split of the bytes, any bytes at all.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*};
use rhumb_resp::{
    Frame, Limits, Protocol, ProtocolError, ReplyDecoder, Request, RequestDecoder, Writer,
};

type Command = Vec<Vec<u8>>;

/// Feeds pieces and takes out all that comes.
fn requests(pieces: &[&[u8]], limits: Limits) -> Result<Vec<Command>, ProtocolError> {
    let (mut decoder, mut buffer) = (RequestDecoder::new(limits), BytesMut::new());
    let mut all = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(request) = decoder.decode(&mut buffer)? {
            all.push(words(&request));
        }
    }
    Ok(all)
}

fn words(request: &Request) -> Command {
    assert_eq!(request.iter().len(), request.len());
    assert_eq!(request.get(0), Some(request.name()));
    assert!(request.iter().zip(request.iter_bytes()).all(|(slice, bytes)| *slice == *bytes));
    request.iter().map(<[u8]>::to_vec).collect()
}

fn replies(pieces: &[&[u8]]) -> Result<Vec<Frame>, ProtocolError> {
    let (mut decoder, mut buffer) = (ReplyDecoder::new(Limits::AUTHENTICATED), BytesMut::new());
    let mut all = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(frame) = decoder.decode(&mut buffer)? {
            all.push(frame);
        }
    }
    Ok(all)
}

fn refused(bytes: &str, limits: Limits) -> String {
    requests(&[bytes.as_bytes()], limits).unwrap_err().to_string()
}

#[test]
fn a_pipeline_of_arrays_and_inline_commands() {
    let bytes =
        b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\n\r\n*0\r\n*-1\r\nSET k \"a b\"\n*1\r\n$0\r\n\r\n";
    let wanted: Vec<Command> = vec![
        vec![b"GET".to_vec(), b"a".to_vec()],
        vec![b"PING".to_vec()],
        vec![b"SET".to_vec(), b"k".to_vec(), b"a b".to_vec()],
        vec![b"".to_vec()],
    ];
    assert_eq!(requests(&[bytes], Limits::AUTHENTICATED).unwrap(), wanted);
}

#[test]
fn refusals_are_those_of_redis() {
    let cases = [
        ("*a\r\n", "invalid multibulk length"),
        ("*1048577\r\n", "invalid multibulk length"),
        ("*99999999999999999999\r\n", "invalid multibulk length"),
        ("*1\r\n+OK\r\n", "expected '$', got '+'"),
        ("*1\r\n\r\n", "expected '$', got '\\r'"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$x\r\n", "invalid bulk length"),
        ("*1\r\n$536870913\r\n", "invalid bulk length"),
        ("*1\r\n$1\r\nabc", "bulk string is not followed by CRLF"),
        ("SET \"a\r\n", "unbalanced quotes in request"),
    ];
    for (bytes, text) in cases {
        let wanted = format!("Protocol error: {text}");
        assert_eq!(refused(bytes, Limits::AUTHENTICATED), wanted, "{bytes:?}");
    }
    let long = "x".repeat(65_537);
    assert!(refused(&long, Limits::AUTHENTICATED).ends_with("too big inline request"));
    assert!(refused(&(long + "\n"), Limits::AUTHENTICATED).ends_with("too big inline request"));
}

#[test]
fn a_stranger_may_send_less() {
    let limits = Limits::UNAUTHENTICATED;
    let end = |bytes: &str| refused(bytes, limits).rsplit(": ").next().unwrap().to_owned();
    assert_eq!(end("*11\r\n"), "unauthenticated multibulk length");
    assert_eq!(end("*1\r\n$16385\r\n"), "unauthenticated bulk length");
    let hello = b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n";
    assert_eq!(requests(&[hello], limits).unwrap().len(), 1);
}

#[test]
fn a_request_is_bounded_as_a_whole() {
    let limits = Limits { request_bytes_max: 40, ..Limits::AUTHENTICATED };
    let bytes = "*3\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n$10\r\n";
    assert_eq!(refused(bytes, limits), "Protocol error: too big request");
}

#[test]
fn says_how_many_bytes_a_long_value_still_needs() {
    let (mut decoder, mut buffer) = (RequestDecoder::default(), BytesMut::new());
    assert_eq!(decoder.missing_bytes(&buffer), 1);
    buffer.extend_from_slice(b"*1\r\n$1000\r\nabc");
    assert!(decoder.decode(&mut buffer).unwrap().is_none());
    assert_eq!(decoder.missing_bytes(&buffer), 999);
}

#[test]
fn arguments_share_the_read_buffer() {
    let mut buffer = BytesMut::from(&b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"[..]);
    let place = buffer.as_ptr() as usize;
    let request = RequestDecoder::default().decode(&mut buffer).unwrap().unwrap();
    assert_eq!(request.bytes(1).unwrap().as_ptr() as usize, place + 17);
}

/// Bytes that come one by one must not be looked at again and again: 64 MiB in small steps would
/// take hours if each step read what was there before.
#[test]
fn a_long_value_in_small_pieces_is_read_once() {
    let (mut decoder, mut buffer) = (RequestDecoder::default(), BytesMut::new());
    buffer.extend_from_slice(b"*1\r\n$67108864\r\n");
    for _ in 0..(1 << 16) {
        assert!(decoder.decode(&mut buffer).unwrap().is_none());
        buffer.extend_from_slice(&[b'x'; 1 << 10]);
    }
    buffer.extend_from_slice(b"\r\n");
    assert_eq!(decoder.decode(&mut buffer).unwrap().unwrap().get(0).unwrap().len(), 64 << 20);
}

#[test]
fn reads_every_type_of_reply() {
    let bytes: &[u8] = b"+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n_\r\n#t\r\n,1.5\r\n\
        ,inf\r\n(123456789012345678901234567890\r\n!5\r\nERR x\r\n=6\r\ntxt:hi\r\n\
        |1\r\n+ttl\r\n:5\r\n%1\r\n+k\r\n*2\r\n~0\r\n|1\r\n+a\r\n*0\r\n>1\r\n+m\r\n";
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let wanted = vec![
        Frame::Simple(text("OK")),
        Frame::Error(text("ERR no")),
        Frame::Integer(-7),
        Frame::Bulk(text("a\r\n")),
        Frame::Null,
        Frame::Null,
        Frame::Null,
        Frame::Boolean(true),
        Frame::Double(1.5),
        Frame::Double(f64::INFINITY),
        Frame::BigNumber(text("123456789012345678901234567890")),
        Frame::Error(text("ERR x")),
        Frame::Verbatim { format: *b"txt", text: text("hi") },
        Frame::Map(vec![(
            Frame::Simple(text("k")),
            Frame::Array(vec![Frame::Set(Vec::new()), Frame::Push(vec![Frame::Simple(text("m"))])]),
        )]),
    ];
    // A value of 3 bytes: "a", CR, LF.
    assert_eq!(replies(&[bytes]).unwrap(), wanted);
}

#[test]
fn malformed_replies_are_refused() {
    for bad in [
        "x\r\n",
        ":\r\n",
        ":1x\r\n",
        "#x\r\n",
        "_x\r\n",
        ",x\r\n",
        "(-\r\n",
        "=2\r\nab\r\n",
        "$-2\r\n",
        "$1\r\nabc",
        "*-2\r\n",
        "+a\n",
        "%1048577\r\n",
    ] {
        assert!(replies(&[bad.as_bytes()]).is_err(), "{bad:?}");
    }
    let deep = "*1\r\n".repeat(33);
    assert_eq!(replies(&[deep.as_bytes()]), Err(ProtocolError::Nesting));
}

#[test]
fn resp2_falls_back_as_redis_does() {
    let mut out = BytesMut::new();
    let mut writer = Writer::new(&mut out, Protocol::Resp2);
    writer.map(1);
    writer.simple("k\r\nx");
    writer.double(0.5);
    writer.set(1);
    writer.boolean(true);
    writer.push(0);
    writer.null();
    writer.null_array();
    writer.verbatim(*b"txt", b"hi");
    writer.big_number(b"12");
    writer.bulk_integer(-5);
    let wanted: &[u8] = b"*2\r\n+k  x\r\n$3\r\n0.5\r\n*1\r\n:1\r\n*0\r\n$-1\r\n*-1\r\n$2\r\nhi\r\n$2\r\n12\r\n$2\r\n-5\r\n";
    assert_eq!(out, wanted);
}

fn any_command() -> impl Strategy<Value = Command> {
    vec(vec(any::<u8>(), 0..20), 1..6)
}

fn any_line() -> impl Strategy<Value = Bytes> {
    "[ -~]{0,12}".prop_map(Bytes::from)
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let leaf = prop_oneof![
        Just(Frame::Null),
        any_line().prop_map(Frame::Simple),
        any_line().prop_map(Frame::Error),
        any::<i64>().prop_map(Frame::Integer),
        vec(any::<u8>(), 0..20).prop_map(|bytes| Frame::Bulk(bytes.into())),
        any::<bool>().prop_map(Frame::Boolean),
        any::<f64>().prop_filter("NaN is not itself", |x| !x.is_nan()).prop_map(Frame::Double),
        "-?[0-9]{1,40}".prop_map(|digits| Frame::BigNumber(digits.into())),
        (any::<[u8; 3]>(), vec(any::<u8>(), 0..20))
            .prop_map(|(format, text)| Frame::Verbatim { format, text: text.into() }),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Frame::Array),
            vec(inner.clone(), 0..5).prop_map(Frame::Set),
            vec(inner.clone(), 0..5).prop_map(Frame::Push),
            vec((inner.clone(), inner), 0..4).prop_map(Frame::Map),
        ]
    })
}

/// Cuts bytes at places that are given as shares of the whole.
fn cut<'b>(bytes: &'b [u8], at: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<_> = at.iter().map(|index| index.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn requests_come_back_however_they_are_cut(
        commands in vec(any_command(), 1..5),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut out = BytesMut::new();
        for command in &commands {
            let arguments: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            Writer::new(&mut out, Protocol::Resp2).command(&arguments);
        }
        prop_assert_eq!(&requests(&cut(&out, &cuts), Limits::AUTHENTICATED).unwrap(), &commands);
        let single: Vec<&[u8]> = out.chunks(1).collect();
        prop_assert_eq!(&requests(&single, Limits::AUTHENTICATED).unwrap(), &commands);
    }

    #[test]
    fn replies_come_back_however_they_are_cut(
        frames in vec(any_frame(), 1..4),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut out = BytesMut::new();
        frames.iter().for_each(|frame| Writer::new(&mut out, Protocol::Resp3).frame(frame));
        prop_assert_eq!(&replies(&cut(&out, &cuts)).unwrap(), &frames);
        let single: Vec<&[u8]> = out.chunks(1).collect();
        prop_assert_eq!(&replies(&single).unwrap(), &frames);
    }

    #[test]
    fn a_reply_in_resp2_is_resp2(frame in any_frame()) {
        let mut out = BytesMut::new();
        Writer::new(&mut out, Protocol::Resp2).frame(&frame);
        let back = replies(&[&out]).unwrap();
        prop_assert_eq!(back.len(), 1);
        let mut again = BytesMut::new();
        Writer::new(&mut again, Protocol::Resp2).frame(&back[0]);
        prop_assert_eq!(again, out);
    }

    #[test]
    fn any_bytes_give_the_same_whole_or_in_pieces(
        bytes in vec(prop_oneof![any::<u8>(), prop::sample::select(&b"*$+-:,#_=~>%|!(\r\n0123456789 \"'\\"[..])], 0..80),
        cuts in vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let pieces = cut(&bytes, &cuts);
        prop_assert_eq!(requests(&[&bytes], Limits::AUTHENTICATED), requests(&pieces, Limits::AUTHENTICATED));
        let (whole, pieces) = (replies(&[&bytes]), replies(&pieces));
        // NaN is not itself.
        prop_assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    }
}
