"""Requests of our own making, wrong in one place each: what is refused, with which code, and that nothing is stored.

Arguments: the port, then id and secret of an operator of all buckets. Signatures are made here, as the documents
of AWS say, and not by a library.
"""

import base64
import concurrent.futures
import contextlib
import datetime
import hashlib
import hmac
import http.client
import socket
import sys
import urllib.parse

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from crcs import CRCS

PORT, KEY, SECRET = int(sys.argv[1]), sys.argv[2], sys.argv[3]
HOST, REGION = f"127.0.0.1:{PORT}", "us-east-1"
EMPTY = hashlib.sha256(b"").hexdigest()
STREAM = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAM_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

easy = boto3.client(
    "s3",
    endpoint_url=f"http://{HOST}",
    region_name=REGION,
    aws_access_key_id=KEY,
    aws_secret_access_key=SECRET,
    config=Config(retries={"total_max_attempts": 1}),
)


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256)


class Signed:
    """A request with its signature, and what signs what follows it."""

    def __init__(self, method, path, payload, query="", minutes=0, **headers):
        at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
        self.method, self.path, self.query = method, path, query
        self.time, self.scope = f"{at:%Y%m%dT%H%M%SZ}", f"{at:%Y%m%d}/{REGION}/s3/aws4_request"
        self.headers = {"host": HOST, "x-amz-date": self.time, "x-amz-content-sha256": payload}
        self.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        names = sorted(self.headers)
        lines = [f"{name}:{self.headers[name]}" for name in names]
        request = [method, path, query, *lines, "", ";".join(names), payload]
        self.key = f"AWS4{SECRET}".encode()
        for part in self.scope.split("/"):
            self.key = mac(self.key, part).digest()
        digest = hashlib.sha256("\n".join(request).encode()).hexdigest()
        self.signature = self.sign("AWS4-HMAC-SHA256", digest)
        credential = f"Credential={KEY}/{self.scope},SignedHeaders={';'.join(names)}"
        self.headers["authorization"] = f"AWS4-HMAC-SHA256 {credential},Signature={self.signature}"

    def sign(self, kind, *lines):
        return mac(self.key, "\n".join([kind, self.time, self.scope, *lines])).hexdigest()

    def chunks(self, pieces, trailer=None):
        """A body in signed chunks, the signature of each over that of the one before."""
        before, body = self.signature, []
        for piece in [*pieces, b""]:
            digest = hashlib.sha256(piece).hexdigest()
            before = self.sign("AWS4-HMAC-SHA256-PAYLOAD", before, EMPTY, digest)
            body.append(f"{len(piece):x};chunk-signature={before}\r\n".encode() + piece + b"\r\n")
        if trailer is not None:
            body[-1] = body[-1][:-2]
            digest = hashlib.sha256(f"{trailer}\n".encode()).hexdigest()
            last = self.sign("AWS4-HMAC-SHA256-TRAILER", before, digest)
            body.append(f"{trailer}\r\nx-amz-trailer-signature:{last}\r\n\r\n".encode())
        return body

    def send(self, body=b"", length=None):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
        target = self.path + (f"?{self.query}" if self.query else "")
        connection.putrequest(self.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        length = len(body) if length is None else length
        connection.putheader("content-length", str(length))
        connection.endheaders()
        connection.send(body)
        if length != len(body):
            # Whoever is refused by its head may find the line closed already.
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_WR)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")


def code(text):
    return text.split("<Code>")[1].split("</Code>")[0] if "<Code>" in text else text


def refused(expected, status, answer):
    found, text = answer
    allowed = expected if isinstance(expected, tuple) else (expected,)
    assert found == status and code(text) in allowed, (expected, status, answer)


def is_absent(key):
    try:
        easy.head_object(Bucket="wrong", Key=key)
    except ClientError as error:
        return error.response["Error"]["Code"] == "404"
    return False


def swapped(text, at=-1):
    """Another hexadecimal digit in one place."""
    digits = list(text)
    digits[at] = "0" if digits[at] != "0" else "1"
    return "".join(digits)


easy.create_bucket(Bucket="wrong")
easy.create_bucket(Bucket="other")
easy.put_object(Bucket="wrong", Key="here", Body=b"here")
BODY = b"the body of a request"
HASH = hashlib.sha256(BODY).hexdigest()

