//! Any body as a delivery of GitHub: refused without its signature, read or refused with it, and no panic.
//! A job that was read is the same after its way through a queue.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb_runners::{Delivery, Head, Rejected, Secrets, WorkflowJob, read};
use rhumb_types::UnixMillis;

/// An hour after the job of the fixtures was queued.
const NOW: UnixMillis = UnixMillis(1_631_503_281_000);

fuzz_target!(|body: &[u8]| {
    let secrets = Secrets::new(&["a secret of some length"]).expect("it is long enough");
    let signature = secrets.sign(body);
    let text = std::str::from_utf8(body).ok();
    let unsigned = Head {
        event: Some("workflow_job"),
        delivery: Some("72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        signature: text,
        content_type: Some("application/json"),
    };
    assert!(matches!(read(&secrets, &unsigned, body, NOW), Err(Rejected::Signature(_))));
    let signed = Head { signature: Some(&signature), ..unsigned };
    if let Ok(Delivery::Queued(event) | Delivery::Moved(event)) = read(&secrets, &signed, body, NOW)
    {
        let queued = serde_json::to_vec(&event.job).expect("a job can be written");
        let taken: WorkflowJob = serde_json::from_slice(&queued).expect("and read");
        assert_eq!(taken, event.job);
    }
    for other in [text, Some("ping")] {
        drop(read(&secrets, &Head { event: other, ..signed }, body, NOW));
    }
    drop(read(&secrets, &Head { content_type: text, delivery: text, ..signed }, body, NOW));
});
