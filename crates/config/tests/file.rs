//! The file as a user writes it: what is accepted, and every refusal with its place.

use std::path::Path as FilePath;

use proptest::prelude::*;
use rhumb_config::{Config, Outside, Period, Place, Settings, dev, diff, settings::Server};
use rhumb_types::{AckLevel, Consistency, DomainId, RegionId};

const EXAMPLE: &str = include_str!("../../../docs/rhumb.yaml");

/// No variable is set, and an election takes ten round trips.
const NOTHING: Outside<'_> = Outside { variable: &|_| None, worst_election: &|trip| trip * 10 };

/// What is wrong with a file, as lines.
fn faults(text: &str) -> Vec<String> {
    let refused = Config::parse(text, &NOTHING).expect_err("the file was accepted");
    refused.iter().map(ToString::to_string).collect()
}

/// What is wrong with a file of two sound regions and some more lines, which start at line 5.
fn faults_after_two_regions(more: &str) -> Vec<String> {
    faults(&format!(
        "cluster: acme\nregions:\n  a: {{ address: 'a:7401' }}\n  b: {{ address: 'b:7401' }}\n{more}"
    ))
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).expect("a region name")
}

#[test]
fn the_example_is_sound_and_says_the_defaults_truly() {
    let file = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rhumb.yaml");
    let config = Config::load(&file, &NOTHING).unwrap_or_else(|error| panic!("{error}"));
    let mut settings = config.settings().clone();
    // There are none by default.
    assert!(settings.health.checks.values().all(|check| check.probe().is_some()));
    assert!(settings.failover.hooks.values().all(|hook| hook.probe().is_some()));
    (settings.health.checks, settings.failover.hooks) = Default::default();
    let defaults = Settings::default();
    assert_eq!(settings.health, defaults.health);
    assert_eq!(settings.selection, defaults.selection);
    assert_eq!(settings.failover, defaults.failover);
    assert_eq!(settings.spillover, defaults.spillover);
    assert_eq!(settings.log, defaults.log);
    assert_eq!(settings.data, defaults.data);
    assert_eq!(settings.state.retention, defaults.state.retention);
    assert_eq!(config.registry().primary(), &region("us-east-1"));
    assert_eq!(config.rules().len(), 5);
    let lock = config.namespaces().iter().find(|n| n.prefix == "lock:").unwrap();
    assert_eq!((lock.consistency, lock.ack), (Consistency::Strong, AckLevel::Quorum));
    let eu = config.namespaces().iter().find(|n| n.prefix == "eu:").unwrap();
    let inside: Vec<&str> =
        config.domains()[&eu.domain].regions.iter().map(RegionId::as_str).collect();
    assert_eq!(inside, ["eu-central-1", "eu-west-1"]);
    let redis = config.listener(&region("attic"), Server::Resp).unwrap();
    assert_eq!(redis.address(Server::Resp).port(), 6379);
    let east = &config.settings().ship.endpoints[&region("us-east-1")];
    assert_eq!(east.buckets["backup"], "acme-backup-use1");
    let attic = config.spillover_of(&region("attic"));
    assert_eq!((attic.enter_depth, attic.enter_concurrency.get()), (20, 0.5));
    assert_eq!(config.spillover_of(&region("us-east-1")), config.spillover());
}

#[test]
fn a_region_has_its_own_limits_of_spillover_and_they_replace_all_of_the_others() {
    let text = "cluster: acme\nspillover: { queue_depth: 500, oldest: 5m }\nregions:\n  \
                a: { address: 'a:7401', spillover: { queue_depth: 7, error_rate: 30%, hold: 1s } }\n  \
                b: { address: 'b:7401' }\n";
    let config = Config::parse(text, &NOTHING).unwrap();
    let (own, other) = (config.spillover_of(&region("a")), config.spillover_of(&region("b")));
    let seconds = std::time::Duration::from_secs;
    assert_eq!((own.enter_depth, own.leave_depth, own.enter_held), (7, 3, seconds(1)));
    assert_eq!(own.enter_error_rate.get(), 0.3);
    assert_eq!(own.oldest_age_target, seconds(60), "as usual, and not what all others have");
    assert_eq!((other.enter_depth, other.oldest_age_target), (500, seconds(300)));
    assert_eq!(other, config.spillover());
    // One that the file does not know, as a member that joined later may be.
    assert_eq!(config.spillover_of(&region("c")), config.spillover());
}

