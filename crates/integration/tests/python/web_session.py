"""Flask-Session: a user signs in in one region and is known in another."""

import sys
import time

import redis
from flask import Flask, session
from flask_session import Session


def site(port):
    app = Flask(f"site-{port}")
    app.config.update(
        SESSION_TYPE="redis",
        SESSION_REDIS=redis.Redis(port=port),
        SECRET_KEY="the same in every region",
        PERMANENT_SESSION_LIFETIME=3600,
    )
    Session(app)

    @app.post("/sign-in/<name>")
    def sign_in(name):
        session["name"] = name
        return "welcome"

    @app.get("/me")
    def me():
        return session.get("name", "a stranger")

    @app.post("/sign-out")
    def sign_out():
        session.clear()
        return "good-bye"

    return app


first, second = (site(int(port)) for port in sys.argv[1:3])
answer = first.test_client().post("/sign-in/ada")
cookie = answer.headers["Set-Cookie"].split(";")[0]


def name_at(app):
    # A client per request, so that only the cookie is carried over.
    return app.test_client(use_cookies=False).get("/me", headers={"Cookie": cookie}).text


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


assert name_at(first) == "ada"
until(lambda: name_at(second) == "ada")
here, there = (redis.Redis(port=int(port)) for port in sys.argv[1:3])
keys = there.keys("session:*")
assert len(keys) == 1 and 0 < there.ttl(keys[0]) <= 3600
second.test_client(use_cookies=False).post("/sign-out", headers={"Cookie": cookie})
# Flask-Session writes a session back on every request. A request in the first region that is
# concurrent with the sign-out would keep the session, so the first region is asked only once it
# has heard of it.
until(lambda: not here.exists(*keys))
assert name_at(first) == name_at(second) == "a stranger"
print("ok")
