"""redis-py over TLS: large values both ways, pipelines, messages, many connections."""

import sys
import time

import redis

PORT, AUTHORITY = int(sys.argv[1]), sys.argv[2]


def client():
    return redis.Redis(
        host="127.0.0.1", port=PORT, ssl=True, ssl_ca_certs=AUTHORITY, decode_responses=True
    )


def until_served(seconds=30):
    end = time.monotonic() + seconds
    while True:
        try:
            return client().ping()
        except redis.ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def large_values():
    here = client()
    value = "0123456789" * 200_000
    assert here.set("large", value) and here.get("large") == value


def pipelines():
    with client().pipeline(transaction=False) as pipe:
        for n in range(2000):
            pipe.set(f"p:{n}", n)
            pipe.get(f"p:{n}")
        replies = pipe.execute()
    assert replies[1::2] == [str(n) for n in range(2000)]


def messages():
    listener = client().pubsub()
    listener.subscribe("news")
    assert listener.get_message(timeout=5)["type"] == "subscribe"
    client().publish("news", "hello")
    assert listener.get_message(timeout=5)["data"] == "hello"


def many_connections():
    clients = [client() for _ in range(50)]
    for one in clients:
        one.incr("met")
    assert int(clients[0].get("met")) == 50


until_served()
large_values()
pipelines()
messages()
many_connections()
print("ok")