#[test]
fn a_small_file_is_enough() {
    let text = "cluster: acme\nregions: { a: { address: 'a:7401' } }\n";
    let config = Config::parse(text, &NOTHING).unwrap();
    assert_eq!(config.namespaces().len(), 1);
    assert_eq!(config.namespaces()[0].ack, AckLevel::Local);
    assert!(Server::ALL.iter().all(|server| config.listener(&region("a"), *server).is_none()));
    assert_eq!(config.domains()[&DomainId::EVERYWHERE].regions.len(), 1);
    assert!(config.region().is_none());
}

#[test]
fn everything_that_is_wrong_is_reported_together_and_in_order() {
    let text = "\
clusterr: acme
regions:
  us-east-1:
    address: 'one:7401'
    weight: heavy
    speed: 5
  Europe:
    address: 'two:7401'
  eu-west-1:
    weight: 3
failover:
  mode: automatically
  detection: 15 parsecs
spillover: { concurrency: 180%, error_rate: [] }
affinity:
  rules:
    - { region: us-east-1, organisation: x }
    - { region: eu-west-2, organisation: y }
state:
  namespaces:
    - { prefix: 'a', ttl: 5 }
    - { prefix: 'b', ttl: 5s, ack: some }
listeners:
  resp: { address: '0.0.0.0:7402' }
";
    assert_eq!(
        faults(text),
        [
            "1:1: cluster: name the cluster, as in `cluster: acme`",
            "1:1: clusterr: `clusterr` is not a setting here; did you mean `cluster`?",
            "5:13: regions.us-east-1.weight: `heavy` is not a whole number from 0 to 4294967295",
            "6:5: regions.us-east-1.speed: `speed` is not a setting here; use one of: \
             address, priority, weight, location, capacity, residency, capabilities, witness, \
             spillover, objects, listeners",
            "7:3: regions.Europe: `Europe` is not a region name: use 1 to 63 of a-z, 0-9 and `-`, \
             not starting with `-`",
            "9:3: regions.eu-west-1: `address` is missing; add it",
            "12:9: failover.mode: `automatically` is not a choice here; use one of: manual, \
             assisted, automatic",
            "13:14: failover.detection: `15 parsecs` is not a duration; write a number with its \
             unit, such as 250ms, 5s, 1m30s or 24h",
            "14:27: spillover.concurrency: `180%` is not a share; write 0% to 100%, or 0 to 1",
            "14:33: spillover.error_rate: a list is not a share; write 0% to \
             100%, or 0 to 1",
            "18:17: affinity.rules[1].region: there is no region `eu-west-2`; did you mean \
             `eu-west-1`?",
            "21:27: state.namespaces[0].ttl: `5` is not a duration; write a number with its unit, \
             such as 250ms, 5s, 1m30s or 24h",
            "22:36: state.namespaces[1].ack: `some` is not a choice here; use one of: memory, \
             local, one_remote, quorum",
            "24:20: listeners.resp.address: 0.0.0.0:7402 can be reached from other machines; add \
             `tls: true` and `auth: true`, or listen on 127.0.0.1",
        ]
    );
}