# What is right goes through: the tests below fail for their one fault.
assert Signed("PUT", "/wrong/right", HASH).send(BODY)[0] == 200
assert Signed("PUT", "/wrong/unhashed", "UNSIGNED-PAYLOAD").send(BODY)[0] == 200



def trickle():
    """A body whose second half never comes."""
    slow = Signed("PUT", "/wrong/slow", "UNSIGNED-PAYLOAD")
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=90)
    connection.putrequest("PUT", slow.path, skip_host=True, skip_accept_encoding=True)
    for name, value in (slow.headers | {"content-length": str(2 * len(BODY))}).items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(BODY)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


# It takes half a minute, in which the others are tried.
pool = concurrent.futures.ThreadPoolExecutor(1)
trickling = pool.submit(trickle)

# The header.
wrong = Signed("PUT", "/wrong/forged", HASH)
wrong.headers["authorization"] = swapped(wrong.headers["authorization"])
refused("SignatureDoesNotMatch", 403, wrong.send(BODY))
wrong = Signed("PUT", "/wrong/forged", HASH)
wrong.query = "tagging"
refused("SignatureDoesNotMatch", 403, wrong.send(BODY))
wrong = Signed("PUT", "/wrong/forged", HASH)
wrong.headers["x-amz-date"] = swapped(wrong.time, -2)
refused(("SignatureDoesNotMatch", "RequestTimeTooSkewed"), 403, wrong.send(BODY))
wrong = Signed("PUT", "/wrong/forged", HASH)
wrong.headers["host"] = f"localhost:{PORT}"
refused("SignatureDoesNotMatch", 403, wrong.send(BODY))
wrong = Signed("PUT", "/wrong/forged", HASH)
wrong.headers["authorization"] = "AWS4-HMAC-SHA256 nonsense"
refused("AuthorizationHeaderMalformed", 400, wrong.send(BODY))

# The hash of the payload.
refused("XAmzContentSHA256Mismatch", 400, Signed("PUT", "/wrong/forged", HASH).send(BODY[::-1]))
refused("XAmzContentSHA256Mismatch", 400, Signed("PUT", "/wrong/forged", EMPTY).send(BODY))

# Clocks.
for minutes in (-14, 14):
    assert Signed("GET", "/wrong/here", EMPTY, minutes=minutes).send()[0] == 200, minutes
for minutes in (-16, 16, 60 * 24):
    refused("RequestTimeTooSkewed", 403, Signed("GET", "/wrong/here", EMPTY, minutes=minutes).send())


# The query.
def presigned(minutes=0, seconds=600, path="/wrong/here"):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    scope = f"{at:%Y%m%d}/{REGION}/s3/aws4_request"
    query = urllib.parse.urlencode(
        {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{KEY}/{scope}",
            "X-Amz-Date": f"{at:%Y%m%dT%H%M%SZ}",
            "X-Amz-Expires": seconds,
            "X-Amz-SignedHeaders": "host",
        },
        quote_via=urllib.parse.quote,
        safe="",
    )
    request = "\n".join(["GET", path, query, f"host:{HOST}", "", "host", "UNSIGNED-PAYLOAD"])
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = mac(key, part).digest()
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", f"{at:%Y%m%dT%H%M%SZ}", scope, digest])
    return f"{path}?{query}&X-Amz-Signature={mac(key, text).hexdigest()}"


def fetch(target):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
    connection.request("GET", target)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


right = presigned()
assert fetch(right)[0] == 200
refused("SignatureDoesNotMatch", 403, fetch(swapped(right)))
refused("SignatureDoesNotMatch", 403, fetch(right.replace("X-Amz-Expires=600", "X-Amz-Expires=6000")))
refused("SignatureDoesNotMatch", 403, fetch(right + "&versionId=null"))
refused("SignatureDoesNotMatch", 403, fetch(right.replace("/wrong/", "/other/")))
refused("AccessDenied", 403, fetch(presigned(minutes=-20, seconds=60)))
refused(("AccessDenied", "RequestTimeTooSkewed"), 403, fetch(presigned(minutes=20)))


# Bodies in chunks.
def chunked(kind=STREAM, said=None, **more):
    length = str(len(BODY) if said is None else said)
    more |= {"x_amz_decoded_content_length": length, "content_encoding": "aws-chunked"}
    return Signed("PUT", "/wrong/chunked", kind, **more)


