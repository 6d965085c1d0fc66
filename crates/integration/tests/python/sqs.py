"""boto3 against two regions: every operation, the errors it maps, and what it must not get through.

Arguments: the ports of both regions, then id and secret of an operator of all queues, of a reader, and
of an operator of queues that begin with "team-".
"""

import hashlib
import json
import sys
import threading
import time
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

HERE, THERE = int(sys.argv[1]), int(sys.argv[2])
OPERATOR, READER, TEAM = (tuple(sys.argv[at : at + 2]) for at in (3, 5, 7))


def client(port=HERE, key=OPERATOR, region="us-east-1", **more):
    return boto3.client(
        "sqs",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=region,
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        config=Config(retries={"max_attempts": 0}),
        **more,
    )


here, there = client(), client(THERE, region="eu-west-1")


def refused(code, call, **arguments):
    """The error of a call that must fail, by the code that programs compare with."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, (code, error.response["Error"])
        return error
    raise AssertionError(f"{code} was expected, and not {answer}")


def until(look, seconds=20):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, look
        time.sleep(0.05)
    return found


def made(name, **attributes):
    return here.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def received(queue, client=here, **arguments):
    arguments = {"WaitTimeSeconds": 5, "MaxNumberOfMessages": 10} | arguments
    return client.receive_message(QueueUrl=queue, **arguments).get("Messages", [])


def drained(queue, count, client=here, **arguments):
    """That many messages, each deleted as it comes."""
    messages = []

    def more():
        for message in received(queue, client, WaitTimeSeconds=1, **arguments):
            client.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            messages.append(message)
        return len(messages) >= count

    until(more)
    return messages


def queues_are_made_found_and_removed():
    url = made("first", DelaySeconds="0", VisibilityTimeout="45")
    assert url == f"http://127.0.0.1:{HERE}/000000000000/first", url
    assert made("first", VisibilityTimeout="45") == url == made("first")
    error = refused(
        "QueueAlreadyExists",
        here.create_queue,
        QueueName="first",
        Attributes={"VisibilityTimeout": "46"},
    )
    assert isinstance(error, here.exceptions.QueueNameExists)
    assert here.get_queue_url(QueueName="first")["QueueUrl"] == url
    elsewhere = until(lambda: there.list_queues(QueueNamePrefix="first").get("QueueUrls"))
    assert elsewhere == [f"http://127.0.0.1:{THERE}/000000000000/first"], "each node names itself"
    gone = "AWS.SimpleQueueService.NonExistentQueue"
    error = refused(gone, here.get_queue_url, QueueName="nothing")
    assert isinstance(error, here.exceptions.QueueDoesNotExist)
    refused(gone, here.send_message, QueueUrl=url + "-not", MessageBody="x")
    for name in ("a.b", "a b", "x" * 81, "a.fifo"):
        refused("InvalidParameterValue", here.create_queue, QueueName=name)
    refused("InvalidAttributeName", here.create_queue, QueueName="z", Attributes={"Colour": "red"})
    names = [f"page-{nth}" for nth in range(5)]
    urls = sorted(made(name) for name in names)
    pages = here.get_paginator("list_queues").paginate(
        QueueNamePrefix="page-", PaginationConfig={"PageSize": 2}
    )
    pages = [page["QueueUrls"] for page in pages]
    assert [len(page) for page in pages] == [2, 2, 1] and sum(pages, []) == urls, pages
    for each in urls:
        here.delete_queue(QueueUrl=each)
    assert "QueueUrls" not in here.list_queues(QueueNamePrefix="page-")
    refused(gone, here.delete_queue, QueueUrl=urls[0])


def attributes_are_kept_and_refused():
    url = made("settings")
    given = {
        "DelaySeconds": "1",
        "VisibilityTimeout": "60",
        "MessageRetentionPeriod": "3600",
        "MaximumMessageSize": "2048",
        "ReceiveMessageWaitTimeSeconds": "3",
    }
    here.set_queue_attributes(QueueUrl=url, Attributes=given)
    read = here.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert given.items() <= read.items(), read
    assert read["QueueArn"] == "arn:aws:sqs:us-east-1:000000000000:settings"
    assert abs(int(read["CreatedTimestamp"]) - time.time()) < 60
    some = here.get_queue_attributes(QueueUrl=url, AttributeNames=["DelaySeconds", "QueueArn"])
    assert set(some["Attributes"]) == {"DelaySeconds", "QueueArn"}
    until(lambda: there.get_queue_attributes(
        QueueUrl=url, AttributeNames=["DelaySeconds"])["Attributes"]["DelaySeconds"] == "1")
    change = here.set_queue_attributes
    for name, value in [
        ("DelaySeconds", "901"),
        ("VisibilityTimeout", "43201"),
        ("MaximumMessageSize", "1048577"),
        ("ReceiveMessageWaitTimeSeconds", "21"),
        ("KmsMasterKeyId", "alias/aws/sqs"),
        ("Policy", "{}"),
    ]:
        refused("InvalidAttributeValue", change, QueueUrl=url, Attributes={name: value})
    refused("InvalidAttributeName", change, QueueUrl=url, Attributes={"Colour": "red"})
    refused("InvalidParameterValue", here.send_message, QueueUrl=url, MessageBody="x" * 2049)
    here.tag_queue(QueueUrl=url, Tags={"team": "a", "stage": "b"})
    here.tag_queue(QueueUrl=url, Tags={"team": "c"})
    here.untag_queue(QueueUrl=url, TagKeys=["stage", "nothing"])
    assert here.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "c"}
    too_many = {f"t{nth}": "" for nth in range(51)}
    refused("InvalidParameterValue", here.tag_queue, QueueUrl=url, Tags=too_many)
    unsupported = "AWS.SimpleQueueService.UnsupportedOperation"
    refused(unsupported, here.add_permission, QueueUrl=url, Label="l",
            AWSAccountIds=["1"], Actions=["*"])


def md5_of_attributes(attributes):
    """A second implementation of the published steps."""
    digest = hashlib.md5()

    def part(data):
        digest.update(len(data).to_bytes(4, "big") + data)

    for name in sorted(attributes):
        kind = attributes[name]["DataType"]
        part(name.encode())
        part(kind.encode())
        binary = kind.startswith("Binary")
        digest.update(b"\2" if binary else b"\1")
        value = attributes[name]["BinaryValue" if binary else "StringValue"]
        part(value if binary else value.encode())
    return digest.hexdigest()


def messages_travel_whole():
    url = made("messages")
    body = "tab\t, line\r\n, snow ☃, ship \U0001f6a2"
    attributes = {
        "trace.id": {"DataType": "String", "StringValue": "ä"},
        "trace.depth": {"DataType": "Number.int", "StringValue": "7"},
        "picture": {"DataType": "Binary.png", "BinaryValue": bytes(range(256))},
    }
    header = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988"}}
    sent = here.send_message(
        QueueUrl=url,
        MessageBody=body,
        MessageAttributes=attributes,
        MessageSystemAttributes=header,
        MessageGroupId="tenant-1",
    )
    assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    assert sent["MD5OfMessageAttributes"] == md5_of_attributes(attributes)
    assert sent["MD5OfMessageSystemAttributes"] == md5_of_attributes(header)
    [got] = received(
        url,
        MessageAttributeNames=["trace.*", "nothing"],
        MessageSystemAttributeNames=["All"],
        VisibilityTimeout=60,
    )
    assert got["Body"] == body and got["MessageId"] == sent["MessageId"]
    asked = {name: attributes[name] for name in ("trace.id", "trace.depth")}
    assert got["MessageAttributes"] == asked
    assert got["MD5OfMessageAttributes"] == md5_of_attributes(asked)
    system = got["Attributes"]
    assert system["AWSTraceHeader"] == "Root=1-5759e988" and system["SenderId"] == OPERATOR[0]
    assert system["ApproximateReceiveCount"] == "1" and system["MessageGroupId"] == "tenant-1"
    now = time.time() * 1000
    assert now - 60_000 < int(system["SentTimestamp"]) <= now + 1_000
    assert now - 60_000 < int(system["ApproximateFirstReceiveTimestamp"]) <= now + 1_000
    counts = here.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessagesNotVisible"] == "1", counts
    here.change_message_visibility(
        QueueUrl=url, ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=0
    )
    [again] = received(url, AttributeNames=["All"], MessageAttributeNames=["All"])
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    first = again["Attributes"]["ApproximateFirstReceiveTimestamp"]
    assert first == system["ApproximateFirstReceiveTimestamp"], "it stays"
    assert again["MessageAttributes"] == attributes
    assert again["ReceiptHandle"] != got["ReceiptHandle"]
    not_in_flight = "AWS.SimpleQueueService.MessageNotInflight"
    refused(not_in_flight, here.change_message_visibility, QueueUrl=url,
            ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=10)
    here.delete_message(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"])
    here.change_message_visibility(
        QueueUrl=url, ReceiptHandle=again["ReceiptHandle"], VisibilityTimeout=30
    )
    for _ in range(2):
        here.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
    assert received(url, WaitTimeSeconds=0) == []


def what_cannot_be_sent_is_refused():
    url = made("refusals")
    send = here.send_message
    for bad in ("\x00", "a\x08", "\ufffe", "\ud800"):
        try:
            refused("InvalidMessageContents", send, QueueUrl=url, MessageBody=bad)
        except UnicodeEncodeError:
            pass  # botocore itself does not send a surrogate
        except AssertionError:
            # A lone surrogate is no JSON text either.
            refused("MalformedInput", send, QueueUrl=url, MessageBody=bad)
    refused("MissingParameter", send, QueueUrl=url, MessageBody="")
    whole = "x" * (1024 * 1024)
    send(QueueUrl=url, MessageBody=whole)
    refused("InvalidParameterValue", send, QueueUrl=url, MessageBody=whole + "x")
    [got] = received(url)
    assert got["Body"] == whole
    here.delete_message(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"])
    text = {"DataType": "String", "StringValue": "v"}
    for name, value in [
        ("aws.x", text),
        ("a..b", text),
        ("n", {"DataType": "Number", "StringValue": "seven"}),
        ("n", {"DataType": "Text", "StringValue": "v"}),
        ("n", {"DataType": "String", "StringValue": ""}),
    ]:
        refused("InvalidParameterValue", send, QueueUrl=url, MessageBody="x",
                MessageAttributes={name: value})
    many = {f"n{nth}": text for nth in range(11)}
    refused("InvalidParameterValue", send, QueueUrl=url, MessageBody="x", MessageAttributes=many)
    refused("InvalidParameterValue", send, QueueUrl=url, MessageBody="x", DelaySeconds=901)
    refused("InvalidParameterValue", send, QueueUrl=url, MessageBody="x",
            MessageDeduplicationId="d")
    for more in ({"MaxNumberOfMessages": 11}, {"WaitTimeSeconds": 21}, {"VisibilityTimeout": -1}):
        refused("InvalidParameterValue", here.receive_message, QueueUrl=url, **more)
    refused("InvalidAttributeName", here.receive_message, QueueUrl=url, AttributeNames=["Colour"])
    for handle in ("nonsense", "bWVzc2FnZXM"):
        refused("ReceiptHandleIsInvalid", here.delete_message, QueueUrl=url, ReceiptHandle=handle)


def batches_fail_in_part():
    url = made("batches")
    answer = here.send_message_batch(
        QueueUrl=url,
        Entries=[{"Id": str(nth), "MessageBody": f"m{nth}"} for nth in range(8)]
        + [{"Id": "bad", "MessageBody": "\x00"}, {"Id": "late", "MessageBody": "x", "DelaySeconds": 901}],
    )
    assert [entry["Id"] for entry in answer["Successful"]] == [str(nth) for nth in range(8)]
    failed = {entry["Id"]: entry["Code"] for entry in answer["Failed"]}
    assert failed == {"bad": "InvalidMessageContents", "late": "InvalidParameterValue"}, failed
    assert all(entry["SenderFault"] for entry in answer["Failed"])
    messages = []
    until(lambda: len(messages.extend(received(url)) or messages) == 8)
    entries = [{"Id": m["Body"], "ReceiptHandle": m["ReceiptHandle"]} for m in messages]
    changed = here.change_message_visibility_batch(
        QueueUrl=url,
        Entries=[entry | {"VisibilityTimeout": 60} for entry in entries[:7]]
        + [{"Id": "x", "ReceiptHandle": "nonsense", "VisibilityTimeout": 1}],
    )
    assert len(changed["Successful"]) == 7 and changed["Failed"][0]["Id"] == "x", changed
    deleted = here.delete_message_batch(
        QueueUrl=url, Entries=entries + [{"Id": "x", "ReceiptHandle": "nonsense"}]
    )
    assert len(deleted["Successful"]) == 8, deleted
    assert deleted["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
    simple = "AWS.SimpleQueueService."
    one = {"Id": "a", "MessageBody": "x"}
    for code, batch in [
        ("EmptyBatchRequest", []),
        ("BatchEntryIdsNotDistinct", [one, one]),
        ("InvalidBatchEntryId", [one | {"Id": "a b"}]),
        ("TooManyEntriesInBatchRequest", [one | {"Id": str(nth)} for nth in range(11)]),
        ("BatchRequestTooLong",
         [{"Id": str(nth), "MessageBody": "x" * 300_000} for nth in range(4)]),
    ]:
        error = refused(simple + code, here.send_message_batch, QueueUrl=url, Entries=batch)
        assert isinstance(error, getattr(here.exceptions, code))


def waiting_is_long_and_ends():
    url = made("waiting")
    began = time.monotonic()
    assert received(url, WaitTimeSeconds=1) == []
    assert 0.9 < time.monotonic() - began < 4
    got = []
    waiter = threading.Thread(target=lambda: got.extend(received(url, client(), WaitTimeSeconds=20)))
    waiter.start()
    time.sleep(0.5)
    began = time.monotonic()
    here.send_message(QueueUrl=url, MessageBody="now")
    waiter.join(20)
    assert [m["Body"] for m in got] == ["now"] and time.monotonic() - began < 5
    here.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=2)
    assert received(url, WaitTimeSeconds=0) == []
    assert [m["Body"] for m in received(url)] == ["later"]


def expired_messages_come_again():
    url = made("expiry")
    here.send_message(QueueUrl=url, MessageBody="again")
    [first] = received(url, VisibilityTimeout=1)
    [second] = received(url, AttributeNames=["ApproximateReceiveCount"])
    assert second["MessageId"] == first["MessageId"]
    assert second["Attributes"] == {"ApproximateReceiveCount": "2"}
    here.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])  # too late: no error
    here.change_message_visibility(
        QueueUrl=url, ReceiptHandle=second["ReceiptHandle"], VisibilityTimeout=5
    )
    here.delete_message(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"])
    assert received(url, WaitTimeSeconds=0) == []


def dead_letters_are_kept_apart():
    dead = made("dead")
    arn = here.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 2}
    url = made("mortal", RedrivePolicy=json.dumps(policy), VisibilityTimeout="1")
    sources = here.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"]
    assert sources == [url], sources
    here.send_message(QueueUrl=url, MessageBody="poison")
    for _ in range(2):
        [got] = received(url)
        here.change_message_visibility(
            QueueUrl=url, ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=0
        )
    [buried] = received(dead, AttributeNames=["All"])
    assert buried["Body"] == "poison" and received(url, WaitTimeSeconds=0) == []
    source = buried["Attributes"]["DeadLetterQueueSourceArn"]
    assert source == "arn:aws:sqs:us-east-1:000000000000:mortal", buried
    change = here.set_queue_attributes
    nowhere = policy | {"deadLetterTargetArn": policy["deadLetterTargetArn"] + "-not"}
    refused("InvalidAttributeValue", change, QueueUrl=url,
            Attributes={"RedrivePolicy": json.dumps(nowhere)})
    change(QueueUrl=dead, Attributes={"RedriveAllowPolicy": '{"redrivePermission":"denyAll"}'})
    refused("InvalidAttributeValue", here.create_queue, QueueName="other",
            Attributes={"RedrivePolicy": json.dumps(policy)})
    change(QueueUrl=url, Attributes={"RedrivePolicy": ""})
    assert here.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == []


def fifo_queues_keep_order():
    url = made("line.fifo", FifoQueue="true", ContentBasedDeduplication="true")

    def send(body, group, **more):
        return here.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group, **more)

    sent = [send(f"a{nth}", "a") for nth in range(3)] + [send("b0", "b")]
    numbers = [m["SequenceNumber"] for m in sent[:3]]
    assert numbers == sorted(numbers) and len(set(numbers)) == 3
    again = send("a0", "a")
    assert again["MessageId"] == sent[0]["MessageId"], "within five minutes it is the same message"
    named = send("x", "b", MessageDeduplicationId="d1")
    assert send("y", "b", MessageDeduplicationId="d1")["MessageId"] == named["MessageId"]
    messages = until(lambda: received(url, MaxNumberOfMessages=1, AttributeNames=["All"]))
    order = {"a": [], "b": []}
    for _ in range(20):
        for message in messages:
            group = message["Attributes"]["MessageGroupId"]
            order[group].append(message["Body"])
            others = received(url, WaitTimeSeconds=0, AttributeNames=["All"], VisibilityTimeout=2)
            hidden = [m for m in others if m["Attributes"]["MessageGroupId"] == group]
            assert not hidden, "a group is hidden while one of it is in flight"
            for other in others:
                order[other["Attributes"]["MessageGroupId"]].append(other["Body"])
                here.delete_message(QueueUrl=url, ReceiptHandle=other["ReceiptHandle"])
            here.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        messages = received(url, WaitTimeSeconds=1, MaxNumberOfMessages=1, AttributeNames=["All"])
        if not messages and order == {"a": ["a0", "a1", "a2"], "b": ["b0", "x"]}:
            break
    assert order == {"a": ["a0", "a1", "a2"], "b": ["b0", "x"]}, order
    refused("MissingParameter", here.send_message, QueueUrl=url, MessageBody="x")
    refused("InvalidParameterValue", send, body="x", group="a b")
    refused("InvalidParameterValue", send, body="x", group="a", DelaySeconds=1)
    plain = made("plain.fifo", FifoQueue="true")
    refused("InvalidParameterValue", here.send_message, QueueUrl=plain, MessageBody="x",
            MessageGroupId="g")


def an_attempt_to_receive_is_repeated():
    url = made("attempts.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    here.send_message(QueueUrl=url, MessageBody="once", MessageGroupId="g")
    attempt = {"ReceiveRequestAttemptId": "try-1"}
    [first] = until(lambda: received(url, VisibilityTimeout=30, **attempt))
    [again] = received(url, VisibilityTimeout=1, **attempt)
    assert again["ReceiptHandle"] == first["ReceiptHandle"]
    time.sleep(2.5)
    error = refused("InvalidParameterValue", here.delete_message, QueueUrl=url,
                    ReceiptHandle=first["ReceiptHandle"])
    assert "expired" in str(error), error
    [later] = until(lambda: received(url, **attempt))
    here.delete_message(QueueUrl=url, ReceiptHandle=later["ReceiptHandle"])


def a_queue_is_emptied_once_a_minute():
    url = made("purged")
    for nth in range(5):
        here.send_message(QueueUrl=url, MessageBody=str(nth))
    here.purge_queue(QueueUrl=url)
    assert received(url, WaitTimeSeconds=0) == []
    error = refused("AWS.SimpleQueueService.PurgeQueueInProgress", here.purge_queue, QueueUrl=url)
    assert isinstance(error, here.exceptions.PurgeQueueInProgress)


def any_region_serves():
    url = made("shared")
    until(lambda: there.list_queues(QueueNamePrefix="shared").get("QueueUrls"))
    for nth in range(4):
        (here if nth % 2 else there).send_message(QueueUrl=url, MessageBody=str(nth))
    got = []

    def both():
        for one in (here, there):
            for message in received(url, one, WaitTimeSeconds=1):
                one.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                got.append(message["Body"])
        return len(got) >= 4

    until(both)
    assert sorted(got) == ["0", "1", "2", "3"], got


def strangers_stay_outside():
    url = made("team-a")
    unknown, wrong = "InvalidClientTokenId", "SignatureDoesNotMatch"
    refused(unknown, client(key=("AKIDNOBODY", "x" * 40)).list_queues)
    refused(wrong, client(key=(OPERATOR[0], "x" * 40)).list_queues)
    refused(unknown, client(aws_session_token="token").list_queues)
    refused(wrong, client(region="mars-north-1").list_queues)
    reader, team = client(key=READER), client(key=TEAM)
    assert url in reader.list_queues()["QueueUrls"]
    refused("AccessDenied", reader.send_message, QueueUrl=url, MessageBody="x")
    refused("AccessDenied", reader.receive_message, QueueUrl=url)
    team.send_message(QueueUrl=url, MessageBody="x")
    assert team.list_queues()["QueueUrls"] == [url]
    refused("AccessDenied", team.create_queue, QueueName="other")
    shared = url.replace("team-a", "shared")
    refused("AccessDenied", team.send_message, QueueUrl=shared, MessageBody="x")


def answer(headers, body=b"{}", path="/", method="POST"):
    """Status, body and headers of a request that no client would send."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{HERE}{path}", data=body, headers=headers, method=method
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def signed(body=b"{}", target="AmazonSQS.ListQueues", at=None):
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": target}
    request = botocore.awsrequest.AWSRequest(
        "POST", f"http://127.0.0.1:{HERE}/", headers, data=body
    )
    auth = botocore.auth.SigV4Auth(Credentials(*OPERATOR), "sqs", "us-east-1")
    if at is None:
        auth.add_auth(request)
    else:
        now = botocore.auth.get_current_datetime
        botocore.auth.get_current_datetime = lambda *_, **__: at
        auth.add_auth(request)
        botocore.auth.get_current_datetime = now
    return dict(request.headers.items())


