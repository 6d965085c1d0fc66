"""Many boto3 clients at once, and looks at what they left. What an object holds follows from its key, so that
nobody needs to be told what was written.

    write FILE SECONDS ADDRESS...       objects in one piece and in parts, at every address, from one to the next
                                        when one fails; the keys that were answered go to FILE
    fill PREFIX COUNT BYTES ADDRESS     so many objects
    clear PREFIX COUNT BYTES ADDRESS    deletes these
    check FILE ADDRESS                  every key of FILE is there, and nothing that is there is half of anything
    converge FILE SECONDS ADDRESS...    waits until the keys of FILE, and no others, are listed everywhere
"""

import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import BotoCoreError, ClientError
from s3_tools import BUCKET, PART, client, content, listed

# Clients that put objects in one piece, and in parts.
PLAIN, IN_PARTS = 12, 4
THREADS = 16


def put_plain(at, key):
    at.put_object(Bucket=BUCKET, Key=key, Body=content(key))


def put_in_parts(at, key):
    body = content(key)
    upload = at.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    of = dict(Bucket=BUCKET, Key=key, UploadId=upload)
    parts = []
    for number, start in enumerate(range(0, len(body), PART), 1):
        done = at.upload_part(**of, PartNumber=number, Body=body[start : start + PART])
        parts.append({"PartNumber": number, "ETag": done["ETag"]})
    at.complete_multipart_upload(**of, MultipartUpload={"Parts": parts})


class Writers:
    def __init__(self, seconds, addresses):
        self.clients = [client(address) for address in addresses]
        self.end = time.monotonic() + seconds
        self.lock = threading.Lock()
        self.answered, self.failed, self.both = [], 0, set()

    def write(self, kind, nth):
        dice = random.Random(f"{kind}{nth}")
        put = put_plain if kind == "plain" else put_in_parts
        at, count = nth, 0
        while time.monotonic() < self.end:
            size = dice.randrange(1, 200_000) if kind == "plain" else PART + dice.randrange(1, PART)
            key = f"{kind}/{nth:02}/{count:05}-{size}"
            count += 1
            # What an application does once its SDK has given up: the same again, elsewhere.
            for _ in range(2 * len(self.clients)):
                try:
                    put(self.clients[at % len(self.clients)], key)
                except (ClientError, BotoCoreError):
                    at += 1
                    with self.lock:
                        self.failed += 1
                else:
                    self.note(kind, key)
                    break

    def note(self, kind, key):
        with self.lock:
            self.answered.append(key)
            begun = len(self.both) == 2
            self.both.add(kind)
            if len(self.both) == 2 and not begun:
                print("begun", flush=True)


def write(file, seconds, *addresses):
    writers = Writers(float(seconds), addresses)
    kinds = [("plain", nth) for nth in range(PLAIN)] + [("parts", nth) for nth in range(IN_PARTS)]
    with ThreadPoolExecutor(len(kinds)) as pool:
        for done in [pool.submit(writers.write, *kind) for kind in kinds]:
            done.result()
    with open(file, "w") as out:
        out.writelines(f"{key}\n" for key in writers.answered)
    parts = sum(key.startswith("parts/") for key in writers.answered)
    print(f"{len(writers.answered)} were answered, {parts} of them in parts; {writers.failed} tries failed")


def named(prefix, count, size):
    return [f"{prefix}/{nth:06}-{size}" for nth in range(int(count))]


def each(work, items):
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(work, items):
            pass


def fill(prefix, count, size, address):
    at = client(address, 8)
    each(lambda key: put_plain(at, key), named(prefix, count, size))


def clear(prefix, count, size, address):
    at = client(address, 8)
    keys = named(prefix, count, size)
    # Half of them one by one, the others by the hundred.
    half = len(keys) // 2
    each(lambda key: at.delete_object(Bucket=BUCKET, Key=key), keys[:half])
    for start in range(half, len(keys), 100):
        objects = [{"Key": key} for key in keys[start : min(start + 100, len(keys))]]
        done = at.delete_objects(Bucket=BUCKET, Delete={"Objects": objects})
        assert len(done["Deleted"]) == len(objects), done


def keys_of(file):
    with open(file) as lines:
        return set(lines.read().split())


def check(file, address):
    at = client(address, 8)
    wanted = keys_of(file)
    seen = listed(at)

    def whole(key):
        body = at.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert body == content(key), f"{key} is not what was put: {len(body)} bytes"

    # What was not answered may be there or not, but never in part.
    each(whole, sorted(wanted | seen.keys()))
    for key, size in seen.items():
        assert size == len(content(key)), (key, size)
    missing = wanted - seen.keys()
    assert not missing, f"{len(missing)} are readable and not listed, {min(missing)} among them"
    print(f"{len(wanted)} of {len(wanted)}, and {len(seen) - len(wanted)} more")


def converge(file, seconds, *addresses):
    wanted = keys_of(file)
    began = time.monotonic()
    waiting = {address: client(address, 8) for address in addresses}
    while waiting:
        for address, at in list(waiting.items()):
            seen = listed(at)
            if seen.keys() == wanted:
                del waiting[address]
                continue
            missing, undone = wanted - seen.keys(), seen.keys() - wanted
            late = time.monotonic() - began > float(seconds)
            assert not late, f"{address}: {len(missing)} are missing, {len(undone)} undone"
        time.sleep(0.2)
    print(f"{time.monotonic() - began:.1f}")


COMMANDS = {it.__name__: it for it in (write, fill, clear, check, converge)}
COMMANDS[sys.argv[1]](*sys.argv[2:])
print("ok")
