"""boto3 in every region at one linearizable bucket: writes under conditions that meet.

Arguments: for how many seconds, and the address of each region. After the first part it says "racing"; from then
on each line is an event of a history: a call's start, or its answer, or that it surely did nothing.
"""

import hashlib
import json
import random
import sys
import threading
import time

from botocore.exceptions import BotoCoreError, ClientError
from s3_tools import BUCKET, client

END = float(sys.argv[1])
CLIENTS = [client(address, tries=1) for address in sys.argv[2:]]
ROUNDS, KEYS = 20, 6
# Of each region.
THREADS = 2


# What a region says that surely did nothing.
NOT_DONE = "not done"


def code_of(call, **arguments):
    """The code of the refusal; nothing when it was done."""
    try:
        return None, call(Bucket=BUCKET, **arguments)
    except ClientError as error:
        code, answer = error.response["Error"]["Code"], error.response["ResponseMetadata"]
        unconfirmed = answer["HTTPHeaders"].get("x-rhumb-unconfirmed") == "true"
        return NOT_DONE if code == "ServiceUnavailable" and not unconfirmed else code, None
    except BotoCoreError as error:
        return type(error).__name__, None


def ready():
    """Every region is heard on every key: homes are in force, and know what was decided before."""
    end = time.monotonic() + 60
    for at in CLIENTS:
        for key in [f"once/{number}" for number in range(ROUNDS)]:
            while code_of(at.get_object, Key=key)[0] != "NoSuchKey":
                assert time.monotonic() < end, key
                time.sleep(0.05)


def meet():
    """Of those who find nothing there exactly one is right, and all read what that one wrote."""
    start = threading.Barrier(len(CLIENTS))
    came = [{} for _ in range(ROUNDS)]

    def race(nth):
        for number, found in enumerate(came):
            start.wait()
            put = dict(Key=f"once/{number}", Body=str(nth).encode(), IfNoneMatch="*")
            found[nth] = code_of(CLIENTS[nth].put_object, **put)[0]

    threads = [threading.Thread(target=race, args=(nth,)) for nth in range(len(CLIENTS))]
    [it.start() for it in threads]
    [it.join() for it in threads]
    for number, found in enumerate(came):
        won = [nth for nth, code in found.items() if code is None]
        lost = [nth for nth, code in found.items() if code == "PreconditionFailed"]
        assert len(won) == 1 and len(lost) == len(CLIENTS) - 1, (number, found)
        for at in CLIENTS:
            read = at.get_object(Bucket=BUCKET, Key=f"once/{number}")["Body"].read()
            assert read == str(won[0]).encode(), (number, read, found)


class History:
    def __init__(self):
        self.lock = threading.Lock()
        self.calls, self.values, self.by_tag = 0, 0, {}

    def value(self):
        """A number that was never written, and the tag that it will have."""
        with self.lock:
            self.values += 1
            tag = hashlib.md5(str(self.values).encode()).hexdigest()
            self.by_tag[f'"{tag}"'] = self.values
            return self.values

    def start(self, key, *call):
        with self.lock:
            self.calls += 1
            print(json.dumps({"key": key, "start": self.calls, "call": call}), flush=True)
            return self.calls

    def end(self, key, number, *answer):
        with self.lock:
            print(json.dumps({"key": key, "end": number, "answer": answer}), flush=True)


def call(history, at, dice, tags):
    key = f"register/{dice.randrange(KEYS)}"
    kind, tag = dice.choice(["read", "read", "write", "swap", "swap"]), tags.get(key)
    if kind == "read":
        number = history.start(key, "read")
        code, got = code_of(at.get_object, Key=key)
        if code in (None, "NoSuchKey"):
            tags[key] = got["ETag"] if got else None
            history.end(key, number, "value", history.by_tag[got["ETag"]] if got else None)
        else:
            history.end(key, number, "nothing")
        return
    value = history.value()
    body = dict(Key=key, Body=str(value).encode())
    if kind == "write":
        number = history.start(key, "write", value)
    else:
        body |= {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        number = history.start(key, "swap", history.by_tag.get(tag), value)
    code, done = code_of(at.put_object, **body)
    if code is None:
        tags[key] = done["ETag"]
        history.end(key, number, "written" if kind == "write" else "swapped", True)
    elif kind == "swap" and code in ("PreconditionFailed", "NoSuchKey"):
        tags.pop(key, None)
        history.end(key, number, "swapped", False)
    elif code == NOT_DONE:
        history.end(key, number, "nothing")
    # Of all else nobody knows whether it was done.


def work(history, nth, thread):
    dice, tags = random.Random(nth * THREADS + thread), {}
    end = time.monotonic() + END
    while time.monotonic() < end:
        call(history, CLIENTS[nth], dice, tags)


ready()
meet()
print("racing", flush=True)
history = History()
threads = [
    threading.Thread(target=work, args=(history, nth, thread))
    for nth in range(len(CLIENTS))
    for thread in range(THREADS)
]
[it.start() for it in threads]
[it.join() for it in threads]
print("ok")