def signatures_are_checked_in_each_part():
    good = signed()
    assert answer(good)[0] == 200

    def refused(code, headers, body=b"{}", **more):
        status, text, heads = answer(headers, body, **more)
        found = heads["x-amzn-query-error"]
        assert status in (400, 403) and found == f"{code};Sender", (status, found, text)

    wrong = "SignatureDoesNotMatch"
    refused(wrong, good, b'{"MaxResults": 1}')
    refused(wrong, good | {"X-Amz-Target": "AmazonSQS.PurgeQueue"})
    refused(wrong, good, path="/other")
    refused(wrong, good | {"x-amz-extra": "1"})
    authorization = good["Authorization"]
    for part, other in [
        ("Signature=", "Signature=0000"),
        ("us-east-1", "eu-west-1"),
        ("/sqs/", "/s3/"),
        ("host;", "host;x-amz-content-sha256;"),
    ]:
        changed = authorization.replace(part, other)
        if part == "Signature=":
            changed = changed[:-4]
        refused(wrong, good | {"Authorization": changed})
    refused("IncompleteSignature", good | {"Authorization": "AWS4-HMAC-SHA256 nonsense"})
    refused("IncompleteSignature", good | {"Authorization": "Basic eA=="})
    without = {name: value for name, value in good.items() if name != "Authorization"}
    refused("MissingAuthenticationToken", without)
    import datetime

    now = datetime.datetime.now(datetime.timezone.utc)
    for minutes in (-16, 16):
        skewed = signed(at=now + datetime.timedelta(minutes=minutes))
        refused(wrong, skewed)
    assert answer(signed(at=now - datetime.timedelta(minutes=14)))[0] == 200


