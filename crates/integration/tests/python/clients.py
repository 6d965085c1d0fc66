"""redis-py against two regions: what it expects of Redis, it finds here."""

import sys
import threading
import time

import redis

here = redis.Redis(port=int(sys.argv[1]), decode_responses=True)
there = redis.Redis(port=int(sys.argv[2]), decode_responses=True)


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def strings():
    assert here.set("s", "v") is True
    assert here.get("s") == "v"
    assert here.set("s", "w", nx=True) is None
    assert here.set("s", "w", xx=True, get=True) == "v"
    assert here.append("s", "xyz") == 4 and here.strlen("s") == 4
    assert here.mset({"m1": "1", "m2": "2"}) and here.mget("m1", "m2", "m3") == ["1", "2", None]
    assert here.incr("n", 5) == 5 and here.decr("n") == 4
    assert abs(here.incrbyfloat("f", 1.5) - 1.5) < 1e-9
    assert here.getdel("s") == "wxyz" and here.get("s") is None
    assert here.delete("m1", "m2", "m3") == 2
    assert here.type("n") == "string" and here.exists("n", "m1") == 1
    binary = redis.Redis(port=int(sys.argv[1]))
    every_byte = bytes(range(256))
    binary.set(every_byte, every_byte)
    assert binary.get(every_byte) == every_byte


def pipelines():
    with here.pipeline(transaction=False) as pipe:
        for n in range(1000):
            pipe.set(f"p:{n}", n)
            pipe.get(f"p:{n}")
        replies = pipe.execute()
    assert replies[1::2] == [str(n) for n in range(1000)]
    assert sorted(here.scan_iter("p:*", count=100)) == sorted(f"p:{n}" for n in range(1000))


def hashes():
    assert here.hset("h", mapping={"a": 1, "b": 2, "c": 3}) == 3
    assert here.hgetall("h") == {"a": "1", "b": "2", "c": "3"}
    assert here.hincrby("h", "a", 9) == 10
    assert here.hmget("h", "a", "x") == ["10", None]
    assert here.hdel("h", "b", "x") == 1 and here.hlen("h") == 2
    assert sorted(here.hkeys("h")) == ["a", "c"] and here.hexists("h", "c")
    assert dict(here.hscan_iter("h")) == {"a": "10", "c": "3"}


def sets():
    assert here.sadd("s1", "a", "b", "c") == 3 and here.sadd("s2", "b", "c", "d") == 3
    assert here.smembers("s1") == {"a", "b", "c"} and here.scard("s1") == 3
    assert here.sinter("s1", "s2") == {"b", "c"} and here.sdiff("s1", "s2") == {"a"}
    assert here.sunion("s1", "s2") == {"a", "b", "c", "d"}
    assert here.srem("s1", "a") == 1 and not here.sismember("s1", "a")


def sorted_sets():
    assert here.zadd("z", {"ada": 3, "bob": 1, "cyn": 2}) == 3
    assert here.zrange("z", 0, -1, withscores=True) == [["bob", 1], ["cyn", 2], ["ada", 3]] or (
        here.zrange("z", 0, -1, withscores=True) == [("bob", 1), ("cyn", 2), ("ada", 3)]
    )
    assert here.zincrby("z", 5, "bob") == 6 and here.zrank("z", "bob") == 2
    assert here.zrangebyscore("z", 2, 3) == ["cyn", "ada"] and here.zcount("z", "-inf", "(6") == 2
    assert here.zrem("z", "ada") == 1 and here.zcard("z") == 2 and here.zscore("z", "ada") is None


def expiry():
    here.set("e", 1, px=150)
    assert 0 < here.pttl("e") <= 150
    until(lambda: here.get("e") is None)
    assert here.ttl("e") == -2 and here.ttl("n") == -1
    assert here.expire("n", 100) and 90 < here.ttl("n") <= 100
    assert here.persist("n") and here.ttl("n") == -1


def transactions():
    with here.pipeline(transaction=True) as pipe:
        pipe.set("t", 1).incr("t").hset("th", "f", "v")
        assert pipe.execute() == [True, 2, 1]
    with here.pipeline() as pipe:
        pipe.watch("t")
        seen = int(pipe.get("t"))
        here.incr("t")
        pipe.multi()
        pipe.set("t", seen + 100)
        try:
            pipe.execute()
            raise AssertionError("a watched key changed, and EXEC did not notice")
        except redis.WatchError:
            pass
    assert here.transaction(lambda pipe: (pipe.multi(), pipe.incr("t")), "t") == [4]


def messages():
    subscriber = there.pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("news")
    subscriber.psubscribe("weather.*")
    heard = []
    end = time.monotonic() + 10
    while len(set(heard)) < 2 and time.monotonic() < end:
        here.publish("news", "one")
        here.publish("weather.sea", "two")
        while message := subscriber.get_message(timeout=0.05):
            heard.append((message["type"], message["channel"], message["data"]))
    assert set(heard) == {("message", "news", "one"), ("pmessage", "weather.sea", "two")}, heard
    subscriber.close()


def locks():
    """In a strong namespace, a lock has one holder in all regions."""
    mine = here.lock("lock:job", timeout=30)
    other = there.lock("lock:job", timeout=30, blocking=False)
    assert mine.acquire()
    assert not other.acquire()
    assert mine.extend(30) and mine.reacquire()
    fence = here.execute_command("RHUMB.FENCE", "lock:job")
    mine.release()
    until(other.acquire)
    assert there.execute_command("RHUMB.FENCE", "lock:job") > fence
    try:
        mine.local.token = b"not the holder's"
        mine.release()
        raise AssertionError("a stranger released the lock")
    except redis.exceptions.LockError:
        pass
    other.release()
    held, most = [0], [0]

    def work(client):
        for _ in range(3):
            with client.lock("lock:shared", timeout=30, sleep=0.01):
                held[0] += 1
                most[0] = max(most[0], held[0])
                time.sleep(0.005)
                held[0] -= 1

    threads = [threading.Thread(target=work, args=(client,)) for client in (here, there) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1, "two held the lock at once"


def elsewhere():
    here.hset("user:1", mapping={"name": "ada"})
    until(lambda: there.hgetall("user:1") == {"name": "ada"})
    here.sadd("langs", "en")
    there.sadd("langs", "fr")
    until(lambda: here.smembers("langs") == there.smembers("langs") == {"en", "fr"})


def questions():
    assert here.ping() and here.echo("x") == "x"
    assert here.info()["redis_version"]
    assert here.client_setname("tester") and here.client_getname() == "tester"
    assert redis.Redis(port=int(sys.argv[1]), protocol=3).ping()


for part in (strings, pipelines, hashes, sets, sorted_sets, expiry, transactions, messages, locks,
             elsewhere, questions):
    started = time.monotonic()
    part()
    print(f"{part.__name__}: {time.monotonic() - started:.2f} s")
print("ok")