/// Lines after two sound regions, and what is wrong with them.
const CONTRADICTIONS: &[(&str, &str)] = &[
    (
        "queues: { jobs: { attempts_max: 0 } }",
        "5:33: queues.jobs.attempts_max: the queue's attempts_max must be at least 1",
    ),
    ("objects: { path: 'ftp://bucket' }", "5:18: objects.path: a bucket is s3://, gs:// or az://"),
    ("objects: { fetches: 0 }", "5:21: objects.fetches: fetch 1 to 32 at a time"),
    (
        "objects: { options: { endpoint: 'http://h' } }",
        "5:12: objects.options: only a bucket has options; `path` is a directory",
    ),
    (
        "queues: { jobs: { dead_letters: dead } }",
        "5:33: queues.jobs.dead_letters: there is no queue `dead`; add it under `queues`",
    ),
    (
        "queues: { jobs: { dead_letters: jobs } }",
        "5:33: queues.jobs.dead_letters: `jobs` cannot be its own dead letters; name another queue",
    ),
    (
        "queues: { a: { fifo: true, dead_letters: b }, b: {} }",
        "5:42: queues.a.dead_letters: the dead letters of a FIFO queue are a FIFO queue, and of \
         another not",
    ),
    (
        "health: { checks: { api: { vital: true } } }",
        "5:21: health.checks.api: give exactly one of `http`, `tcp` and `command`",
    ),
    (
        "health: { checks: { api: { http: 'localhost:8080' } } }",
        "5:34: health.checks.api.http: `localhost:8080` is no address: write \
         http://HOST:PORT/PATH or https://",
    ),
    (
        "health: { checks: { db: { tcp: 'localhost' } } }",
        "5:32: health.checks.db.tcp: `localhost` is no address: write HOST:PORT",
    ),
    (
        "health: { checks: { db: { command: [] } } }",
        "5:27: health.checks.db.command: name a program: [/path/to/program, argument]",
    ),
    (
        "health: { checks: { db: { tcp: 'h:1', interval: 2s } } }",
        "5:49: health.checks.db.interval: a check that may take 5s cannot be done every 2s; raise \
         the interval",
    ),
    (
        "health: { checks: { db: { tcp: '{region}:1' } } }",
        "5:21: health.checks.db: {region} stands for something only in checks `from: peers`",
    ),
    (
        "failover: { hooks: { take_over: { command: [a], timeout: 20s, verify: { tcp: 'h:1' } } } }",
        "5:58: failover.hooks.take_over.timeout: a hook with its verification may take 40s, and its \
         step ends after 30s; set `timeout` to more than 0s and less than that",
    ),
    (
        "failover: { hooks: { fence: { http: 'http://h/', verify: {} } } }",
        "5:50: failover.hooks.fence.verify: give exactly one of `http`, `tcp` and `command`",
    ),
    (
        "failover: { detection: 3s }",
        "5:24: failover.detection: detection takes 3s, but 3 checks of 5s each take 15s: raise \
             `detection`, or lower `timeout` or `failure_threshold`",
    ),
    (
        "health:\n  timeout: 6s",
        "6:12: health.timeout: detection takes 15s, but 3 checks of 6s each take 18s: raise \
             `detection`, or lower `timeout` or `failure_threshold`",
    ),
    (
        "failover: { lease: 3s }",
        "5:20: failover.lease: the lease of 3s must exceed the worst election of 2.5s plus one \
             renewal, 3.535s together: raise the lease",
    ),
    (
        "round_trips: [{ between: [a, b], time: 900ms }]\nfailover: { lease: 10s }",
        "6:20: failover.lease: the lease of 10s must exceed the worst election of 9s plus one \
             renewal, 12.456666667s together: raise the lease",
    ),
    (
        "health: { timeout: 100ms }",
        "5:20: health.timeout: a check of 100ms cannot be answered from regions that are 250ms \
             apart; raise it",
    ),
    (
        "round_trips: [{ between: [a, a], time: 1ms }]",
        "5:17: round_trips[0].between: name two different regions",
    ),
    (
        "round_trips: [{ between: [a, far], time: 1ms }]",
        "5:30: round_trips[0].between[1]: there is no region `far`; add it under `regions`",
    ),
    (
        "failover: { timeout: 5s }",
        "5:22: failover.timeout: a step of 5s cannot wait out a lease of 10s; raise \
             failover.timeout or shorten failover.lease",
    ),
    ("region: c", "5:9: region: there is no region `c`; add it under `regions`"),
    ("primary: far-away", "5:10: primary: there is no region `far-away`; add it under `regions`"),
    (
        "affinity: { rules: [{ region: a }] }",
        "5:21: affinity.rules[0]: give exactly one of repository, organisation, key_prefix, \
             geography and everything",
    ),
    (
        "affinity: { rules: [{ region: a, repository: acme }] }",
        "5:21: affinity.rules[0]: `acme` is not a repository; use `organisation/name`",
    ),
    (
        "state: { namespaces: [{ prefix: 'l:', consistency: strong, ack: local }] }",
        "5:65: state.namespaces[0].ack: a strong namespace is always agreed by a quorum; \
             remove `ack`",
    ),
    (
        "state: { namespaces: [{ prefix: x }, { prefix: x }] }",
        "5:48: state.namespaces[1].prefix: `x` has a namespace already; keep one",
    ),
    (
        "state: { namespaces: [{ prefix: x, residency: [sg] }] }",
        "5:36: state.namespaces[0].residency: no region that holds data lies in sg; add it to \
             the `residency` of a region",
    ),
    (
        "listeners: { resp: { tls: true } }",
        "5:27: listeners.resp.tls: there is no certificate; add `tls: { certificate: ..., \
             key: ... }`",
    ),
    (
        "listeners: { resp: { auth: true } }",
        "5:28: listeners.resp.auth: there is nobody who could log in; add users under `acl`",
    ),
    (
        "listeners: { http: { address: '127.0.0.1:9' }, resp: { address: '127.0.0.1:9' } }",
        "5:65: listeners.resp.address: `127.0.0.1:9` is taken by the http server",
    ),
    (
        "listeners: { http: { address: '[::]:7400', auth: true } }",
        "5:31: listeners.http.address: [::]:7400 can be reached from other machines; add \
             `tls: true`, or listen on 127.0.0.1",
    ),
    (
        "listeners: { peer: { tls: false, auth: true } }",
        "5:40: listeners.peer.auth: nodes always use mutual TLS between them; remove this",
    ),
    (
        "acl: { users: [{ name: a, password_sha256: [hunter2] }] }",
        "5:45: acl.users[0].password_sha256[0]: this is not a SHA-256; write the 64 digits \
             that `printf %s PASSWORD | sha256sum` prints",
    ),
    (
        "acl: { users: [{ name: a }] }",
        "5:16: acl.users[0].password_sha256: `a` has no password and could never log in; add \
             one",
    ),
    (
        "acl: { access_keys: [{ id: 'a b', secret_file: s, role: reader }] }",
        "5:28: acl.access_keys[0].id: an access key's id is 1 to 128 of a-z, A-Z, 0-9, `-` and `_`",
    ),
    (
        "ship: { endpoints: { a: { url: 'ftp://x' } } }",
        "5:32: ship.endpoints.a.url: an endpoint is https://HOST or http://HOST, with a port where it \
         is not 443 or 80",
    ),
    (
        "ship: { endpoints: { a: { url: 'https://id:secret@x' } } }",
        "5:32: ship.endpoints.a.url: no user and no secret here; they go under `credentials`",
    ),
    (
        "ship: { endpoints: { a: { url: 'http://x', credentials: { key_id: b } } } }",
        "5:44: ship.endpoints.a.credentials: a key has a `secret_file` or a `secret_variable`",
    ),
    (
        "acl: { access_keys: [{ id: machine, secret_file: s, role: reader }] }",
        "5:28: acl.access_keys[0].id: the key `machine` is always there; choose another id",
    ),
    (
        "acl: { access_keys: [{ id: a, secret_file: '', role: reader }] }",
        "5:44: acl.access_keys[0].secret_file: name the file that holds the secret",
    ),
    (
        "acl: { access_keys: [{ id: a, secret_file: s, role: auditor }] }",
        "5:53: acl.access_keys[0].role: an auditor has nothing to do with queues and \
             buckets; use reader, operator or admin",
    ),
    (
        "listeners: { resp: { address: '127.0.0.1:9' }, sqs: { address: '127.0.0.1:9' } }",
        "5:64: listeners.sqs.address: `127.0.0.1:9` is taken by the resp server",
    ),
    (
        "store: postgres://db/rhumb",
        "5:8: store: `postgres://db/rhumb` is not a choice here; use one of: embedded",
    ),
];

