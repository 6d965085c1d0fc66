"""boto3 in the middle of an upload in parts, while its node (the address) is killed and started again."""

import sys

from botocore.exceptions import ClientError
from s3_tools import BUCKET, PART, client, content

here = client(sys.argv[1], tries=10)
key = f"in parts-{2 * PART + 7}"
body = content(key)
parts = [body[start : start + PART] for start in range(0, len(body), PART)]
of = dict(Bucket=BUCKET, Key=key)
of["UploadId"] = here.create_multipart_upload(**of, Metadata={"kept": "yes"})["UploadId"]
tags = [here.upload_part(**of, PartNumber=nth, Body=parts[nth - 1])["ETag"] for nth in (1, 2)]
print("two parts", flush=True)

assert sys.stdin.readline() == "back\n"
listed = here.list_parts(**of)["Parts"]
assert [(it["PartNumber"], it["ETag"]) for it in listed] == [(1, tags[0]), (2, tags[1])], listed
try:
    here.head_object(Bucket=BUCKET, Key=key)
    raise AssertionError("an upload is seen before it is completed")
except ClientError as error:
    assert error.response["Error"]["Code"] == "404", error.response
tags.append(here.upload_part(**of, PartNumber=3, Body=parts[2])["ETag"])
chosen = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
here.complete_multipart_upload(**of, MultipartUpload={"Parts": chosen})
got = here.get_object(Bucket=BUCKET, Key=key)
assert got["Body"].read() == body and got["Metadata"] == {"kept": "yes"}
print("ok")
