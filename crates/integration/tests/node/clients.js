// express-session with connect-redis: a user signs in in one region and is known in another. Then
// what node-redis and ioredis send beside that.

"use strict";

const assert = require("node:assert/strict");
const { RedisStore } = require("connect-redis");
const express = require("express");
const session = require("express-session");
const Redis = require("ioredis");
const { createClient } = require("redis");

const ports = process.argv.slice(2).map(Number);

async function until(condition) {
  const end = Date.now() + 10_000;
  while (!(await condition())) {
    assert.ok(Date.now() < end, "it did not happen");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function site(port, protocol) {
  const client = createClient({ socket: { port }, RESP: protocol });
  await client.connect();
  const app = express();
  app.use(
    session({
      store: new RedisStore({ client, ttl: 3600 }),
      secret: "the same in every region",
      resave: false,
      saveUninitialized: false,
    }),
  );
  app.post("/sign-in/:name", (request, response) => {
    request.session.name = request.params.name;
    response.send("welcome");
  });
  app.get("/me", (request, response) => response.send(request.session.name ?? "a stranger"));
  app.post("/sign-out", (request, response) =>
    request.session.destroy(() => response.send("good-bye")),
  );
  const server = await new Promise((resolve) => {
    const listening = app.listen(0, "127.0.0.1", () => resolve(listening));
  });
  return { client, server, at: `http://127.0.0.1:${server.address().port}` };
}

async function webSession(first, second) {
  const answer = await fetch(`${first.at}/sign-in/ada`, { method: "POST" });
  const cookie = answer.headers.get("set-cookie").split(";")[0];
  const me = async (at) => (await fetch(`${at}/me`, { headers: { cookie } })).text();
  assert.equal(await me(first.at), "ada");
  await until(async () => (await me(second.at)) === "ada");
  const [key] = await second.client.keys("sess:*");
  const ttl = await second.client.ttl(key);
  assert.ok(ttl > 0 && ttl <= 3600, `${ttl}`);
  await fetch(`${second.at}/sign-out`, { method: "POST", headers: { cookie } });
  await until(async () => (await me(first.at)) === "a stranger");
}

async function nodeRedis({ client }) {
  const replies = await client.multi().set("n", "1").incr("n").get("n").exec();
  assert.deepEqual(replies, ["OK", 2, "2"]);
  await client.hSet("node:hash", { a: "1", b: "2" });
  assert.deepEqual({ ...(await client.hGetAll("node:hash")) }, { a: "1", b: "2" });
  await client.zAdd("node:scores", [
    { score: 2.5, value: "b" },
    { score: 1, value: "a" },
  ]);
  const ranked = await client.zRangeWithScores("node:scores", 0, -1);
  assert.deepEqual(
    ranked.map(({ value, score }) => [value, score]),
    [["a", 1], ["b", 2.5]],
  );
  const names = Array.from({ length: 500 }, (_, nth) => `node:many:${nth}`);
  await Promise.all(names.map((name) => client.set(name, "x")));
  const found = new Set();
  for await (const keys of client.scanIterator({ MATCH: "node:many:*", COUNT: 50 })) {
    keys.forEach((key) => found.add(key));
  }
  assert.equal(found.size, names.length);
  await assert.rejects(client.incr("node:hash"), /WRONGTYPE/);
}

async function ioredis(port) {
  const client = new Redis(port);
  const [[, set], [, value]] = await client.pipeline().set("io", "v").get("io").exec();
  assert.deepEqual([set, value], ["OK", "v"]);
  const [[, added], [, card]] = await client.multi().sadd("io:set", "a", "b").scard("io:set").exec();
  assert.equal(added, card);
  const found = new Set();
  for await (const keys of client.scanStream({ match: "node:many:*", count: 7 })) {
    keys.forEach((key) => found.add(key));
  }
  assert.equal(found.size, 500);
  const listener = new Redis(port);
  const heard = new Promise((resolve) => listener.on("message", (_, text) => resolve(text)));
  await listener.subscribe("io:news");
  await client.publish("io:news", "land in sight");
  assert.equal(await heard, "land in sight");
  await Promise.all([client.quit(), listener.quit()]);
}

async function main() {
  const sites = await Promise.all([site(ports[0], 2), site(ports[1], 3)]);
  await webSession(...sites);
  for (const site of sites) {
    await nodeRedis(site);
    await site.client.flushDb().then(
      () => assert.fail("FLUSHDB is not for everybody"),
      (error) => assert.match(error.message, /NOPERM/),
    );
    await site.client.del(["n", "node:hash", "node:scores"]);
  }
  await ioredis(ports[0]);
  for (const { client, server } of sites) {
    await client.close();
    server.close();
    server.closeAllConnections();
  }
  console.log("ok");
}

main();