#[test]
fn contradictions_are_refused_with_their_place() {
    for (more, expected) in CONTRADICTIONS {
        assert_eq!(faults_after_two_regions(more), [*expected], "{more}");
    }
}

#[test]
fn regions_that_contradict_each_other_are_refused() {
    let cases: &[(&str, &[&str])] = &[
        (
            "",
            &[
                "1:1: cluster: name the cluster, as in `cluster: acme`",
                "1:1: regions: no region that holds data is configured: add at least one",
            ],
        ),
        (
            "cluster: a\nregions:\n  a: { address: 'h:1' }\n  b: { address: 'H:1' }",
            &["4:17: regions.b.address: `H:1` is the address of `a` too"],
        ),
        (
            "cluster: a\nregions: { a: { address: somewhere } }",
            &["2:26: regions.a.address: `somewhere` is not an address; use `host:port`"],
        ),
        (
            "cluster: a\nregions: { a: { address: 'h:1', priority: 0 } }",
            &["2:43: regions.a.priority: region `a` has priority 0: 1 is the first level"],
        ),
        (
            "cluster: a\nregions:\n  a: { address: 'h:1' }\n  w: { address: 'w:1', witness: \
             true, weight: 5, listeners: { resp: {} } }",
            &[
                "4:47: regions.w.weight: a witness is never routed to; remove `weight` or `witness`",
                "4:63: regions.w.listeners.resp: a witness holds no data that a Redis client could \
                 read; remove it",
            ],
        ),
        (
            "cluster: a\nprimary: w\nregions:\n  a: { address: 'h:1' }\n  w: { address: 'w:1', \
             witness: true }",
            &[
                "2:10: primary: the primary region `w` is a witness: choose a region that holds data",
            ],
        ),
        (
            "cluster: a\nregions: { a: { address: 'h:1', location: { latitude: 91, longitude: 0 } } }",
            &[
                "2:33: regions.a.location: (91, 0) is not a place: use a latitude of -90 to 90 and a \
               longitude of -180 to 180",
            ],
        ),
        (
            "cluster: a\nregions: { a: { address: 'h:1' } }\nstate: { ack: one_remote }",
            &["3:15: state.ack: `one_remote` waits for a second region, and `a` is the only one"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(faults(text), *expected, "{text}");
    }
}

#[test]
fn what_is_not_yaml_or_not_a_map_is_refused_with_its_place() {
    for (text, place) in
        [("cluster: [", "1:10"), ("a: 1\na: 2\n", "2:1"), ("- a", "1:1"), ("x", "1:1")]
    {
        let found = faults(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("{place}: ")), "{text:?}: {found:?}");
    }
    let huge = format!("cluster: a\n# {}", "x".repeat(300 << 10));
    assert!(faults(&huge)[0].contains("bytes"), "{:?}", faults(&huge));
}

fn with(variable: &dyn Fn(&str) -> Option<String>) -> Outside<'_> {
    Outside { variable, ..NOTHING }
}

