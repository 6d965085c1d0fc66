"""What the scripts that load and check a bucket share: its objects hold what follows from their keys."""

import hashlib

import boto3
from botocore.config import Config

BUCKET = "load"
MIB = 1 << 20
PART = 5 * MIB


def client(address, tries=3, connections=16, wait=20):
    return boto3.client(
        "s3",
        endpoint_url=f"http://{address}",
        region_name="us-east-1",
        aws_access_key_id="anybody",
        aws_secret_access_key="anything",
        config=Config(
            retries={"total_max_attempts": tries, "mode": "standard"},
            connect_timeout=2,
            read_timeout=wait,
            max_pool_connections=connections,
        ),
    )


def content(key):
    """The bytes of an object: as many as the number at the end of its key says."""
    return hashlib.shake_128(key.encode()).digest(int(key.rsplit("-", 1)[1]))


def listed(at):
    """The keys of the bucket and their sizes."""
    found = {}
    for page in at.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        found |= {it["Key"]: it["Size"] for it in page.get("Contents", [])}
    return found