PIECES = [BODY[:10], BODY[10:]]
CRC = CRCS["CRC32"](BODY)
right = chunked()
assert right.send(b"".join(right.chunks(PIECES)))[0] == 200
easy.delete_object(Bucket="wrong", Key="chunked")
for nth in range(3):
    wrong = chunked()
    body = wrong.chunks(PIECES)
    head, rest = body[nth].split(b"\r\n", 1)
    body[nth] = swapped(head.decode()).encode() + b"\r\n" + rest
    refused("SignatureDoesNotMatch", 403, wrong.send(b"".join(body)))
wrong = chunked()
body = b"".join(wrong.chunks(PIECES)).replace(b"the body", b"the bodY")
refused("SignatureDoesNotMatch", 403, wrong.send(body))
wrong = chunked()
body = wrong.chunks(PIECES)
refused("SignatureDoesNotMatch", 403, wrong.send(body[1] + body[0] + body[2]))
wrong = chunked()
refused("IncompleteBody", 400, wrong.send(b"".join(wrong.chunks(PIECES)[:-1])))
for said in (len(BODY) - 1, len(BODY) + 1):
    wrong = chunked(said=said)
    refused("IncompleteBody", 400, wrong.send(b"".join(wrong.chunks(PIECES))))
# Chunks that are none: a length that is no number, that is too short for its bytes, or that has no end.
for head in (b"x;chunk-signature=", b"-1;chunk-signature=", b"1;chunk-signature=", b";" * 2_000):
    wrong = chunked()
    body = wrong.chunks(PIECES)
    body[0] = head + body[0].split(b"=", 1)[1]
    refused("InvalidChunkSizeError", 400, wrong.send(b"".join(body)))
assert is_absent("chunked")


# Trailers.
def with_trailer(kind=STREAM_TRAILER, name="crc32"):
    return chunked(kind, x_amz_trailer=f"x-amz-checksum-{name}")


right = with_trailer()
assert right.send(b"".join(right.chunks(PIECES, f"x-amz-checksum-crc32:{CRC}")))[0] == 200
easy.delete_object(Bucket="wrong", Key="chunked")
wrong = with_trailer()
body = b"".join(wrong.chunks(PIECES, f"x-amz-checksum-crc32:{CRC}"))
refused("SignatureDoesNotMatch", 403, wrong.send(swapped(body.decode(), -5).encode()))
wrong = with_trailer()
body = wrong.chunks(PIECES, f"x-amz-checksum-crc32:{CRC}")
body[-1] = body[-1].replace(CRC.encode(), b"AAAAAA==")
refused("SignatureDoesNotMatch", 403, wrong.send(b"".join(body)))
wrong = with_trailer()
refused("BadDigest", 400, wrong.send(b"".join(wrong.chunks(PIECES, "x-amz-checksum-crc32:AAAAAA=="))))
wrong = with_trailer()
refused("MalformedTrailerError", 400, wrong.send(b"".join(wrong.chunks(PIECES, "x-amz-checksum-sha1:AAAA"))))
for algorithm, crc in CRCS.items():
    name, other = algorithm.lower(), crc(BODY[::-1])
    trailer = f"x-amz-checksum-{name}"
    unsigned = f"{len(BODY):x}\r\n".encode() + BODY + f"\r\n0\r\n{trailer}:".encode()
    wrong = with_trailer(name=name)
    refused("BadDigest", 400, wrong.send(b"".join(wrong.chunks(PIECES, f"{trailer}:{other}"))))
    wrong = with_trailer(UNSIGNED_TRAILER, name)
    refused("BadDigest", 400, wrong.send(unsigned + f"{other}\r\n\r\n".encode()))
    assert is_absent("chunked"), name
    for right, body in (
        (signed := with_trailer(name=name), b"".join(signed.chunks(PIECES, f"{trailer}:{crc(BODY)}"))),
        (with_trailer(UNSIGNED_TRAILER, name), unsigned + f"{crc(BODY)}\r\n\r\n".encode()),
    ):
        assert right.send(body)[0] == 200, name
        kept = easy.head_object(Bucket="wrong", Key="chunked", ChecksumMode="ENABLED")
        assert kept[f"Checksum{algorithm}"] == crc(BODY), kept
        easy.delete_object(Bucket="wrong", Key="chunked")
assert is_absent("chunked")

# Sizes that lie.
refused("IncompleteBody", 400, Signed("PUT", "/wrong/short", "UNSIGNED-PAYLOAD").send(BODY, len(BODY) + 5))
assert is_absent("short")
for lie in ("-1", "x", "1, 2", "1e2"):
    assert Signed("PUT", "/wrong/lie", "UNSIGNED-PAYLOAD").send(BODY, lie)[0] == 400, lie