#[test]
fn the_environment_overrides_the_file_and_is_named_when_it_is_wrong() {
    let text = "cluster: acme\nregion: a\nregions:\n  a: { address: 'a:7401' }\n  b: { address: 'b:7401' }\n";
    let set = |pairs: &'static [(&str, &str)]| {
        move |name: &str| {
            let found = pairs.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    };
    let config =
        Config::parse(text, &with(&set(&[("REGION", "b"), ("RHUMB_DATA", "elsewhere")]))).unwrap();
    assert_eq!(config.region(), Some(&region("b")));
    assert_eq!(config.settings().data, FilePath::new("elsewhere"));

    let both = set(&[("REGION", "b"), ("RHUMB_REGION", "a")]);
    assert_eq!(Config::parse(text, &with(&both)).unwrap().region(), Some(&region("a")));

    let wrong = set(&[("REGION", "mars"), ("RHUMB_RESP", "0.0.0.0:1"), ("RHUMB_HTTP", "here")]);
    let refused = Config::parse(text, &with(&wrong)).unwrap_err();
    let lines: Vec<String> = refused.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "$REGION: region: there is no region `mars`; add it under `regions`",
            "$RHUMB_HTTP: listeners.http.address: this is not an address with its port, such as \
             127.0.0.1:7400",
            "$RHUMB_RESP: listeners.resp.address: 0.0.0.0:1 can be reached from other machines; \
             add `tls: true` and `auth: true`, or listen on 127.0.0.1",
        ]
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_in_plain_words() {
    for (more, expected) in [
        ("health: 5", "5:9: health: `5` is not a map of settings"),
        ("primary: 5", "5:10: primary: `5` is not a text (put it in quotes)"),
        ("selection: { sticky: 1 }", "5:22: selection.sticky: `1` is not `true` or `false`"),
        ("failover: { mode: [] }", "5:13: failover.mode: a list is not a word"),
        (
            "failover: { retries: 300 }",
            "5:22: failover.retries: `300` is not a whole number from 0 to 255",
        ),
        ("affinity: { rules: { a: b } }", "5:13: affinity.rules: a map is not a list"),
        ("affinity:\n  rules:\n    -", "7:6: affinity.rules[0]: `region` is missing; add it"),
    ] {
        assert_eq!(faults_after_two_regions(more), [expected], "{more}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(FilePath::new("no/such/rhumb.yaml"), &NOTHING).unwrap_err();
    assert!(error.to_string().starts_with("no/such/rhumb.yaml:1:1: the file cannot be read"));
}

#[test]
fn a_lease_grows_with_the_distance_unless_it_is_set() {
    let lease = |more: &str| {
        let text = format!(
            "cluster: a\nregions: {{ a: {{ address: 'a:1' }}, b: {{ address: 'b:1' }} }}\n\
             failover: {{ profile: fast{more} }}"
        );
        Config::parse(&text, &NOTHING).map(|config| config.health().lease.as_millis())
    };
    let near =
        ", lease: 4s }\nround_trips: [ { between: [a, b], time: 100ms } ]\nlog: { format: text";
    assert_eq!(lease(near), Ok(4_000));
    // Where nothing is known of the places, 250 ms are assumed: an election takes 2.5 s.
    assert_eq!(lease(""), Ok(4_000));
    let far = " }\nround_trips: [ { between: [a, b], time: 280ms } ]\nlog: { format: text";
    assert_eq!(lease(far), Ok(4_500));
}

#[test]
fn of_many_regions_five_vote() {
    let regions: String =
        (0..7).map(|n| format!("  r{n}: {{ address: 'h{n}:1', priority: {} }}\n", 7 - n)).collect();
    let text = format!("cluster: a\nregions:\n{regions}  w: {{ address: 'w:1', witness: true }}\n");
    let config = Config::parse(&text, &NOTHING).unwrap();
    let voters: Vec<&str> = config.voters().iter().map(RegionId::as_str).collect();
    assert_eq!(voters, ["r3", "r4", "r5", "r6", "w"]);
}

#[test]
fn the_voter_that_a_majority_answers_soonest_is_named_first() {
    let order = |regions: &str| {
        let regions: String = regions
            .split(' ')
            .map(|name| format!("  {name}: {{ address: '{name}:1' }}\n"))
            .collect();
        let config = Config::parse(&format!("cluster: a\nregions:\n{regions}"), &NOTHING);
        let config = config.unwrap_or_else(|faults| panic!("{faults:?}"));
        config.voters().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    // Both wait equally long for a majority; Ireland is nearer to the one that is left.
    assert_eq!(
        order("ap-southeast-1 eu-west-1 us-east-1"),
        ["eu-west-1", "us-east-1", "ap-southeast-1"]
    );
}

#[test]
fn an_even_number_of_votes_is_allowed_with_a_note() {
    let text = "cluster: a\nregions: { a: { address: 'a:1' }, b: { address: 'b:1' } }";
    let config = Config::parse(text, &NOTHING).unwrap();
    assert_eq!(config.notes().len(), 1, "{:?}", config.notes());
}

#[test]
fn the_differences_of_two_files_are_named() {
    let before = dev::settings(&[region("a")], "x".into(), 7400);
    let mut after = before.clone();
    after.region = Some(region("a"));
    assert_eq!(diff(&before, &after), []);
    after.spillover.queue_depth = 50;
    after.failover.detection = Some(Period::from_secs(20));
    let lines: Vec<String> = diff(&before, &after).iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["+ failover.detection: \"20s\"", "~ spillover.queue_depth: 100 -> 50"]);
}

#[test]
fn the_cluster_on_one_machine_is_sound_and_can_be_written_as_a_file() {
    let regions: Vec<RegionId> = dev::REGIONS.iter().map(|name| region(name)).collect();
    let settings = dev::settings(&regions, "rhumb-dev".into(), 7400);
    let text = settings.to_yaml().unwrap();
    let config = Config::parse(&text, &NOTHING).unwrap_or_else(|f| panic!("{f:?}\n{text}"));
    assert_eq!(config.settings(), &settings);
    let third = config.listener(&region("ap-southeast-1"), Server::Resp).unwrap();
    assert_eq!(third.address(Server::Resp).to_string(), "127.0.0.1:7602");
}

#[test]
fn the_schema_lists_every_section_and_forbids_others() {
    let schema = serde_json::to_value(Config::schema()).unwrap();
    assert_eq!(schema["required"], serde_json::json!(["cluster", "regions"]));
    assert_eq!(schema["additionalProperties"], false);
    let written = serde_json::to_value(Settings::default()).unwrap();
    for section in written.as_object().unwrap().keys() {
        assert!(schema["properties"].get(section).is_some(), "{section}");
    }
}

proptest! {
    /// However a sound file is damaged, it is accepted, or refused at places that are in it.
    #[test]
    fn a_damaged_file_is_refused_at_places_inside_it(
        at in 0..EXAMPLE.len(),
        length in 0..40_usize,
        instead in "[a-z0-9:{}\\[\\], \n\"'&*!-]{0,8}",
    ) {
        let end = (at + length).min(EXAMPLE.len());
        let (Some(before), Some(after)) = (EXAMPLE.get(..at), EXAMPLE.get(end..)) else {
            return Ok(());
        };
        let text = format!("{before}{instead}{after}");
        let lines = u64::try_from(text.lines().count()).unwrap_or(u64::MAX);
        for fault in Config::parse(&text, &NOTHING).err().into_iter().flatten() {
            let Place::File { line, column } = fault.place else {
                panic!("no variable is set: {fault}")
            };
            prop_assert!((1..=lines + 1).contains(&line) && column >= 1, "{}", fault);
            prop_assert!(!fault.message.is_empty());
        }
    }
}

/// A file with runners; what stands there in the section `runners`.
fn with_runners(runners: &str) -> String {
    let regions = "cluster: acme\nregions:\n  us-east-1: { address: \"a:7401\" }\n  eu-west-1: { address: \"b:7401\", residency: [eu] }\n";
    format!("{regions}runners:\n{runners}")
}

const RUNNERS: &str = "  webhook_secrets: [/s]\n  token: /t\n  sets:\n    linux: { labels: [linux], command: [/run.sh] }\n";

#[test]
fn runners_are_read_and_everything_wrong_with_them_is_named_with_its_place() {
    let config = Config::parse(&with_runners(RUNNERS), &NOTHING).unwrap();
    let runners = config.settings().runners.as_ref().unwrap();
    assert_eq!(runners.api, "https://api.github.com");
    assert_eq!((runners.sets["linux"].max, runners.sets["linux"].group), (10, 1));
    assert_eq!(runners.reconcile_every.to_string(), "5m");
    let wrong = "  webhook_secrets: []\n  api: http://ghe.acme.net\n  sets:\n    Linux: { labels: [], \
                 burst: 0 }\n    gpu: { labels: [rhumb-region-x], command: [./run.sh], max_in: { mars: 1 } }\n  \
                 residency: { acme: [moon] }\n  geography: { \"a/b/c\": Germany }\n  hooks: [ { app: true } ]\n  \
                 reconcile_every: 1s\n";
    let faults = Config::parse(&with_runners(wrong), &NOTHING).unwrap_err();
    let paths: Vec<String> = faults.iter().map(|fault| fault.path.to_string()).collect();
    for path in [
        "runners",
        "runners.webhook_secrets",
        "runners.api",
        "runners.sets.Linux",
        "runners.sets.Linux.labels",
        "runners.sets.Linux.burst",
        "runners.sets.gpu.labels[0]",
        "runners.sets.gpu.command",
        "runners.sets.gpu.max_in.mars",
        "runners.residency.acme[0]",
        "runners.hooks[0]",
        "runners.reconcile_every",
    ] {
        assert!(paths.iter().any(|it| it == path), "{path} is not among {paths:#?}");
    }
    assert!(faults.iter().all(|fault| matches!(fault.place, Place::File { .. })), "{faults:?}");
}
