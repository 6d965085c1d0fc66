"""The cache server of two regions, as a client of Bazel's HTTP protocol: what it stores, what it refuses,
what it no longer serves.

Arguments: the ports of both cache servers, of the first region's HTTP server and S3 server, then id and
secret of an operator, of a reader, and of an operator of buckets that begin with "team-", then a bearer
token of a reader of "builds" and one of an operator. There are caches "builds" and "small" (100,000
bytes), and a bucket "photos" that is none.
"""

import base64
import hashlib
import http.client
import os
import sys
import time
import urllib.request

import boto3
from botocore.config import Config

HERE, THERE, HTTP, S3 = (int(port) for port in sys.argv[1:5])
OPERATOR, READER, TEAM = (tuple(sys.argv[at : at + 2]) for at in (5, 7, 9))
READING_TOKEN, WRITING_TOKEN = sys.argv[11:13]
EMPTY = hashlib.sha256(b"").hexdigest()


def basic(key):
    return {"Authorization": "Basic " + base64.b64encode(":".join(key).encode()).decode()}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def ask(method, path, body=None, port=HERE, who=basic(OPERATOR), **headers):
    """The status, the body and the headers of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body=body, headers={**who, **headers})
    answer = connection.getresponse()
    told = answer.status, answer.read(), answer.headers
    connection.close()
    return told


def status(*arguments, **more):
    return ask(*arguments, **more)[0]


def until(look, seconds=20):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "still not so"
        time.sleep(0.02)
    return found


def name(body):
    return hashlib.sha256(body).hexdigest()


def cas(body, bucket="/builds"):
    return f"{bucket}/cas/{name(body)}"


def metric(line):
    text = urllib.request.urlopen(f"http://127.0.0.1:{HTTP}/metrics").read().decode()
    found = [it.rsplit(" ", 1)[1] for it in text.splitlines() if it.startswith(line)]
    return sum(float(value) for value in found)


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def field(number, content):
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def digest(body):
    return field(1, name(body).encode()) + field(2, len(body))


def output_file(body):
    return field(2, field(1, b"bazel-out/a.o") + field(2, digest(body)) + field(4, 1))


def action(of):
    return f"/builds/ac/{hashlib.sha256(of.encode()).hexdigest()}"


s3 = boto3.client(
    "s3",
    endpoint_url=f"http://127.0.0.1:{S3}",
    region_name="us-east-1",
    aws_access_key_id=OPERATOR[0],
    aws_secret_access_key=OPERATOR[1],
    config=Config(retries={"max_attempts": 0}),
)


def listed():
    """What is in the small cache; to ask for one would keep it there."""
    found = s3.list_objects_v2(Bucket="small").get("Contents", [])
    return {it["Key"] for it in found}


def who_may_do_what():
    blob = os.urandom(100)
    code, _, headers = ask("GET", cas(blob), who={})
    assert code == 401 and "Basic" in headers["WWW-Authenticate"], code
    for wrong in (
        basic((OPERATOR[0], READER[1])),
        basic(("NOBODY", OPERATOR[1])),
        bearer("rhumb_ci_0123456789"),
        bearer(READING_TOKEN + "0"),
        {"Authorization": "Basic !"},
        {"Authorization": "Negotiate x"},
    ):
        assert status("GET", cas(blob), who=wrong) == 401, wrong
        assert status("PUT", cas(blob), blob, who=wrong) == 401, wrong
    assert status("GET", cas(blob)) == 404, "nobody has stored it"
    for reader in (basic(READER), bearer(READING_TOKEN), basic(("x", READING_TOKEN))):
        assert status("GET", cas(blob), who=reader) == 404
        assert status("PUT", cas(blob), blob, who=reader) == 403
        assert status("DELETE", cas(blob), who=reader) == 403
    assert status("PUT", cas(blob), blob, who=basic(TEAM)) == 403
    assert status("GET", cas(blob, "/small"), who=bearer(READING_TOKEN)) == 403
    assert status("PUT", cas(blob), blob, who=bearer(WRITING_TOKEN)) == 200
    for reader in (basic(READER), bearer(READING_TOKEN), basic(("x", READING_TOKEN))):
        assert ask("GET", cas(blob), who=reader)[:2] == (200, blob)


def blobs_are_what_they_are_called():
    for size in (0, 1, 5_000, 3 << 20):
        blob = os.urandom(size)
        assert status("PUT", cas(blob), blob) == 200
        code, body, headers = ask("GET", cas(blob))
        assert (code, body, headers["Content-Length"]) == (200, blob, str(size))
        code, body, headers = ask("HEAD", cas(blob))
        assert (code, body, headers["Content-Length"]) == (200, b"", str(size))
        # The other region has only heard of it, or not even that yet.
        until(lambda: status("HEAD", cas(blob), port=THERE) == 200)
        assert ask("GET", cas(blob), port=THERE)[:2] == (200, blob)
    pieces = [os.urandom(70_000) for _ in range(5)]
    whole = b"".join(pieces)
    assert status("PUT", cas(whole), iter(pieces)) == 200, "of a length that was not said"
    assert ask("GET", cas(whole))[1] == whole
    before = metric('rhumb_cache_refused_total{bucket="builds",reason="digest"}')
    for size in (10, 400_000):
        blob = os.urandom(size)
        assert status("PUT", cas(blob), blob[:-1] + b"!") == 400
        assert status("PUT", cas(blob), blob[:-1]) == 400
        assert status("GET", cas(blob)) == 404, "nothing was stored"
        assert status("PUT", cas(blob), blob) == 200
        assert status("PUT", cas(blob), blob[::-1]) == 400, "it is there already"
        assert ask("GET", cas(blob))[1] == blob
    after = metric('rhumb_cache_refused_total{bucket="builds",reason="digest"}')
    assert after - before == 6, (before, after)
    assert ask("GET", f"/builds/cas/{EMPTY}")[:2] == (200, b"")


def what_nobody_checked_is_not_served():
    blob = os.urandom(1_000)
    s3.put_object(Bucket="builds", Key=f"cas/{name(blob)}", Body=b"poison")
    assert status("GET", cas(blob)) == 404
    assert metric('rhumb_cache_refused_total{bucket="builds",reason="unchecked"}') > 0
    s3.put_object(Bucket="builds", Key=f"cas/{name(blob)}", Body=blob, ChecksumAlgorithm="SHA256")
    assert ask("GET", cas(blob))[:2] == (200, blob), "S3 has checked it"
    s3.put_object(Bucket="builds", Key=action("s3")[len("/builds/") :], Body=b"poison")
    assert status("GET", action("s3")) == 404


def bad_requests():
    blob = os.urandom(10)
    digits = name(blob)
    for path, expected in (
        (f"/builds/cas/{digits.upper()}", 400),
        (f"/builds/cas/{digits[:-1]}", 400),
        (f"/builds/cas/{digits}0", 400),
        ("/", 404),
        (f"/{digits}", 404),
        (f"/builds/xx/{digits}", 404),
        (f"/builds/../cas/{digits}", 404),
        (f"/photos/cas/{digits}", 404),
        (f"/nowhere/cas/{digits}", 404),
    ):
        for method, body in (("GET", None), ("PUT", blob)):
            assert status(method, path, body) == expected, (method, path)
    assert status("POST", cas(blob), blob) == 405
    big = os.urandom(100_001)
    assert status("PUT", cas(big, "/small"), big) == 413, "larger than the whole cache"
    # Longer and shorter than was said.
    connection = http.client.HTTPConnection("127.0.0.1", HERE, timeout=60)
    connection.putrequest("PUT", cas(blob))
    for header in basic(OPERATOR).items():
        connection.putheader(*header)
    connection.putheader("Content-Length", "11")
    connection.endheaders()
    connection.send(blob)
    connection.sock.shutdown(1)
    assert connection.getresponse().status == 400
    assert status("GET", cas(blob)) == 404


def action_results_are_whole():
    before = metric('rhumb_cache_refused_total{bucket="builds",reason="action"}')
    for garbage in (b"", b"hello", b"\x12\xff", field(2, b"\x0a"), field(6, field(1, b"short"))):
        assert status("PUT", action("bad"), garbage) == 400, garbage
    after = metric('rhumb_cache_refused_total{bucket="builds",reason="action"}')
    assert after - before == 5
    assert status("PUT", action("big"), field(5, bytes(9 << 20))) == 413
    assert status("PUT", action("names nothing"), field(4, 1) + field(5, b"said")) == 200
    assert status("GET", action("names nothing")) == 200

    first, second, out = (os.urandom(size) for size in (300, 50_000, 20))
    result = output_file(first) + output_file(second) + field(6, digest(out)) + field(4, 0)
    assert status("PUT", action("files"), result) == 200
    for blob in (first, second, out):
        assert status("GET", action("files")) == 404, "it names what is not there"
        assert status("PUT", cas(blob), blob) == 200
    assert ask("GET", action("files"))[:2] == (200, result)
    assert status("HEAD", action("files")) == 200
    until(lambda: ask("GET", action("files"), port=THERE)[:2] == (200, result))
    # Gone in one region is gone in all.
    assert status("DELETE", cas(second)) == 200
    assert status("GET", action("files")) == 404
    assert status("HEAD", action("files")) == 404
    until(lambda: status("GET", action("files"), port=THERE) == 404)
    assert status("PUT", cas(second), second, port=THERE) == 200
    until(lambda: status("GET", action("files")) == 200)
    # One whose length is another is not the one that is meant.
    lying = field(6, field(1, name(out).encode()) + field(2, len(out) + 1))
    assert status("PUT", action("lying"), lying) == 200
    assert status("GET", action("lying")) == 404


def node(number, body):
    return field(number, field(1, b"name") + field(2, digest(body)))


def trees_of_action_results_are_whole():
    top, deep = os.urandom(10), os.urandom(9_000)
    child = node(1, deep)
    tree = field(1, node(1, top) + node(2, child)) + field(2, child)
    result = field(3, field(1, b"out") + field(3, digest(tree)))
    assert status("PUT", action("tree"), result) == 200
    for blob in (tree, top, deep):
        assert status("GET", action("tree")) == 404
        assert status("PUT", cas(blob), blob) == 200
    assert status("GET", action("tree")) == 200
    # The same directories, each a blob of its own.
    last, root = os.urandom(11), node(1, top) + node(2, child)
    result = field(3, field(1, b"out") + field(5, digest(root))) + output_file(last)
    assert status("PUT", action("root"), result) == 200
    for blob in (root, child, last):
        assert status("GET", action("root")) == 404
        assert status("PUT", cas(blob), blob) == 200
    assert status("GET", action("root")) == 200
    assert status("DELETE", cas(deep)) == 200
    assert status("GET", action("tree")) == 404
    assert status("GET", action("root")) == 404


def entries_of_ccache_are_opaque():
    for magic in (b"\xcc\xac", b"cCrS", b"cCmF"):
        for size in (10, 500_000):
            entry = magic + os.urandom(size)
            assert status("PUT", action("ccache"), entry) == 200
            assert ask("GET", action("ccache"))[:2] == (200, entry)


def the_least_lately_read_go_first():
    blobs = [os.urandom(8_000) for _ in range(12)]
    for blob in blobs:
        assert status("PUT", cas(blob, "/small"), blob) == 200
        assert status("GET", cas(blobs[0], "/small")) == 200
    more = os.urandom(8_000)
    assert status("PUT", cas(more, "/small"), more) == 200
    until(lambda: cas(blobs[1], "")[1:] not in listed())
    assert status("GET", cas(blobs[1], "/small")) == 404
    for blob in (blobs[0], blobs[-1], more):
        assert ask("GET", cas(blob, "/small"))[:2] == (200, blob)
    held = 'rhumb_cache_held_bytes{bucket="small"}'
    until(lambda: 0 < metric(held) <= 100_000)
    # Far more than fits: what is held follows. Either region lets go of what lies in both.
    late = [os.urandom(8_000) for _ in range(60)]
    for blob in late:
        assert status("PUT", cas(blob, "/small"), blob) == 200
    until(lambda: len(listed()) <= 12, seconds=60)
    until(lambda: 0 < metric(held) <= 100_000)
    assert ask("GET", cas(late[-1], "/small"))[:2] == (200, late[-1])


def what_an_action_result_names_counts_as_read_with_it():
    unread, named = os.urandom(8_000), os.urandom(8_000)
    result = action("kept").replace("/builds/", "/small/")
    for path, body in (
        (cas(unread, "/small"), unread),
        (cas(named, "/small"), named),
        (result, output_file(named)),
    ):
        assert status("PUT", path, body) == 200
    # Nobody asks for the blob itself, and it is older than all that comes now.
    for blob in (os.urandom(8_000) for _ in range(40)):
        assert status("PUT", cas(blob, "/small"), blob) == 200
        assert status("GET", result) == 200
    until(lambda: cas(unread, "")[1:] not in listed(), seconds=60)
    until(lambda: len(listed()) <= 13, seconds=60)
    assert ask("GET", cas(named, "/small"))[:2] == (200, named)


for test in (
    who_may_do_what,
    blobs_are_what_they_are_called,
    what_nobody_checked_is_not_served,
    bad_requests,
    action_results_are_whole,
    trees_of_action_results_are_whole,
    entries_of_ccache_are_opaque,
    the_least_lately_read_go_first,
    what_an_action_result_names_counts_as_read_with_it,
):
    began = time.monotonic()
    test()
    print(f"{test.__name__}: {time.monotonic() - began:.1f} s", flush=True)
assert metric('rhumb_cache_hits_total{bucket="builds"}') > 0
assert metric('rhumb_cache_misses_total{bucket="builds"}') > 0
print("ok")
