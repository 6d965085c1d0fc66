"""boto3 while the disk of the blobs fills: FILE for the keys that were answered, and the node's address.

Says "full" when an upload in one piece and one in parts were refused, and goes on when it is told that there is
room again.
"""

import sys

from botocore.exceptions import ClientError
from s3_tools import BUCKET, MIB, PART, client, content, listed

FILE, ADDRESS = sys.argv[1:]
here = client(ADDRESS, tries=1)
answered = []


def refused(call, **arguments):
    """It says that it cannot, and not that the client did something wrong."""
    try:
        call(**arguments)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert status >= 500, error.response
        return error.response["Error"]["Code"]
    return None


def put(key):
    code = refused(here.put_object, Bucket=BUCKET, Key=key, Body=content(key))
    if code is None:
        answered.append(key)
    return code


code = next(filter(None, (put(f"large/{nth:03}-{20 * MIB}") for nth in range(100))))
# Smaller ones may still find room, down to what is left.
while (code := put(f"left/{len(answered):03}-{MIB}")) is None:
    pass
key = f"parts/0-{2 * PART}"
upload = dict(Bucket=BUCKET, Key=key)
upload["UploadId"] = here.create_multipart_upload(**upload)["UploadId"]
in_parts = refused(here.upload_part, **upload, PartNumber=1, Body=content(key)[:PART])
assert in_parts, "a part found room that an object of its size did not"
assert listed(here).keys() == set(answered), "what was refused is seen"
# What lies in the index is on another disk; reads and deletes need no room.
assert put("small/0-1000") is None
for key in answered[:3]:
    assert here.get_object(Bucket=BUCKET, Key=key)["Body"].read() == content(key)
here.delete_object(Bucket=BUCKET, Key=answered.pop(0))
print("full", flush=True)

assert sys.stdin.readline() == "room\n"
# No restart is needed: the same upload goes on.
parts = []
key = upload["Key"]
for number in (1, 2):
    part = content(key)[(number - 1) * PART : number * PART]
    done = here.upload_part(**upload, PartNumber=number, Body=part)
    parts.append({"PartNumber": number, "ETag": done["ETag"]})
here.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
answered.append(key)
assert put(f"large/again-{20 * MIB}") is None
with open(FILE, "w") as out:
    out.writelines(f"{key}\n" for key in answered)
print(f"{code} and {in_parts} when it was full; {len(answered)} were answered")
print("ok")
