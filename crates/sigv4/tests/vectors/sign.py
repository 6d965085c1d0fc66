"""Writes botocore.txt: requests that botocore signed, for the test of the same name.

    python sign.py > botocore.txt
"""

import datetime
from unittest import mock

import botocore
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
NOW = datetime.datetime(2026, 11, 21, 13, 15, 0, tzinfo=datetime.timezone.utc)
HOST = "http://127.0.0.1:7404"

REQUESTS = [
    ("header", "sqs", "POST", "/", {"X-Amz-Target": "AmazonSQS.SendMessage"}, b'{"a": 1}'),
    ("header", "sqs", "POST", "/000000000000/jobs.fifo", {"X-Amz-Target": "a  b"}, b""),
    ("header", "sqs", "GET", "/a%20b/?Action=x&b=%2B%20c&b=&%C3%A9=1", {}, b""),
    ("query", "sqs", "GET", "/000000000000/jobs?Action=ReceiveMessage&x=a/b", {}, b""),
    ("s3", "s3", "PUT", "/bucket/a%20b//../c%2Bd", {"x-amz-meta-note": "one  two"}, b"bytes"),
    ("s3query", "s3", "GET", "/bucket/%E1%88%B4?versionId=1", {}, b""),
]

SIGNERS = {
    "header": botocore.auth.SigV4Auth,
    "query": botocore.auth.SigV4QueryAuth,
    "s3": botocore.auth.S3SigV4Auth,
    "s3query": botocore.auth.S3SigV4QueryAuth,
}


def main():
    print(f"# Signed by botocore {botocore.__version__} with sign.py, beside this file.")
    for form, service, method, path, headers, body in REQUESTS:
        request = AWSRequest(method, HOST + path, dict(headers), data=body)
        with mock.patch("botocore.auth.get_current_datetime", return_value=NOW):
            SIGNERS[form](CREDENTIALS, service, "us-east-1").add_auth(request)
        prepared = request.prepare()
        print(f"=== {form} {service}")
        print(f"{prepared.method} {prepared.url.removeprefix(HOST)} HTTP/1.1")
        print("Host:127.0.0.1:7404")
        for name, value in prepared.headers.items():
            value = value.decode() if isinstance(value, bytes) else value
            if name.lower() not in ("host", "content-length"):
                print(f"{name}:{value}")
        print()
        print(body.decode())


main()