huge = Signed("PUT", "/wrong/huge", "UNSIGNED-PAYLOAD", expect="100-continue")
refused("EntityTooLarge", 400, huge.send(b"", (5 << 30) + 1))
assert is_absent("lie") and is_absent("huge")

# Keys: opaque, decoded once, never a path.
for raw, key in {
    "/wrong/../../etc/passwd": "../../etc/passwd",
    "/wrong/%2e%2e/%2E%2E/x": "../../x",
    "/wrong/%252e%252e%252fx": "%2e%2e%2fx",
    "/wrong/a//b/./c": "a//b/./c",
    "/wrong//lead": "/lead",
    "/wrong/a%5Cb": "a\\b",
}.items():
    # What is signed is the path, with each byte of the key encoded once.
    plain = urllib.parse.quote(urllib.parse.unquote(raw), safe="/-._~")
    put = Signed("PUT", plain, HASH)
    put.path = raw
    status, text = put.send(BODY)
    assert status == 200, (raw, status, text)
    assert easy.get_object(Bucket="wrong", Key=key)["Body"].read() == BODY, raw
    keys = [it["Key"] for it in easy.list_objects_v2(Bucket="wrong", Prefix=key)["Contents"]]
    assert keys == [key], (raw, keys)
for raw in ("/wrong/a%00b", "/wrong/%ff%fe", "/wrong/a%zzb"):
    status, text = Signed("PUT", raw, HASH).send(BODY)
    assert status in (400, 403), (raw, status, text)
before = len(easy.list_objects_v2(Bucket="wrong")["Contents"])

# Parts.
of = dict(Bucket="wrong", Key="parts")
of["UploadId"] = easy.create_multipart_upload(**of)["UploadId"]
large = bytes(range(256)) * (5 << 12)
# In any order, and with gaps.
bodies = {3: large, 1: large[::-1], 7: b"the last may be short"}
tags = {
    number: easy.upload_part(**of, PartNumber=number, Body=body)["ETag"]
    for number, body in bodies.items()
}


def fails(expected, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == expected, (expected, error.response)
        return
    raise AssertionError(f"{expected} was expected")


def chosen(*numbers):
    return {"Parts": [{"PartNumber": number, "ETag": tags[number]} for number in numbers]}


fails("InvalidPartOrder", easy.complete_multipart_upload, **of, MultipartUpload=chosen(3, 1, 7))
fails("InvalidPartOrder", easy.complete_multipart_upload, **of, MultipartUpload=chosen(1, 1, 7))
for number in (0, 10_001):
    fails("InvalidArgument", easy.upload_part, **of, PartNumber=number, Body=b"x")
fails("BadDigest", easy.upload_part, **of, PartNumber=9, Body=b"x", ChecksumCRC32="AAAAAA==")
fails("BadDigest", easy.upload_part, **of, PartNumber=3, Body=b"x", ContentMD5=base64.b64encode(bytes(16)).decode())
found = [(it["PartNumber"], it["ETag"]) for it in easy.list_parts(**of)["Parts"]]
assert found == [(number, tags[number]) for number in (1, 3, 7)], found

# One bucket is not another.
for call, more in (
    (easy.upload_part, {"PartNumber": 1, "Body": b"x"}),
    (easy.list_parts, {}),
    (easy.complete_multipart_upload, {"MultipartUpload": chosen(1, 3, 7)}),
    (easy.abort_multipart_upload, {}),
):
    fails("NoSuchUpload", call, Bucket="other", Key="parts", UploadId=of["UploadId"], **more)
    fails("NoSuchUpload", call, Bucket="wrong", Key="other", UploadId=of["UploadId"], **more)
easy.complete_multipart_upload(**of, MultipartUpload=chosen(1, 3, 7))
read = easy.get_object(Bucket="wrong", Key="parts")["Body"].read()
assert read == bodies[1] + bodies[3] + bodies[7], "a gap between numbers is none in the object"
foreign = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::other/*"}]}'
fails("MalformedPolicy", easy.put_bucket_policy, Bucket="wrong", Policy=foreign)

refused("RequestTimeout", 400, trickling.result())
after = {it["Key"] for it in easy.list_objects_v2(Bucket="wrong")["Contents"]}
assert len(after) == before + 1 and not after & {"forged", "chunked", "short", "lie", "huge", "slow"}, after
print("ok")
