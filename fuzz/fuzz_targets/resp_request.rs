//! Any bytes, cut in two anywhere: the same requests or the same refusal as in one piece, and no
//! panic. What is understood is written and read back.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use rhumb_resp::{Limits, Protocol, ProtocolError, RequestDecoder, Writer};

fn decode(pieces: &[&[u8]], limits: Limits) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    let (mut decoder, mut buffer) = (RequestDecoder::new(limits), BytesMut::new());
    let mut requests = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(request)) => requests.push(request.iter().map(<[u8]>::to_vec).collect()),
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let (front, back) = bytes.split_at(usize::from(*cut) % (bytes.len() + 1));
    for limits in [Limits::AUTHENTICATED, Limits::UNAUTHENTICATED] {
        let whole = decode(&[bytes], limits);
        assert_eq!(whole, decode(&[front, back], limits));
        let mut out = BytesMut::new();
        for request in &whole.0 {
            let arguments: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
            Writer::new(&mut out, Protocol::Resp2).command(&arguments);
        }
        assert_eq!(decode(&[&out], Limits::AUTHENTICATED), (whole.0, None));
    }
});
