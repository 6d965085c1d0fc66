//! Any request as events, in each mode of CloudEvents: read or refused, and no panic. An event that was read
//! is the same after its way through a queue.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rhumb_events::{Event, read};
use rhumb_types::record::{Job, Topic};

/// Lines of headers, up to an empty one, and the body behind it.
fn request(bytes: &[u8]) -> (Vec<(&str, &[u8])>, &[u8]) {
    let end = bytes.windows(2).position(|window| window == b"\n\n").unwrap_or(bytes.len());
    let (head, body) = bytes.split_at(end);
    let headers = head.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((std::str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]))
    });
    (headers.collect(), body)
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    let topic = Topic::new("orders.paid").expect("a topic");
    let events = match mode % 3 {
        0 => read::structured(&topic, rest).map(|event| vec![event]),
        1 => read::batch(&topic, rest),
        _ => {
            let (headers, body) = request(rest);
            read::binary(&topic, headers.into_iter(), Bytes::copy_from_slice(body))
                .map(|event| vec![event])
        }
    };
    for event in events.into_iter().flatten() {
        let (body, attributes) = (event.data.clone(), event.attributes());
        assert_eq!(Event::of(&Job { body, attributes, ..Job::default() }), Some(event));
    }
});
