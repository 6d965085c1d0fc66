//! Any bytes as a body in S3's chunks, cut in two anywhere: the same pieces or the same refusal as of the
//! whole, no panic, and no more bytes out than in.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rhumb_server_s3::chunked::{Broken, Decoder, Piece};

/// All pieces, neighbouring data joined, and whether that was all of a body.
fn decode(frames: &[&[u8]]) -> (Vec<Piece>, Result<bool, Broken>) {
    let (mut decoder, mut pieces) = (Decoder::default(), Vec::new());
    for frame in frames {
        let mut frame = Bytes::copy_from_slice(frame);
        loop {
            let piece = match decoder.next(&mut frame) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(broken) => return (pieces, Err(broken)),
            };
            match (pieces.last_mut(), piece) {
                (Some(Piece::Data(before)), Piece::Data(more)) => {
                    *before = [before.as_ref(), &more].concat().into();
                }
                (_, piece) => pieces.push(piece),
            }
        }
    }
    (pieces, Ok(decoder.is_complete()))
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let (front, back) = bytes.split_at(usize::from(*cut) % (bytes.len() + 1));
    let whole = decode(&[bytes]);
    assert_eq!(whole, decode(&[front, back]));
    let came = |piece: &Piece| if let Piece::Data(bytes) = piece { bytes.len() } else { 0 };
    assert!(whole.0.iter().map(came).sum::<usize>() <= bytes.len());
});
