//! Transactions of many clients at once.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use redis::{Connection, pipe};
use rhumb_integration::{Layout, eventually};

/// Clients at once, and what each does.
const CLIENTS: usize = 8;
const TRANSACTIONS: usize = 25;

/// Eight clients do the same at once, over connections of their own.
fn at_once(connect: impl Fn() -> Connection, run: impl Fn(&mut Connection) + Sync) {
    let run = &run;
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut connection = connect();
            scope.spawn(move || (0..TRANSACTIONS).for_each(|_| run(&mut connection)));
        }
    });
}

#[test]
fn reads_of_a_transaction_see_its_own_writes_and_nobody_elses() {
    let cluster = Layout::regions(1).start().unwrap();
    let connect = || cluster.connect(0).unwrap();
    at_once(connect, |connection| {
        let (before, counted, after): (Option<i64>, i64, i64) =
            pipe().atomic().get("n").incr("n", 1).get("n").query(connection).unwrap();
        assert_eq!((before.unwrap_or(0) + 1, after), (counted, counted));
    });
    let total = (CLIENTS * TRANSACTIONS) as i64;
    assert_eq!(redis::cmd("GET").arg("n").query::<i64>(&mut connect()).unwrap(), total);
    // What a rate limiter does: the window is never seen with more than its own last addition.
    at_once(connect, |connection| {
        let (_, _, held, popped, left): ((), (), usize, Vec<(String, f64)>, usize) = pipe()
            .atomic()
            .zadd("window", "one", 1)
            .zadd("window", "two", 2)
            .zcard("window")
            .zpopmin("window", 1)
            .zcard("window")
            .query(connection)
            .unwrap();
        assert_eq!((held, popped, left), (2, vec![("one".to_owned(), 1.0)], 1));
    });
}

#[test]
fn a_transaction_gets_through_while_others_write_its_key_all_the_time() {
    let cluster = Layout::regions(1).start().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut connection = cluster.connect(0).unwrap();
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let () = redis::cmd("INCR").arg("hot").query(&mut connection).unwrap();
                }
            });
        }
        let mut connection = cluster.connect(0).unwrap();
        for _ in 0..TRANSACTIONS {
            let tried: redis::RedisResult<(Option<i64>, i64, i64)> =
                pipe().atomic().get("hot").incr("hot", 1).get("hot").query(&mut connection);
            let Ok((before, counted, after)) = tried else {
                stop.store(true, Ordering::Relaxed);
                panic!("{tried:?}");
            };
            assert_eq!((before.unwrap_or(0) + 1, after), (counted, counted));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_transaction_publishes_after_it_is_applied() {
    let cluster = Layout::regions(1).start().unwrap();
    let mut writer = cluster.connect(0).unwrap();
    let mut listener = cluster.connect(0).unwrap();
    let mut reader = cluster.connect(0).unwrap();
    let mut channel = listener.as_pubsub();
    channel.subscribe("news").unwrap();
    channel.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (said, heard): ((), usize) =
        pipe().atomic().set("k", "v").publish("news", "changed").query(&mut writer).unwrap();
    assert_eq!((said, heard), ((), 1));
    assert_eq!(channel.get_message().unwrap().get_payload::<String>().unwrap(), "changed");
    eventually(Duration::from_secs(1), || {
        let value: Option<String> = redis::cmd("GET").arg("k").query(&mut reader)?;
        anyhow::ensure!(value.as_deref() == Some("v"), "{value:?}");
        Ok(())
    })
    .unwrap();
}
