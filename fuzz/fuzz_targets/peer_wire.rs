//! Bytes of an envelope: they are read or refused, and what is read survives the way back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb_peer::wire;

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = wire::decode(bytes) else { return };
    let again = wire::encode(&message).expect("what was small enough to read can be sent");
    // Bytes are compared, because a message may hold numbers that do not equal themselves.
    let message = wire::decode(&again).expect("what was sent can be read");
    assert_eq!(wire::encode(&message), Ok(again));
});
