"""minio-py: the calls of its documentation, with its own signatures, against one region.

Arguments: the address of the server, id and secret.
"""

import io
import sys
from datetime import timedelta
from urllib.request import urlopen

from minio import Minio
from minio.commonconfig import CopySource, Tags
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

client = Minio(sys.argv[1], access_key=sys.argv[2], secret_key=sys.argv[3], secure=False)
large = bytes(range(256)) * (12 * (1 << 20) // 256)

client.make_bucket("minio-py")
assert client.bucket_exists("minio-py") and not client.bucket_exists("nothing")
assert "minio-py" in [bucket.name for bucket in client.list_buckets()]

tags = Tags.new_object_tags()
tags["k"] = "v"
put = client.put_object("minio-py", "a/b c", io.BytesIO(b"hello"), 5, content_type="text/x", metadata={"m": "n"}, tags=tags)
assert put.etag == "5d41402abc4b2a76b9719d911017c592"
with client.get_object("minio-py", "a/b c") as got:
    assert got.read() == b"hello" and got.headers["content-type"] == "text/x"
stat = client.stat_object("minio-py", "a/b c")
assert stat.size == 5 and stat.metadata["x-amz-meta-m"] == "n"
assert client.get_object_tags("minio-py", "a/b c")["k"] == "v"

client.put_object("minio-py", "unknown", io.BytesIO(large), -1, part_size=5 << 20)
with client.get_object("minio-py", "unknown", offset=5 << 20, length=10) as got:
    assert got.read() == large[5 << 20 : (5 << 20) + 10]
assert client.stat_object("minio-py", "unknown").etag.endswith("-3")

client.copy_object("minio-py", "copy", CopySource("minio-py", "a/b c"))
assert [it.object_name for it in client.list_objects("minio-py", recursive=True)] == ["a/b c", "copy", "unknown"]
assert sorted(it.object_name for it in client.list_objects("minio-py")) == ["a/", "copy", "unknown"]

with urlopen(client.presigned_get_object("minio-py", "copy", expires=timedelta(minutes=5))) as got:
    assert got.read() == b"hello"

try:
    client.remove_bucket("minio-py")
    raise AssertionError("the bucket is not empty")
except S3Error as error:
    assert error.code == "BucketNotEmpty", error
names = [DeleteObject(it.object_name) for it in client.list_objects("minio-py", recursive=True)]
assert list(client.remove_objects("minio-py", names)) == []
client.remove_bucket("minio-py")
print("ok")
