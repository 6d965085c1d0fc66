use super::*;

fn of(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn applied(fifo: bool, pairs: &[(&str, &str)]) -> Result<QueueDefinition, Fault> {
    let mut definition = fresh(fifo);
    apply(&mut definition, &of(pairs))?;
    assert_eq!(definition.check(), Ok(()), "{pairs:?}");
    Ok(definition)
}

#[test]
fn what_is_set_is_what_is_read() {
    let given = [
        ("DelaySeconds", "5"),
        ("VisibilityTimeout", "0"),
        ("MessageRetentionPeriod", "60"),
        ("MaximumMessageSize", "1024"),
        ("ReceiveMessageWaitTimeSeconds", "20"),
        ("RedriveAllowPolicy", r#"{"redrivePermission":"denyAll"}"#),
    ];
    let definition = applied(false, &given).unwrap();
    let read = attributes(&definition, "us-east-1");
    for (name, value) in given {
        assert_eq!(read.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(message_bytes_max(&definition), 1_024);
    assert_eq!(wait(&definition), Duration::from_secs(20));
    assert_eq!(read.get("FifoQueue"), None);
    let fifo = applied(
        true,
        &[
            ("FifoQueue", "true"),
            ("ContentBasedDeduplication", "true"),
            ("DeduplicationScope", "messageGroup"),
            ("FifoThroughputLimit", "perMessageGroupId"),
        ],
    );
    let read = attributes(&fifo.clone().unwrap(), "us-east-1");
    assert_eq!(read.get("DeduplicationScope").map(String::as_str), Some("messageGroup"));
    assert!(scoped_by_group(&fifo.unwrap()));
}

#[test]
fn a_queue_is_what_sqs_makes_without_attributes() {
    let read = attributes(&fresh(false), "us-east-1");
    for (name, value) in [
        ("DelaySeconds", "0"),
        ("VisibilityTimeout", "30"),
        ("MessageRetentionPeriod", "345600"),
        ("ReceiveMessageWaitTimeSeconds", "0"),
        ("MaximumMessageSize", "1048576"),
    ] {
        assert_eq!(read.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(fresh(true).keys_kept, Duration::from_secs(300));
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let refused = |fifo, pairs: &[(&str, &str)]| applied(fifo, pairs).unwrap_err().code;
    assert_eq!(refused(false, &[("Colour", "red")]), Code::InvalidAttributeName);
    for (name, value) in [
        ("DelaySeconds", "901"),
        ("DelaySeconds", "-1"),
        ("VisibilityTimeout", "43201"),
        ("MessageRetentionPeriod", "59"),
        ("MaximumMessageSize", "1023"),
        ("MaximumMessageSize", "1048577"),
        ("ReceiveMessageWaitTimeSeconds", "21"),
        ("ReceiveMessageWaitTimeSeconds", "x"),
        ("FifoQueue", "true"),
        ("FifoQueue", "yes"),
        ("ContentBasedDeduplication", "true"),
        ("DeduplicationScope", "queue"),
        ("Policy", "{}"),
        ("KmsMasterKeyId", "alias/aws/sqs"),
        ("SqsManagedSseEnabled", "true"),
        ("RedrivePolicy", "{"),
        ("RedrivePolicy", r#"{"deadLetterTargetArn":"dead","maxReceiveCount":1}"#),
        ("RedriveAllowPolicy", r#"{"redrivePermission":"byQueue"}"#),
        ("RedriveAllowPolicy", r#"{"redrivePermission":"some"}"#),
    ] {
        let code = refused(false, &[(name, value)]);
        assert_eq!(code, Code::InvalidAttributeValue, "{name}={value}");
    }
    let limit = [("FifoThroughputLimit", "perMessageGroupId")];
    assert_eq!(refused(true, &limit), Code::InvalidAttributeValue);
    for (name, value) in [("Policy", ""), ("KmsMasterKeyId", ""), ("SqsManagedSseEnabled", "false")]
    {
        assert!(applied(false, &[(name, value)]).is_ok(), "{name}");
    }
}

const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:dead";

#[test]
fn a_policy_of_dead_letters_is_set_and_taken_away() {
    for count in ["3", "\"3\""] {
        let text = format!(r#"{{"deadLetterTargetArn":"{ARN}","maxReceiveCount":{count}}}"#);
        let mut definition = applied(false, &[("RedrivePolicy", &text)]).unwrap();
        assert_eq!(definition.attempts_max, Some(3));
        assert_eq!(definition.dead_letters.as_ref().map(QueueName::as_str), Some("dead"));
        let read = attributes(&definition, "us-east-1").remove("RedrivePolicy").unwrap();
        assert_eq!(RedrivePolicy::parse(&read), RedrivePolicy::parse(&text));
        apply(&mut definition, &of(&[("RedrivePolicy", "")])).unwrap();
        assert_eq!((definition.attempts_max, definition.dead_letters), (None, None));
    }
    for count in ["0", "1001", "-1", "null", "\"x\""] {
        let text = format!(r#"{{"deadLetterTargetArn":"{ARN}","maxReceiveCount":{count}}}"#);
        assert!(RedrivePolicy::parse(&text).is_err(), "{count}");
    }
}

#[test]
fn dead_letters_go_to_a_queue_of_the_same_kind_that_allows_it() {
    let source = QueueName::new("jobs").unwrap();
    let text = format!(r#"{{"deadLetterTargetArn":"{ARN}","maxReceiveCount":1}}"#);
    let definition = applied(false, &[("RedrivePolicy", &text)]).unwrap();
    let check = |target: Option<&QueueDefinition>| check_target(&source, &definition, target);
    assert!(check(Some(&fresh(false))).is_ok());
    assert!(check(None).is_err() && check(Some(&fresh(true))).is_err());
    let allowing = |policy: &str| applied(false, &[("RedriveAllowPolicy", policy)]).unwrap();
    assert!(check(Some(&allowing(r#"{"redrivePermission":"denyAll"}"#))).is_err());
    let by = |name: &str| {
        let arn = ARN.replace("dead", name);
        allowing(&format!(r#"{{"redrivePermission":"byQueue","sourceQueueArns":["{arn}"]}}"#))
    };
    assert!(check(Some(&by("jobs"))).is_ok() && check(Some(&by("other"))).is_err());
    assert!(check_target(&source, &fresh(false), None).is_ok(), "without dead letters");
}

#[test]
fn a_queue_is_made_again_only_with_what_it_has() {
    let definition = applied(false, &[("DelaySeconds", "5")]).unwrap();
    let differing = |pairs: &[(&str, &str)]| differs(&definition, &of(pairs)).unwrap();
    assert_eq!(differing(&[]), None);
    assert_eq!(differing(&[("DelaySeconds", "5"), ("VisibilityTimeout", "30")]), None);
    assert_eq!(differing(&[("MaximumMessageSize", "1048576")]), None, "the usual value");
    assert_eq!(differing(&[("DelaySeconds", "0")]), Some(Setting::DelaySeconds));
    assert_eq!(differing(&[("FifoQueue", "true")]), Some(Setting::FifoQueue));
    assert!(differs(&definition, &of(&[("Colour", "red")])).is_err());
}
