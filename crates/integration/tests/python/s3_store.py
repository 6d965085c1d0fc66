"""boto3 at nodes that keep the bytes of objects in buckets of their own, and at the server that has these buckets.

    use SERVER ADDRESS BUCKET ADDRESS BUCKET
                                            two nodes and their buckets; what is done to the line to the first
                                            bucket meanwhile, it is told: "busy", "stalled", "well", "alone"
    sealed FOLDER KEY...                    no file of the folder holds bytes of these objects in the clear
    put ADDRESS KEY                         one object
    read ADDRESS KEY...                     each is what was put
    unreadable ADDRESS KEY                  it cannot be read now, and that is said
"""

import pathlib
import sys
import time

from botocore.exceptions import ClientError
from s3_tools import BUCKET, MIB, PART, client, content, listed

# What the node's first answer to a put may take where its bucket refuses, and where it is silent, in seconds.
REFUSED_MAX, SILENT_MAX = 25, 55
# What other regions may take to have everything.
HEAL_MAX = 90


def until(look, seconds=HEAL_MAX):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"{seconds} s are not enough"
        time.sleep(0.2)
    return found


def whole(at, key):
    return at.get_object(Bucket=BUCKET, Key=key)["Body"].read() == content(key)


def is_clear(body, key):
    """Whether stored bytes hold some of the object's as they are."""
    clear = content(key)
    return any(clear[at : at + 24] in body for at in range(0, len(clear) - 24, 50_000))


def unavailable(longest, call, **arguments):
    """It is refused for now, in so many seconds."""
    began = time.monotonic()
    try:
        call(**arguments)
    except ClientError as error:
        took = time.monotonic() - began
        found = error.response
        assert found["ResponseMetadata"]["HTTPStatusCode"] == 503, found
        assert found["Error"]["Code"] in ("SlowDown", "ServiceUnavailable"), found
        assert "retry-after" in found["ResponseMetadata"]["HTTPHeaders"], found
        assert took < longest, took
        return took
    raise AssertionError("it was not refused")


class Store:
    """The bucket of a node, seen from behind."""

    def __init__(self, server, bucket):
        self.at, self.bucket = client(server), bucket

    def names(self, kind="blobs"):
        pages = self.at.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        found = [it["Key"] for page in pages for it in page.get("Contents", [])]
        assert all(name.startswith(("rhumb/blobs/", "rhumb/damaged/")) for name in found), found
        return {name for name in found if name.startswith(f"rhumb/{kind}/")}

    def read(self, name):
        return self.at.get_object(Bucket=self.bucket, Key=name)["Body"].read()

    def write(self, name, body):
        self.at.put_object(Bucket=self.bucket, Key=name, Body=body)


def told(word):
    line = sys.stdin.readline()
    assert line == f"{word}\n", line


def in_trouble(here, there, store, held, word, longest):
    """The first node cannot use its bucket: it says so in time, leaves nothing, and reads from the other."""
    told(word)
    key, before = f"{word}/refused-300000", store.names()
    took = [unavailable(longest, here.put_object, Bucket=BUCKET, Key=key, Body=content(key))]
    of = dict(Bucket=BUCKET, Key=key)
    of["UploadId"] = here.create_multipart_upload(**of)["UploadId"]
    took.append(unavailable(longest, here.upload_part, **of, PartNumber=1, Body=content(f"{key}-{PART}")))
    assert "Parts" not in here.list_parts(**of), "a part that was refused is listed"
    here.abort_multipart_upload(**of)
    assert key not in listed(here) | listed(there), "what was refused is listed"
    assert store.names() == before, "what was refused is in the bucket"
    assert whole(here, held), "what the other region holds is read from there"
    key = f"{word}/elsewhere-300000"
    there.put_object(Bucket=BUCKET, Key=key, Body=content(key))
    print(f"{word}: refused after {took[0]:.1f} s, a part after {took[1]:.1f} s", flush=True)
    print(f"was {word}", flush=True)
    return key


def use(server, *places):
    here, there = (client(address, tries=1, wait=60) for address in places[::2])
    stores = [Store(server, bucket) for bucket in places[1::2]]
    keys = ["here/one-300000", f"here/large-{20 * MIB + 5}", "there/one-300000"]
    for key in keys:
        (here if key.startswith("here") else there).put_object(Bucket=BUCKET, Key=key, Body=content(key))
    for key in keys:
        assert until(lambda: whole(here, key)) and whole(there, key), key
    # Two objects of one blob, and one of two.
    until(lambda: stores[0].names() == stores[1].names() and len(stores[0].names()) == 4)
    for store in stores:
        for name in store.names():
            body = store.read(name)
            assert not any(is_clear(body, key) for key in keys), f"{name} is not sealed"
    print("across", flush=True)

    keys.append(in_trouble(here, there, stores[0], keys[0], "busy", REFUSED_MAX))
    keys.append(in_trouble(here, there, stores[0], keys[2], "stalled", SILENT_MAX))
    told("well")
    key = "well/again-300000"
    here.put_object(Bucket=BUCKET, Key=key, Body=content(key))
    keys.append(key)
    # What was refused after its bytes were on their way may have come to the bucket; nothing refers to it.
    until(lambda: len(stores[1].names()) == len(keys) + 1)
    until(lambda: stores[1].names() <= stores[0].names())
    for at in (here, there):
        until(lambda: listed(at).keys() == set(keys))
        assert all(whole(at, key) for key in keys)
    print("all is well", flush=True)

    before = stores[0].names()
    here.put_object(Bucket=BUCKET, Key="damaged-300000", Body=content("damaged-300000"))
    (name,) = until(lambda: stores[0].names() - before)
    until(lambda: name in stores[1].names())
    body = bytearray(stores[0].read(name))
    body[len(body) // 2] ^= 1
    stores[0].write(name, bytes(body))
    assert whole(here, "damaged-300000"), "damage is read around"
    until(lambda: stores[0].names("damaged") == {name.replace("/blobs/", "/damaged/")})
    until(lambda: name in stores[0].names() and stores[0].read(name) != bytes(body))
    print("mended", flush=True)
    told("alone")
    assert whole(here, "damaged-300000"), "nobody else has it now"


def sealed(folder, *keys):
    files = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    assert len(files) >= len(keys), files
    for path in files:
        body = path.read_bytes()
        assert not any(is_clear(body, key) for key in keys), f"{path} is not sealed"


def put(address, key):
    client(address).put_object(Bucket=BUCKET, Key=key, Body=content(key))


def read(address, *keys):
    assert all(whole(client(address), key) for key in keys)


def unreadable(address, key):
    # The head of the answer may be on its way before the first byte is read.
    at = client(address, tries=1)
    try:
        found = at.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503, error.response
        print(error.response["Error"]["Message"])
        return
    raise AssertionError(f"{len(found)} bytes were read")


COMMANDS = {it.__name__: it for it in (use, sealed, put, read, unreadable)}
COMMANDS[sys.argv[1]](*sys.argv[2:])
print("ok")