def what_is_no_request_is_refused():
    def code(headers, body=b"{}", **more):
        status, text, heads = answer(headers, body, **more)
        return status, heads["x-amzn-query-error"]

    assert code(signed(target="AmazonSQS.Fly"))[1] == "InvalidAction;Sender"
    assert code({"Content-Type": "application/json"})[1] == "InvalidAction;Sender"
    bad = b'{"QueueUrl": '
    assert code(signed(bad, "AmazonSQS.SendMessage"), bad)[1] == "MalformedInput;Sender"
    typed = b'{"MaxResults": "many"}'
    assert code(signed(typed), typed)[1] == "MalformedInput;Sender"
    status, text, _ = answer(
        {"Content-Type": "application/x-www-form-urlencoded"}, b"Action=ListQueues"
    )
    assert status == 400 and b"<ErrorResponse" in text and b"JSON" in text, text
    large = b" " * (4 * 1024 * 1024 + 1)
    assert code(signed(large), large)[1].endswith("BatchRequestTooLong;Sender")


TESTS = [
    queues_are_made_found_and_removed,
    attributes_are_kept_and_refused,
    messages_travel_whole,
    what_cannot_be_sent_is_refused,
    batches_fail_in_part,
    waiting_is_long_and_ends,
    expired_messages_come_again,
    dead_letters_are_kept_apart,
    fifo_queues_keep_order,
    an_attempt_to_receive_is_repeated,
    a_queue_is_emptied_once_a_minute,
    any_region_serves,
    strangers_stay_outside,
    signatures_are_checked_in_each_part,
    what_is_no_request_is_refused,
]

wanted = sys.argv[9:]
for test in TESTS:
    if not wanted or test.__name__ in wanted:
        test()
        print(test.__name__, flush=True)
print("ok")
