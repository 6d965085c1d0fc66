"""boto3 at a region that may not hold the bytes of the bucket (the first address); the second may.

What it does is what it does anywhere: the region passes it on.
"""

import hashlib
import io
import sys

from botocore.exceptions import ClientError
from s3_tools import BUCKET, MIB, client, content

outside, inside = (client(address) for address in sys.argv[1:3])


def read(at, key, **more):
    return at.get_object(Bucket=BUCKET, Key=key, **more)["Body"].read()


def refused(code, call, **arguments):
    try:
        call(Bucket=BUCKET, **arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, (code, error.response)
        return
    raise AssertionError(f"{code} was expected")


for key in ("small-100", f"large-{20 * MIB}", "empty-0"):
    done = outside.put_object(Bucket=BUCKET, Key=key, Body=content(key), Metadata={"a": "b"})
    assert done["ETag"] == f'"{hashlib.md5(content(key)).hexdigest()}"'
    assert "eu-west-1=ok" in done["ResponseMetadata"]["HTTPHeaders"]["x-rhumb-regions"], done
    for at in (outside, inside):
        assert read(at, key) == content(key)
        assert at.head_object(Bucket=BUCKET, Key=key)["Metadata"] == {"a": "b"}
assert read(outside, f"large-{20 * MIB}", Range="bytes=-9") == content(f"large-{20 * MIB}")[-9:]

# In parts and in threads, with checksums in trailers.
body = content(f"parts-{23 * MIB}")
outside.upload_fileobj(io.BytesIO(body), BUCKET, "parts")
assert read(outside, "parts") == body == read(inside, "parts")

# What is wrong is told as it is anywhere.
refused("BadDigest", outside.put_object, Key="wrong", Body=b"x" * MIB, ChecksumCRC32="AAAAAA==")
refused("PreconditionFailed", outside.put_object, Key="small-100", Body=b"x", IfNoneMatch="*")
refused("404", outside.head_object, Key="wrong")
refused("404", inside.head_object, Key="wrong")
of = dict(Key="unfinished")
of["UploadId"] = outside.create_multipart_upload(Bucket=BUCKET, **of)["UploadId"]
tag = outside.upload_part(Bucket=BUCKET, **of, PartNumber=1, Body=b"x")["ETag"]
wrong = {"Parts": [{"PartNumber": 2, "ETag": tag}]}
refused("InvalidPart", outside.complete_multipart_upload, **of, MultipartUpload=wrong)
outside.abort_multipart_upload(Bucket=BUCKET, **of)
refused("NoSuchUpload", outside.upload_part, **of, PartNumber=1, Body=b"x")

outside.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/parts")
tags = {"TagSet": [{"Key": "k", "Value": "v"}]}
outside.put_object_tagging(Bucket=BUCKET, Key="copy", Tagging=tags)
assert inside.get_object_tagging(Bucket=BUCKET, Key="copy")["TagSet"] == tags["TagSet"]
assert read(inside, "copy") == body
outside.delete_object(Bucket=BUCKET, Key="copy")
refused("NoSuchKey", outside.get_object, Key="copy")
print("ok")
