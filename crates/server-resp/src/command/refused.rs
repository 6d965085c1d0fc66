//! Commands that are not offered, why, and what to use instead.

use super::{Class, Known, Reader};

const fn refused(name: &'static str, why: &'static str) -> Known {
    Known { name, class: Class::Write, least: 1, most: 0, reader: Reader::Refused(why) }
}

const NO_LISTS: &str = "lists are not offered yet; a stream of work belongs into a queue";
const NO_BLOCKING: &str =
    "blocking commands cannot be kept across regions; subscribe to a channel, or poll";
const NO_STREAMS: &str = "streams are not offered; follow the change feed, `GET /v1/log` over HTTP";
const NO_SCRIPTS: &str = "only the well-known lock scripts run, as built-ins; use MULTI with \
    WATCH, or a strong namespace";
const NO_STORES: &str =
    "results are not stored by the server yet; read them, and write what you need";
const NO_NAMES: &str =
    "keys keep their names; read the value, and write it under the other name in one MULTI";
const NO_SLOTS: &str =
    "every node has every key; connect to the nearest and let the others be fallbacks";
const NO_WATCHING: &str = "what changes is told by the change feed, `GET /v1/log` over HTTP";

pub(super) const COMMANDS: [Known; 65] = [
    refused("lpush", NO_LISTS),
    refused("rpush", NO_LISTS),
    refused("lpushx", NO_LISTS),
    refused("rpushx", NO_LISTS),
    refused("lpop", NO_LISTS),
    refused("rpop", NO_LISTS),
    refused("lrange", NO_LISTS),
    refused("llen", NO_LISTS),
    refused("lrem", NO_LISTS),
    refused("lindex", NO_LISTS),
    refused("linsert", NO_LISTS),
    refused("lset", NO_LISTS),
    refused("ltrim", NO_LISTS),
    refused("lpos", NO_LISTS),
    refused("lmove", NO_LISTS),
    refused("lmpop", NO_LISTS),
    refused("rpoplpush", NO_LISTS),
    refused("blpop", NO_BLOCKING),
    refused("brpop", NO_BLOCKING),
    refused("blmove", NO_BLOCKING),
    refused("blmpop", NO_BLOCKING),
    refused("brpoplpush", NO_BLOCKING),
    refused("bzpopmin", NO_BLOCKING),
    refused("bzpopmax", NO_BLOCKING),
    refused("bzmpop", NO_BLOCKING),
    refused("xadd", NO_STREAMS),
    refused("xread", NO_STREAMS),
    refused("xreadgroup", NO_STREAMS),
    refused("xrange", NO_STREAMS),
    refused("xrevrange", NO_STREAMS),
    refused("xlen", NO_STREAMS),
    refused("xdel", NO_STREAMS),
    refused("xtrim", NO_STREAMS),
    refused("xack", NO_STREAMS),
    refused("xgroup", NO_STREAMS),
    refused("xinfo", NO_STREAMS),
    refused("xclaim", NO_STREAMS),
    refused("xautoclaim", NO_STREAMS),
    refused("xpending", NO_STREAMS),
    refused("eval_ro", NO_SCRIPTS),
    refused("evalsha_ro", NO_SCRIPTS),
    refused("fcall", NO_SCRIPTS),
    refused("fcall_ro", NO_SCRIPTS),
    refused("function", NO_SCRIPTS),
    refused("sinterstore", NO_STORES),
    refused("sunionstore", NO_STORES),
    refused("sdiffstore", NO_STORES),
    refused("zinterstore", NO_STORES),
    refused("zunionstore", NO_STORES),
    refused("zdiffstore", NO_STORES),
    refused("zrangestore", NO_STORES),
    refused("rename", NO_NAMES),
    refused("renamenx", NO_NAMES),
    refused("copy", NO_NAMES),
    refused("move", NO_NAMES),
    refused("dump", NO_NAMES),
    refused("restore", NO_NAMES),
    refused("cluster", NO_SLOTS),
    refused("readonly", NO_SLOTS),
    refused("readwrite", NO_SLOTS),
    refused("replicaof", NO_SLOTS),
    refused("slaveof", NO_SLOTS),
    refused("monitor", NO_WATCHING),
    refused("sync", NO_WATCHING),
    refused("psync", NO_WATCHING),
];
