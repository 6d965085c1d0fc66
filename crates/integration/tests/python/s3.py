"""boto3 against two regions: every operation, the errors it maps, and what it must not get through.

Arguments: the ports of both regions, then id and secret of an operator of all buckets, of a reader, and
of an operator of buckets that begin with "team-".
"""

import base64
import concurrent.futures
import datetime
import hashlib
import http.client
import io
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from crcs import CRCS

HERE, THERE = int(sys.argv[1]), int(sys.argv[2])
OPERATOR, READER, TEAM = (tuple(sys.argv[at : at + 2]) for at in (3, 5, 7))
MIB = 1 << 20


def client(port=HERE, key=OPERATOR, region="us-east-1", **more):
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=region,
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        config=Config(retries={"max_attempts": 0}, **more),
    )


here, there = client(), client(THERE, region="eu-west-1")
reader, team = client(key=READER), client(key=TEAM)


def refused(code, call, **arguments):
    """The error of a call that must fail, by the code that programs compare with."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found in (code if isinstance(code, tuple) else (code,)), (code, error.response)
        return error.response
    raise AssertionError(f"{code} was expected, and not {answer}")


def until(look, seconds=20):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, look
        time.sleep(0.05)
    return found


def read(bucket, key, at=here, **more):
    return at.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


def gone(call, **arguments):
    try:
        call(**arguments)
        return False
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] == 404


# Buckets.
assert here.create_bucket(Bucket="photos")["Location"] == "/photos"
refused("BucketAlreadyOwnedByYou", here.create_bucket, Bucket="photos")
refused("AccessDenied", team.create_bucket, Bucket="photos")
for name in ("Photos", "pho_tos", "pho..tos", "ph", "192.168.0.1"):
    refused("InvalidBucketName", here.create_bucket, Bucket=name)
refused("AccessDenied", reader.create_bucket, Bucket="more")
refused(
    "InvalidLocationConstraint",
    here.create_bucket,
    Bucket="mars",
    CreateBucketConfiguration={"LocationConstraint": "mars-1"},
)
there.create_bucket(
    Bucket="team-a", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
)
until(lambda: len(here.list_buckets()["Buckets"]) == 2)
assert here.get_bucket_location(Bucket="team-a")["LocationConstraint"] == "eu-west-1"
assert [it["Name"] for it in here.list_buckets()["Buckets"]] == ["photos", "team-a"]
assert [it["Name"] for it in team.list_buckets()["Buckets"]] == ["team-a"]
here.head_bucket(Bucket="photos")
refused("404", here.head_bucket, Bucket="nothing")
refused("NoSuchBucket", here.list_objects_v2, Bucket="nothing")
refused("NoSuchBucket", here.put_object, Bucket="nothing", Key="a", Body=b"x")
refused("NoSuchTagSet", here.get_bucket_tagging, Bucket="photos")
here.put_bucket_tagging(Bucket="photos", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
assert there.get_bucket_tagging(Bucket="photos")["TagSet"] == [{"Key": "a", "Value": "b"}]


def change(nth):
    tags = {"TagSet": [{"Key": "nth", "Value": str(nth)}]}
    try:
        (here, there)[nth % 2].put_bucket_tagging(Bucket="photos", Tagging=tags)
    except ClientError as error:
        return error.response["Error"]["Code"]


# Of changes of one bucket that meet, some are made, and the others are told so.
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    met = set()
    until(lambda: met.update(pool.map(change, range(8))) or "OperationAborted" in met)
assert met <= {None, "OperationAborted"}, met
here.delete_bucket_tagging(Bucket="photos")
refused("ServerSideEncryptionConfigurationNotFoundError", here.get_bucket_encryption, Bucket="photos")

# An object, small and large, here and there.
put = here.put_object(
    Bucket="photos",
    Key="a b/ä+%2F.txt",
    Body=b"hello",
    ContentType="text/plain; charset=utf-8",
    CacheControl="no-cache",
    ContentDisposition='attachment; filename="x"',
    ContentLanguage="de",
    Metadata={"Name": "value", "umlaut": "ok"},
    Tagging="k=v&l=",
)
assert put["ETag"] == '"5d41402abc4b2a76b9719d911017c592"'
assert "us-east-1=ok" in put["ResponseMetadata"]["HTTPHeaders"]["x-rhumb-regions"]
assert put["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"]
for at in (here, there):
    got = at.get_object(Bucket="photos", Key="a b/ä+%2F.txt")
    assert got["Body"].read() == b"hello"
    assert got["ContentType"] == "text/plain; charset=utf-8" and got["CacheControl"] == "no-cache"
    assert got["ContentDisposition"] == 'attachment; filename="x"'
    assert got["ContentLanguage"] == "de" and got["TagCount"] == 2
    assert got["Metadata"] == {"name": "value", "umlaut": "ok"}, got["Metadata"]
    assert got["ETag"] == put["ETag"] and got["ContentLength"] == 5
    head = at.head_object(Bucket="photos", Key="a b/ä+%2F.txt")
    assert head["Metadata"] == got["Metadata"] and head["ContentLength"] == 5
large = bytes(range(256)) * (20 * MIB // 256)
here.put_object(Bucket="photos", Key="large", Body=large)
assert hashlib.sha256(read("photos", "large")).digest() == hashlib.sha256(large).digest()
assert hashlib.sha256(read("photos", "large", there)).digest() == hashlib.sha256(large).digest()
here.put_object(Bucket="photos", Key="empty", Body=b"")
assert read("photos", "empty") == b""
refused("NoSuchKey", here.get_object, Bucket="photos", Key="nothing")
refused("404", here.head_object, Bucket="photos", Key="nothing")
refused("NoSuchKey", there.get_object, Bucket="photos", Key="nothing")
refused("KeyTooLongError", here.put_object, Bucket="photos", Key="x" * 1025, Body=b"x")
here.put_object(Bucket="photos", Key="x" * 1024, Body=b"x")
refused("MetadataTooLarge", here.put_object, Bucket="photos", Key="wrong", Body=b"x", Metadata={"a": "x" * 2048})
here.put_object(Bucket="photos", Key="x" * 1024, Body=b"x", Metadata={"a": "x" * 2047})
assert gone(here.head_object, Bucket="photos", Key="wrong")
here.delete_object(Bucket="photos", Key="x" * 1024)
for odd in ("../../etc/passwd", "a//b", "/lead", "a/./b", "%2e%2e%2f", "a+b", "*?[]{}'\"<>&|\\^`~#", "\u00e4\U0001f600"):
    here.put_object(Bucket="photos", Key=f"odd/{odd}", Body=odd.encode())
    assert read("photos", f"odd/{odd}") == odd.encode(), odd
    found = here.list_objects_v2(Bucket="photos", Prefix=f"odd/{odd}")["Contents"]
    assert [it["Key"] for it in found] == [f"odd/{odd}"], odd
    here.delete_object(Bucket="photos", Key=f"odd/{odd}")
refused("InvalidArgument", here.put_object, Bucket="photos", Key="a\0b", Body=b"x")

# Ranges.
assert read("photos", "large", Range="bytes=0-9") == large[:10]
assert read("photos", "large", Range=f"bytes={17 * MIB - 5}-{17 * MIB + 4}") == large[17 * MIB - 5 : 17 * MIB + 5]
assert read("photos", "large", Range="bytes=-7") == large[-7:]
assert read("photos", "large", Range=f"bytes={20 * MIB - 3}-") == large[-3:]
part = here.get_object(Bucket="photos", Key="large", Range="bytes=5-9")
assert part["ContentRange"] == f"bytes 5-9/{20 * MIB}" and part["ResponseMetadata"]["HTTPStatusCode"] == 206
error = refused("InvalidRange", here.get_object, Bucket="photos", Key="large", Range=f"bytes={20 * MIB}-")
assert error["ResponseMetadata"]["HTTPStatusCode"] == 416
assert error["ResponseMetadata"]["HTTPHeaders"]["content-range"] == f"bytes */{20 * MIB}"
assert read("photos", "large", Range="bytes=0-1,4-5") == large, "several ranges are the whole"

# Conditions.
etag = put["ETag"]
key = dict(Bucket="photos", Key="a b/ä+%2F.txt")
now = datetime.datetime.now(datetime.timezone.utc)
assert read(**{"bucket": "photos", "key": key["Key"]}, IfMatch=etag) == b"hello"
refused("PreconditionFailed", here.get_object, **key, IfMatch='"other"')
error = refused("304", here.get_object, **key, IfNoneMatch=etag)
assert error["ResponseMetadata"]["HTTPHeaders"]["etag"] == etag
refused("304", here.head_object, **key, IfNoneMatch=etag)
refused("304", here.get_object, **key, IfModifiedSince=now + datetime.timedelta(hours=1))
refused("PreconditionFailed", here.get_object, **key, IfUnmodifiedSince=now - datetime.timedelta(hours=1))
refused("PreconditionFailed", here.put_object, **key, Body=b"x", IfNoneMatch="*")
refused("PreconditionFailed", here.put_object, **key, Body=b"x", IfMatch='"other"')
refused("NoSuchKey", here.put_object, Bucket="photos", Key="nothing", Body=b"x", IfMatch='"other"')
assert read("photos", key["Key"]) == b"hello", "nothing was written"
here.put_object(**key, Body=b"hello again", IfMatch=etag)
here.put_object(Bucket="photos", Key="once", Body=b"x", IfNoneMatch="*")
refused("PreconditionFailed", here.put_object, Bucket="photos", Key="once", Body=b"y", IfNoneMatch="*")

# Checksums, in headers and in trailers; nothing is stored where they do not match.
sums = {
    **{name: crc(b"sum") for name, crc in CRCS.items()},
    "SHA1": base64.b64encode(hashlib.sha1(b"sum").digest()).decode(),
    "SHA256": base64.b64encode(hashlib.sha256(b"sum").digest()).decode(),
}
for name, value in sums.items():
    field = f"Checksum{name}"
    done = here.put_object(Bucket="photos", Key=f"sums/{name}", Body=b"sum", **{field: value})
    assert done[field] == value
    head = there.head_object(Bucket="photos", Key=f"sums/{name}", ChecksumMode="ENABLED")
    assert head[field] == value and head["ChecksumType"] == "FULL_OBJECT", head
    refused("BadDigest", here.put_object, Bucket="photos", Key="wrong", Body=b"other", **{field: value})
for name in ("CRC32", "SHA1", "SHA256"):
    body = io.BytesIO(b"in chunks" * 10_000)
    done = here.put_object(Bucket="photos", Key=f"trailers/{name}", Body=body, ChecksumAlgorithm=name)
    assert done[f"Checksum{name}"]
    got = here.get_object(Bucket="photos", Key=f"trailers/{name}", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"in chunks" * 10_000 and got[f"Checksum{name}"] == done[f"Checksum{name}"]
right = base64.b64encode(hashlib.md5(b"sum").digest()).decode()
here.put_object(Bucket="photos", Key="sums/md5", Body=b"sum", ContentMD5=right)
refused("BadDigest", here.put_object, Bucket="photos", Key="wrong", Body=b"other", ContentMD5=right)
refused("InvalidDigest", here.put_object, Bucket="photos", Key="wrong", Body=b"other", ContentMD5="x")
assert gone(here.head_object, Bucket="photos", Key="wrong")

# Requests of our own making.
def signed(method, path, body=b"", key=OPERATOR, region="us-east-1", service="s3", port=HERE, sha=None, **headers):
    url = f"http://127.0.0.1:{port}{path}"
    request = botocore.awsrequest.AWSRequest(method, url, data=body, headers=headers)
    request.headers["x-amz-content-sha256"] = sha or hashlib.sha256(body).hexdigest()
    auth = botocore.auth.S3SigV4Auth(Credentials(*key), service, region)
    auth.add_auth(request)
    return request


def send(request, method=None, path=None, body=None):
    split = urllib.parse.urlsplit(request.url)
    target = path or split.path + (f"?{split.query}" if split.query else "")
    connection = http.client.HTTPConnection(split.hostname, split.port, timeout=20)
    data = request.data if body is None else body
    connection.putrequest(method or request.method, target, skip_host=True, skip_accept_encoding=True)
    headers = dict(request.headers.items())
    headers.setdefault("host", split.netloc)
    headers.setdefault("content-length", str(len(data)))
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(data)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace"), answer


def said(text):
    return text.split("<Code>")[1].split("</Code>")[0] if "<Code>" in text else text


def wrong(code, status, request, **more):
    found, text, _ = send(request, **more)
    assert (found, said(text)) == (status, code), (found, text)


assert send(signed("PUT", "/photos/own", b"own"))[0] == 200
assert read("photos", "own") == b"own"
wrong("SignatureDoesNotMatch", 403, signed("PUT", "/photos/own", b"own"), path="/photos/other")
wrong("SignatureDoesNotMatch", 403, signed("GET", "/photos/own"), method="DELETE")
wrong("SignatureDoesNotMatch", 403, signed("GET", "/photos/own", key=(OPERATOR[0], "wrong")))
wrong("InvalidAccessKeyId", 403, signed("GET", "/photos/own", key=("NOBODY", "wrong")))
wrong("AuthorizationHeaderMalformed", 400, signed("GET", "/photos/own", region="mars-1"))
wrong("AuthorizationHeaderMalformed", 400, signed("GET", "/photos/own", service="sqs"))
wrong("XAmzContentSHA256Mismatch", 400, signed("PUT", "/photos/forged", b"own"), body=b"not")
tampered = signed("PUT", "/photos/forged", b"own")
tampered.headers["x-amz-meta-more"] = "x"
wrong("AccessDenied", 403, tampered)
wrong("InvalidRequest", 400, botocore.awsrequest.AWSRequest("GET", f"http://127.0.0.1:{HERE}/photos/own", data=b"", headers={"authorization": f"AWS {OPERATOR[0]}:c2ln"}))
wrong("EntityTooLarge", 400, signed("PUT", "/photos/huge", b"", **{"content-length": str((5 << 30) + 1), "expect": "100-continue"}))
assert gone(here.head_object, Bucket="photos", Key="forged")

# Presigned addresses.
def fetch(url, method="GET", body=None):
    request = urllib.request.Request(url, data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


v4 = client(signature_version="s3v4")
url = v4.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "own"}, ExpiresIn=600)
assert fetch(url) == (200, b"own")
assert fetch(url.replace("/photos/own", "/photos/large"))[0] == 403
assert fetch(url, "DELETE")[0] == 403
short = v4.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "own"}, ExpiresIn=1)
time.sleep(2.1)
status, text = fetch(short)
assert status == 403 and b"expired" in text, text
week = v4.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "own"}, ExpiresIn=7 * 86_400)
assert fetch(week)[0] == 200
longer = v4.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "own"}, ExpiresIn=7 * 86_400 + 1)
status, text = fetch(longer)
assert status == 400 and said(text.decode()) == "AuthorizationQueryParametersError", text
for left_out in ("X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders"):
    kept = "&".join(it for it in week.split("?")[1].split("&") if not it.startswith(left_out))
    status, text = fetch(f"{week.split('?')[0]}?{kept}")
    assert status == 400 and said(text.decode()) == "AuthorizationQueryParametersError", (left_out, text)
upload = v4.generate_presigned_url("put_object", Params={"Bucket": "photos", "Key": "by-address"}, ExpiresIn=600)
assert fetch(upload, "PUT", b"sent")[0] == 200 and read("photos", "by-address") == b"sent"
two = client(signature_version="s3").generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "own"})
assert fetch(two)[0] == 400 and b"AWS4-HMAC-SHA256" in fetch(two)[1]

# Copies.
here.put_object(Bucket="photos", Key="source", Body=b"source", ContentType="text/x", Metadata={"a": "b"}, Tagging="t=1")
copied = here.copy_object(Bucket="team-a", Key="copy", CopySource={"Bucket": "photos", "Key": "source"})
assert copied["CopyObjectResult"]["ETag"]
got = here.get_object(Bucket="team-a", Key="copy")
assert got["Body"].read() == b"source" and got["Metadata"] == {"a": "b"} and got["ContentType"] == "text/x"
assert here.get_object_tagging(Bucket="team-a", Key="copy")["TagSet"] == [{"Key": "t", "Value": "1"}]
here.copy_object(
    Bucket="team-a", Key="copy", CopySource="photos/source", MetadataDirective="REPLACE",
    Metadata={"c": "d"}, ContentType="text/y", TaggingDirective="REPLACE", Tagging="u=2",
)
got = here.get_object(Bucket="team-a", Key="copy")
assert got["Metadata"] == {"c": "d"} and got["ContentType"] == "text/y"
assert here.get_object_tagging(Bucket="team-a", Key="copy")["TagSet"] == [{"Key": "u", "Value": "2"}]
refused("InvalidRequest", here.copy_object, Bucket="photos", Key="source", CopySource="photos/source")
refused("PreconditionFailed", here.copy_object, Bucket="photos", Key="c", CopySource="photos/source", CopySourceIfMatch='"other"')
refused("NoSuchKey", here.copy_object, Bucket="photos", Key="c", CopySource="photos/nothing")
refused("AccessDenied", team.copy_object, Bucket="team-a", Key="stolen", CopySource="photos/source")
here.copy_object(Bucket="photos", Key="large copy", CopySource="photos/large")
assert read("photos", "large copy", there, Range="bytes=-5") == large[-5:]

# Tags.
here.put_object_tagging(Bucket="photos", Key="source", Tagging={"TagSet": [{"Key": "x", "Value": "y"}]})
until(lambda: there.get_object_tagging(Bucket="photos", Key="source")["TagSet"] == [{"Key": "x", "Value": "y"}])
here.delete_object_tagging(Bucket="photos", Key="source")
assert here.get_object_tagging(Bucket="photos", Key="source")["TagSet"] == []
eleven = {"TagSet": [{"Key": str(n), "Value": ""} for n in range(11)]}
refused("InvalidTag", here.put_object_tagging, Bucket="photos", Key="source", Tagging=eleven)

# Listings.
here.create_bucket(Bucket="lists")
names = sorted([f"dir{d}/sub/file{f:02}" for d in range(3) for f in range(12)] + ["top1", "top2", "z ä"])
for name in names:
    here.put_object(Bucket="lists", Key=name, Body=name.encode())


def pages(call, field, **arguments):
    for page in here.get_paginator(call).paginate(Bucket="lists", **arguments):
        yield from page.get(field, [])


for call in ("list_objects", "list_objects_v2"):
    assert [it["Key"] for it in pages(call, "Contents", PaginationConfig={"PageSize": 7})] == names
    assert [it["Key"] for it in pages(call, "Contents", Prefix="dir1/")] == [it for it in names if it.startswith("dir1/")]
    for size in (1, 2, 1000):
        config = {"PageSize": size}
        assert [it["Prefix"] for it in pages(call, "CommonPrefixes", Delimiter="/", PaginationConfig=config)] == ["dir0/", "dir1/", "dir2/"]
        assert [it["Key"] for it in pages(call, "Contents", Delimiter="/", PaginationConfig=config)] == ["top1", "top2", "z ä"]
first = here.list_objects_v2(Bucket="lists", MaxKeys=2, FetchOwner=True)
assert first["KeyCount"] == 2 and first["IsTruncated"] and first["Contents"][0]["Owner"]["ID"] == OPERATOR[0]
assert first["Contents"][0]["Size"] == len(names[0]) and first["Contents"][0]["StorageClass"] == "STANDARD"
after = here.list_objects_v2(Bucket="lists", StartAfter="top1")
assert [it["Key"] for it in after["Contents"]] == ["top2", "z ä"]
refused("InvalidArgument", here.list_objects_v2, Bucket="lists", ContinuationToken="?")
assert here.list_objects_v2(Bucket="lists", MaxKeys=0)["KeyCount"] == 0
until(lambda: [it["Key"] for it in there.list_objects_v2(Bucket="lists").get("Contents", [])] == names)

# Many deletions at once.
refused("BucketNotEmpty", here.delete_bucket, Bucket="lists")
asked = [{"Key": name} for name in names] + [{"Key": "never there"}]
done = here.delete_objects(Bucket="lists", Delete={"Objects": asked})
assert len(done["Deleted"]) == len(asked) and "Errors" not in done
assert "Contents" not in here.list_objects_v2(Bucket="lists")
here.delete_object(Bucket="lists", Key="never there")

# Deletions with conditions.
for key in ("one", "two", "three"):
    here.put_object(Bucket="lists", Key=key, Body=key.encode())
tag = here.head_object(Bucket="lists", Key="one")["ETag"]
refused("PreconditionFailed", here.delete_object, Bucket="lists", Key="one", IfMatch='"other"')
refused("PreconditionFailed", here.delete_object, Bucket="lists", Key="two", IfMatch=tag)
refused("NoSuchKey", here.delete_object, Bucket="lists", Key="never there", IfMatch="*")
assert read("lists", "one") == b"one" and read("lists", "two") == b"two", "nothing was deleted"
here.delete_object(Bucket="lists", Key="one", IfMatch=tag)
assert gone(here.head_object, Bucket="lists", Key="one")
tags = {key: here.head_object(Bucket="lists", Key=key)["ETag"] for key in ("two", "three")}
asked = [{"Key": "two", "ETag": tags["three"]}, {"Key": "three", "ETag": tags["three"]}, {"Key": "one", "ETag": tag}]
done = here.delete_objects(Bucket="lists", Delete={"Objects": asked})
assert [it["Key"] for it in done["Deleted"]] == ["three"], done
errors = {it["Key"]: it["Code"] for it in done["Errors"]}
assert errors == {"two": "PreconditionFailed", "one": "NoSuchKey"}, errors
assert [it["Key"] for it in here.list_objects_v2(Bucket="lists")["Contents"]] == ["two"]
here.delete_object(Bucket="lists", Key="two", IfMatch="*")
here.delete_bucket(Bucket="lists")
refused("NoSuchBucket", here.delete_bucket, Bucket="lists")

# Parts.
parts = [large[: 6 * MIB], large[6 * MIB : 11 * MIB], b"the end"]
upload = here.create_multipart_upload(Bucket="photos", Key="parts", ContentType="video/x", Metadata={"m": "n"}, Tagging="p=q")["UploadId"]
of = dict(Bucket="photos", Key="parts", UploadId=upload)
tags = [here.upload_part(**of, PartNumber=n + 1, Body=part)["ETag"] for n, part in enumerate(parts)]
tags[1] = here.upload_part(**of, PartNumber=2, Body=parts[1])["ETag"]
listed = here.list_parts(**of)
assert [(it["PartNumber"], it["Size"]) for it in listed["Parts"]] == [(1, 6 * MIB), (2, 5 * MIB), (3, 7)]
page = here.list_parts(**of, MaxParts=2)
assert page["IsTruncated"] and page["NextPartNumberMarker"] == 2
assert [it["PartNumber"] for it in here.list_parts(**of, PartNumberMarker=2)["Parts"]] == [3]
found = here.list_multipart_uploads(Bucket="photos")["Uploads"]
assert [(it["Key"], it["UploadId"]) for it in found] == [("parts", upload)]
assert gone(here.head_object, Bucket="photos", Key="parts"), "nothing half-written is seen"
refused("BucketNotEmpty", here.delete_bucket, Bucket="photos")
chosen = [{"PartNumber": n + 1, "ETag": tag} for n, tag in enumerate(tags)]
refused("InvalidPartOrder", here.complete_multipart_upload, **of, MultipartUpload={"Parts": chosen[::-1]})
refused("InvalidPart", here.complete_multipart_upload, **of, MultipartUpload={"Parts": [{"PartNumber": 9, "ETag": tags[0]}]})
refused("InvalidPart", here.complete_multipart_upload, **of, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"other"'}]})
refused("EntityTooSmall", here.complete_multipart_upload, **of, MultipartUpload={"Parts": [chosen[2], {"PartNumber": 4, "ETag": here.upload_part(**of, PartNumber=4, Body=b"x")["ETag"]}]})
done = here.complete_multipart_upload(**of, MultipartUpload={"Parts": chosen})
expected = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest() + "-3"
assert done["ETag"] == f'"{expected}"', done
got = there.get_object(Bucket="photos", Key="parts")
assert got["Body"].read() == b"".join(parts) and got["ContentType"] == "video/x" and got["Metadata"] == {"m": "n"}
assert read("photos", "parts", PartNumber=2) == parts[1]
assert here.head_object(Bucket="photos", Key="parts", PartNumber=1)["PartsCount"] == 3
refused("NoSuchUpload", here.upload_part, **of, PartNumber=1, Body=b"x")
again = here.complete_multipart_upload(**of, MultipartUpload={"Parts": chosen})
assert again["ETag"] == done["ETag"], "a completion whose answer was lost is asked for again"
refused("NoSuchUpload", here.list_parts, Bucket="photos", Key="parts", UploadId="0" * 32)
refused("NoSuchUpload", here.list_parts, Bucket="photos", Key="parts", UploadId="x")
for body in (b"", b"<CompleteMultipartUpload>", b"<CompleteMultipartUpload></CompleteMultipartUpload>", b"<Other/>"):
    wrong("MalformedXML", 400, signed("POST", f"/photos/parts?uploadId={upload}", body))
refused("MalformedXML", here.delete_objects, Bucket="photos", Delete={"Objects": []})
attributes = here.get_object_attributes(Bucket="photos", Key="parts", ObjectAttributes=["ETag", "ObjectSize", "ObjectParts", "StorageClass"])
assert attributes["ObjectSize"] == sum(map(len, parts)) and attributes["ObjectParts"]["TotalPartsCount"] == 3

upload = here.create_multipart_upload(Bucket="photos", Key="joined")["UploadId"]
of = dict(Bucket="photos", Key="joined", UploadId=upload)
one = here.upload_part_copy(**of, PartNumber=1, CopySource="photos/large", CopySourceRange=f"bytes=0-{5 * MIB - 1}")
two = here.upload_part_copy(**of, PartNumber=2, CopySource="photos/own")
refused("InvalidRange", here.upload_part_copy, **of, PartNumber=3, CopySource="photos/own", CopySourceRange="bytes=0-3")
here.complete_multipart_upload(**of, MultipartUpload={"Parts": [
    {"PartNumber": 1, "ETag": one["CopyPartResult"]["ETag"]},
    {"PartNumber": 2, "ETag": two["CopyPartResult"]["ETag"]},
]})
assert read("photos", "joined") == large[: 5 * MIB] + b"own"
upload = here.create_multipart_upload(Bucket="photos", Key="given up")["UploadId"]
of = dict(Bucket="photos", Key="given up", UploadId=upload)
here.upload_part(**of, PartNumber=1, Body=b"x")
here.abort_multipart_upload(**of)
refused("NoSuchUpload", here.abort_multipart_upload, **of)
assert "Uploads" not in here.list_multipart_uploads(Bucket="photos")
for algorithm, kind in (("CRC32", "COMPOSITE"), ("SHA256", "COMPOSITE")):
    made = here.create_multipart_upload(Bucket="photos", Key="summed", ChecksumAlgorithm=algorithm)
    of = dict(Bucket="photos", Key="summed", UploadId=made["UploadId"])
    chosen = []
    for number, body in enumerate((large[: 5 * MIB], b"rest"), 1):
        done = here.upload_part(**of, PartNumber=number, Body=body, ChecksumAlgorithm=algorithm)
        chosen.append({"PartNumber": number, "ETag": done["ETag"], f"Checksum{algorithm}": done[f"Checksum{algorithm}"]})
    done = here.complete_multipart_upload(**of, MultipartUpload={"Parts": chosen})
    assert done[f"Checksum{algorithm}"].endswith("-2") and done["ChecksumType"] == kind, done
# One checksum of the whole, made of those of the parts; of CRC64NVME there is no other.
pieces = (large[: 5 * MIB], b"rest")
for algorithm, crc in CRCS.items():
    field, key = f"Checksum{algorithm}", f"whole/{algorithm}"
    made = here.create_multipart_upload(Bucket="photos", Key=key, ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")
    of = dict(Bucket="photos", Key=key, UploadId=made["UploadId"])
    chosen = []
    for number, body in enumerate(pieces, 1):
        done = here.upload_part(**of, PartNumber=number, Body=body, **{field: crc(body)})
        chosen.append({"PartNumber": number, "ETag": done["ETag"], field: done[field]})
    refused("BadDigest", here.upload_part, **of, PartNumber=3, Body=b"other", **{field: crc(b"rest")})
    assert [it["PartNumber"] for it in here.list_parts(**of)["Parts"]] == [1, 2], "a part that was refused is listed"
    whole = dict(MultipartUpload={"Parts": chosen}, ChecksumType="FULL_OBJECT")
    refused("BadDigest", here.complete_multipart_upload, **of, **whole, **{field: crc(b"other")})
    assert gone(here.head_object, Bucket="photos", Key=key), "what does not match is not stored"
    right = crc(b"".join(pieces))
    done = here.complete_multipart_upload(**of, **whole, **{field: right})
    assert (done[field], done["ChecksumType"]) == (right, "FULL_OBJECT"), done
    head = there.head_object(Bucket="photos", Key=key, ChecksumMode="ENABLED")
    assert (head[field], head["ChecksumType"]) == (right, "FULL_OBJECT"), head
refused("InvalidRequest", here.create_multipart_upload, Bucket="photos", Key="c", ChecksumAlgorithm="CRC64NVME", ChecksumType="COMPOSITE")
refused("InvalidRequest", here.create_multipart_upload, Bucket="photos", Key="c", ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT")
# boto3's own transfers, in parts and in threads.
here.upload_fileobj(io.BytesIO(large), "photos", "transferred")
sink = io.BytesIO()
there.download_fileobj("photos", "transferred", sink)
assert sink.getvalue() == large

# Versions.
here.create_bucket(Bucket="kept")
here.put_object(Bucket="kept", Key="a", Body=b"null")
assert "Status" not in here.get_bucket_versioning(Bucket="kept")
here.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
until(lambda: there.get_bucket_versioning(Bucket="kept").get("Status") == "Enabled")
one = here.put_object(Bucket="kept", Key="a", Body=b"one")["VersionId"]
two = here.put_object(Bucket="kept", Key="a", Body=b"two")["VersionId"]
assert read("kept", "a") == b"two" and read("kept", "a", VersionId=one) == b"one"
assert read("kept", "a", VersionId="null") == b"null"
marker = here.delete_object(Bucket="kept", Key="a")
assert marker["DeleteMarker"] and marker["VersionId"]
error = refused("NoSuchKey", here.get_object, Bucket="kept", Key="a")
assert error["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
refused("MethodNotAllowed", here.get_object, Bucket="kept", Key="a", VersionId=marker["VersionId"])
refused("NoSuchVersion", here.get_object, Bucket="kept", Key="a", VersionId="0" * 32)
refused("InvalidArgument", here.get_object, Bucket="kept", Key="a", VersionId="x")
here.put_object(Bucket="kept", Key="b", Body=b"b")
listed = here.list_object_versions(Bucket="kept")
assert [(it["Key"], it["VersionId"], it["IsLatest"]) for it in listed["Versions"]][:3] == [("a", two, False), ("a", one, False), ("a", "null", False)]
assert [(it["VersionId"], it["IsLatest"]) for it in listed["DeleteMarkers"]] == [(marker["VersionId"], True)]
paged = []
for page in here.get_paginator("list_object_versions").paginate(Bucket="kept", PaginationConfig={"PageSize": 1}):
    paged += [it["VersionId"] for it in page.get("Versions", []) + page.get("DeleteMarkers", [])]
assert sorted(paged) == sorted([it["VersionId"] for it in listed["Versions"] + listed["DeleteMarkers"]]), paged
assert "Contents" in here.list_objects_v2(Bucket="kept") and here.list_objects_v2(Bucket="kept")["KeyCount"] == 1
here.delete_object(Bucket="kept", Key="a", VersionId=marker["VersionId"])
assert read("kept", "a") == b"two"
here.delete_object(Bucket="kept", Key="a", VersionId=two)
assert read("kept", "a") == b"one"
here.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Suspended"})
here.put_object(Bucket="kept", Key="a", Body=b"null again")
assert read("kept", "a", VersionId="null") == b"null again" and read("kept", "a", VersionId=one) == b"one"
left = here.list_object_versions(Bucket="kept")
everything = [{"Key": it["Key"], "VersionId": it["VersionId"]} for it in left.get("Versions", []) + left.get("DeleteMarkers", [])]
assert "Errors" not in here.delete_objects(Bucket="kept", Delete={"Objects": everything, "Quiet": True})
here.delete_bucket(Bucket="kept")

# Lifecycles.
refused("NoSuchLifecycleConfiguration", here.get_bucket_lifecycle_configuration, Bucket="photos")
rules = [
    {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}},
    {"ID": "uploads", "Status": "Disabled", "Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
    {"ID": "big", "Status": "Enabled", "Filter": {"And": {"Prefix": "b/", "Tags": [{"Key": "k", "Value": "v"}], "ObjectSizeGreaterThan": 5}}, "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 2}},
]
here.put_bucket_lifecycle_configuration(Bucket="photos", LifecycleConfiguration={"Rules": rules})
assert here.get_bucket_lifecycle_configuration(Bucket="photos")["Rules"] == rules
cold = [{"ID": "cold", "Status": "Enabled", "Filter": {"Prefix": ""}, "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}]
refused("NotImplemented", here.put_bucket_lifecycle_configuration, Bucket="photos", LifecycleConfiguration={"Rules": cold})
here.delete_bucket_lifecycle(Bucket="photos")

# Who may what.
assert read("photos", "own", reader) == b"own"
refused("AccessDenied", reader.put_object, Bucket="photos", Key="x", Body=b"x")
refused("AccessDenied", reader.delete_object, Bucket="photos", Key="own")
refused("AccessDenied", reader.put_bucket_policy, Bucket="photos", Policy="{}")
team.put_object(Bucket="team-a", Key="own", Body=b"team")
refused("BucketAlreadyExists", team.create_bucket, Bucket="team-a")
refused("AccessDenied", team.get_object, Bucket="photos", Key="own")
refused("AccessDenied", team.list_objects_v2, Bucket="photos")
plain = f"http://127.0.0.1:{HERE}/photos"
assert fetch(f"{plain}/own")[0] == 403 and fetch(plain)[0] == 403 and fetch(f"http://127.0.0.1:{HERE}/")[0] == 403
refused("NoSuchBucketPolicy", here.get_bucket_policy, Bucket="photos")
refused("MalformedPolicy", here.put_bucket_policy, Bucket="photos", Policy="{")
policy = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/sums/*"},
    {"Effect": "Allow", "Principal": {"AWS": TEAM[0]}, "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::photos/shared/*"},
    {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::photos/own"},
]}
here.put_bucket_policy(Bucket="photos", Policy=json.dumps(policy))
assert json.loads(here.get_bucket_policy(Bucket="photos")["Policy"]) == policy
assert here.get_bucket_policy_status(Bucket="photos")["PolicyStatus"]["IsPublic"]
assert fetch(f"{plain}/sums/md5") == (200, b"sum") and fetch(f"{plain}/own")[0] == 403
assert fetch(f"{plain}/sums/md5", "DELETE")[0] == 403 and fetch(f"{plain}/sums/x", "PUT", b"x")[0] == 403
until(lambda: fetch(f"http://127.0.0.1:{THERE}/photos/sums/md5") == (200, b"sum"))
team.put_object(Bucket="photos", Key="shared/a", Body=b"shared")
assert read("photos", "shared/a", team) == b"shared"
refused("AccessDenied", team.get_object, Bucket="photos", Key="own")
refused("AccessDenied", here.delete_object, Bucket="photos", Key="own")
some = here.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "own"}, {"Key": "once"}]})
assert [it["Key"] for it in some["Deleted"]] == ["once"] and some["Errors"][0]["Code"] == "AccessDenied", some
here.delete_bucket_policy(Bucket="photos")
here.delete_object(Bucket="photos", Key="own")

# What is not here says so.
refused("NotImplemented", here.put_object, Bucket="photos", Key="x", Body=b"x", ServerSideEncryption="aws:kms")
refused("NotImplemented", here.put_object, Bucket="photos", Key="x", Body=b"x", ACL="public-read")
refused("InvalidStorageClass", here.put_object, Bucket="photos", Key="x", Body=b"x", StorageClass="GLACIER")
refused("NotImplemented", here.put_bucket_cors, Bucket="photos", CORSConfiguration={"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]})

# What is deleted here is gone there.
here.delete_object(Bucket="photos", Key="large")
until(lambda: gone(there.head_object, Bucket="photos", Key="large"))

print("ok")
