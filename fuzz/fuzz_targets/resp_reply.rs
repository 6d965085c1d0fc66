//! Any bytes, cut in two anywhere: the same replies or the same refusal as in one piece, and no
//! panic. What is understood is written and read back, in both protocols.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use rhumb_resp::{Frame, Limits, Protocol, ReplyDecoder, Writer};

fn decode(pieces: &[&[u8]]) -> (Vec<Frame>, bool) {
    let (mut decoder, mut buffer) = (ReplyDecoder::new(Limits::AUTHENTICATED), BytesMut::new());
    let mut replies = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => replies.push(frame),
                Ok(None) => break,
                Err(_) => return (replies, true),
            }
        }
    }
    (replies, false)
}

fn encode(frames: &[Frame], protocol: Protocol) -> BytesMut {
    let mut out = BytesMut::new();
    frames.iter().for_each(|frame| Writer::new(&mut out, protocol).frame(frame));
    out
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let (front, back) = bytes.split_at(usize::from(*cut) % (bytes.len() + 1));
    let whole = decode(&[bytes]);
    // As text, because NaN is not itself.
    assert_eq!(format!("{whole:?}"), format!("{:?}", decode(&[front, back])));
    let frames = whole.0;
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        // A text with line breaks is smoothed once, and then stays.
        let smoothed = decode(&[&encode(&frames, protocol)]).0;
        assert_eq!(smoothed.len(), frames.len());
        let again = encode(&smoothed, protocol);
        assert_eq!(encode(&decode(&[&again]).0, protocol), again);
    }
});
