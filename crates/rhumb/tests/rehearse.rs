//! `rhumb rehearse`, as a user calls it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rhumb.yaml");
const DOWN: &str = "at 10s region us-east-1 down for 15s";

fn rhumb(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rhumb"));
    command.arg("rehearse").args(words).output().unwrap()
}

/// A short rehearsal of the three regions of `rhumb dev`.
fn example(words: &[&str]) -> Output {
    rhumb(&[&["--example", "--for", "40s", "--seeds", "2"], words].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What is said of bad input; nothing was run.
fn refused(output: &Output) -> Vec<String> {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = text(&output.stderr);
    said.lines().map(|line| line.trim_start_matches("rhumb: ").to_owned()).collect()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn write(folder: &Path, name: &str, content: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, content).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = write(
        folder.path(),
        "outage.txt",
        "# Monday\nat 10s region us-east-9 down for 5s\nat -5s disk eu-west-1 full\n\
         at 10s region eu-west-1 down for 9s\nat 12s region eu-west-1 down for 1s\n\
         at 90s region eu-west-1 down\n",
    );
    let traffic = write(folder.path(), "monday.csv", "time,rps\n0s,10\n10s,ten\n30s,10\n40s,1\n");
    let goals = write(folder.path(), "goals.txt", "served < 5\nfailed < 0.1\n");
    let said = refused(&example(&[
        "--scenario",
        &scenario,
        "--fault",
        "at 1s link us-east-1 - eu-west-2 cut",
        "--fault",
        "at 1s region us-east-1 on fire",
        "--traffic",
        &traffic,
        "--objectives",
        &goals,
        "--objective",
        "cost per hour < 3",
        "--writes",
        "10",
        "--from",
        "us-east-1=130%",
        "--capacity",
        "mars=5",
        "--ack",
        "qorum",
        "--prices",
        "nowhere.csv",
    ]));
    let expected = [
        format!("{traffic}:3:5: `ten` is not a number of requests per second"),
        format!("{traffic}:4:1: there is nothing from 10s to 30s, and the step is 10s"),
        "--fault #1:1:24: `eu-west-2` is not a region of the configuration; did you mean `eu-west-1`?".into(),
        "--fault #2:1:24: `on` does not happen to a region".into(),
        format!("{scenario}:2:15: `us-east-9` is not a region of the configuration"),
        format!("{scenario}:3:4: `-5s` is negative"),
        format!("{scenario}:5:1: `region eu-west-1 down` cannot be at 12s: eu-west-1 is down from 10s until 19s"),
        format!("{scenario}:6:4: the rehearsal ends at 40s, before this begins"),
        "--objective:1:17: `3` has no unit; write 3 USD".into(),
        format!("{goals}:1:10: `5` has no unit; write 5s or 5ms"),
        format!("{goals}:2:10: `0.1` has no unit; write 10%"),
        "--from:1:11: `130%` is not a share".into(),
        "--ack:1:1: `qorum` is no acknowledgement level; did you mean `quorum`?".into(),
        "--writes:1:1: `10` is not a share; write 10%".into(),
        "nowhere.csv:1:1: the file cannot be read".into(),
        "--capacity:1:1: `mars` is not a region".into(),
    ];
    for wrong in &expected {
        assert!(said.iter().any(|line| line.starts_with(wrong)), "{wrong}\n{said:#?}");
    }
    assert_eq!(said.len(), expected.len(), "{said:#?}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for words in [
        ["--for", "5"].as_slice(),
        &["--for", "0s"],
        &["--for", "40d"],
        &["--seeds", "0"],
        &["--rps", "-1"],
        &["--rps", "5", "--traffic", "daily:1..2"],
        &["--search", "--fault", DOWN],
        &["--dns-ignore", "5%"],
        &["--client-timeout", "0s"],
        &["--traffic", "gone.csv"],
        &["--html", "no/such/folder/page.html"],
        &["--diff", "a.yaml"],
    ] {
        let words = [["--example"].as_slice(), words].concat();
        assert!(!refused(&rhumb(&words)).is_empty(), "{words:?}");
    }
}

#[test]
fn a_file_that_is_missing_or_wrong_is_refused() {
    let missing = refused(&rhumb(&["--config", "no-such-file.yaml"]));
    assert!(missing[0].contains("no-such-file.yaml is not there"), "{missing:?}");
    assert!(missing[0].contains("--example"), "{missing:?}");
    let folder = tempfile::tempdir().unwrap();
    let slip = std::fs::read_to_string(EXAMPLE).unwrap().replace("cluster: acme", "clustr: acme");
    let slip = write(folder.path(), "slip.yaml", &slip);
    let said = refused(&rhumb(&["--config", &slip]));
    assert!(said.iter().any(|line| line.contains("did you mean `cluster`?")), "{said:?}");
}

#[test]
fn objectives_decide_how_it_ends() {
    let held = example(&["--fault", DOWN, "--objective", "failed < 50%"]);
    assert_eq!(held.status.code(), Some(0), "{held:?}");
    assert!(text(&held.stdout).ends_with("\npassed\n"), "{held:?}");
    let goals = ["--objective", "failed < 50%", "--objective", "detected < 1ms"];
    let missed = example(&[["--fault", DOWN].as_slice(), &goals].concat());
    assert_eq!(missed.status.code(), Some(1), "{missed:?}");
    let said = text(&missed.stdout);
    assert!(said.contains("detected <= 1ms  MISSED") && said.ends_with("\nFAILED\n"), "{said}");
}

#[test]
fn the_same_seeds_give_the_same_document_and_others_another() {
    let words = ["--fault", DOWN, "--json", "--rps", "50", "--dns-ttl", "5s"];
    let (one, again) = (example(&words), example(&words));
    assert_eq!(one.stdout, again.stdout);
    let other = example(&[words.as_slice(), &["--seed", "7"]].concat());
    let (one, other) = (json(&one), json(&other));
    assert_ne!(one["runs"], other["runs"]);
    assert_eq!((&one["seeds"]["first"], &other["seeds"]["first"]), (&1.into(), &7.into()));
    assert_eq!(one["faults"][0]["fault"], DOWN);
    // The worse one of the two comes with its course.
    let with_course = |run: &&Value| run.get("series").is_some();
    assert_eq!(one["runs"].as_array().unwrap().iter().filter(with_course).count(), 1);
    assert_eq!(one["passed"], true);
    // Twice 40 seconds of 50 a second, by chance.
    let asked = one["figures"]["requests_count"].as_f64().unwrap();
    assert!((3_500.0..4_500.0).contains(&asked), "{asked}");
    assert!(one["figures"]["detected_max_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn levels_are_mixed_and_delays_are_constant_where_that_is_asked_for() {
    let words = ["--writes", "100%", "--json", "--fault", DOWN];
    let of = |more: &[&str]| json(&example(&[&words, more].concat()))["figures"].clone();
    let [local, mixed, constant] = [
        ["--ack", "local"].as_slice(),
        ["--ack", "local=50%,one_remote=50%"].as_slice(),
        ["--ack", "local", "--constant-delays"].as_slice(),
    ]
    .map(of);
    let slowest = |of: &Value| of["latency_p99_ms"].as_f64().unwrap();
    let middle = |of: &Value| of["latency_p50_ms"].as_f64().unwrap();
    assert!(middle(&mixed) > middle(&local) * 2.0, "{mixed}\n{local}");
    assert!(slowest(&mixed) > slowest(&local), "{mixed}\n{local}");
    assert_ne!(constant, local);
}

/// The figure that decides is of a file each time: the load of the traffic's step, the cost of the table.
#[test]
fn four_files_say_what_happens_and_how_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| write(folder.path(), name, content);
    let scenario = file("outage.txt", "# a short one\nat 15s region us-east-1 down for 3s\n");
    let goals = file("goals.txt", "failed < 50%\nload < 60%\ncost per hour < 2 USD\n");
    let flat = file("flat.csv", "time,rps\n0s,20\n10s,20\n20s,20\n30s,20\n");
    let step = file("step.csv", "time,rps\n0s,20\n10s,200\n20s,20\n30s,20\n");
    let table = |name: &str, node: &str| {
        let row = |region: &str| format!("{region},,0.02,{node}\n");
        let rows = ["us-east-1", "eu-west-1", "ap-southeast-1"].map(row).concat();
        file(name, &format!("region,to,usd_per_gb,usd_per_node_hour\n{rows}"))
    };
    let (cheap, dear) = (table("cheap.csv", "0.5"), table("dear.csv", "5"));
    let rehearsed = |traffic: &str, prices: &str, ends: i32| {
        let output = rhumb(&[
            "--example",
            "--scenario",
            &scenario,
            "--traffic",
            traffic,
            "--objectives",
            &goals,
            "--prices",
            prices,
            "--capacity",
            "us-east-1=100,eu-west-1=200,ap-southeast-1=100",
            "--seeds",
            "1",
            "--json",
        ]);
        assert_eq!(output.status.code(), Some(ends), "{output:?}");
        let document = json(&output);
        assert_eq!(document["faults"][0]["fault"], "at 15s region us-east-1 down for 3s");
        assert_eq!(document["lasting_ms"], 40_000.0, "as long as the table");
        let verdicts = document["objectives"].as_array().unwrap();
        assert_eq!(verdicts.len(), 3);
        let missed = verdicts.iter().filter(|verdict| verdict["held"] == false);
        let missed: Vec<String> =
            missed.map(|verdict| verdict["objective"].as_str().unwrap().to_owned()).collect();
        (document, missed)
    };
    let cost = |document: &Value| document["figures"]["cost_per_hour_max_usd"].as_f64().unwrap();

    let (held, missed) = rehearsed(&flat, &cheap, 0);
    assert_eq!(missed, Vec::<String>::new());
    // Three nodes, and next to nothing for traffic.
    assert!((1.5..1.51).contains(&cost(&held)), "{}", cost(&held));

    let (loaded, missed) = rehearsed(&step, &cheap, 1);
    assert_eq!(missed, ["load <= 60%"]);
    let served = loaded["runs"][0]["series"]["served"].as_object().unwrap();
    let in_second =
        |nth: usize| -> u64 { served.values().map(|steps| steps[nth].as_u64().unwrap()).sum() };
    // Before, in and after the step; the outage is in it.
    for (seconds, expected) in [(2..8, 60..180), (11..15, 600..1_000), (22..28, 60..180)] {
        let sum: u64 = seconds.clone().map(in_second).sum();
        assert!(expected.contains(&sum), "{seconds:?}: {sum}");
    }

    let (expensive, missed) = rehearsed(&flat, &dear, 1);
    assert_eq!(missed, ["cost per hour <= 2 USD"]);
    assert!((15.0..15.01).contains(&cost(&expensive)), "{}", cost(&expensive));
}

#[test]
fn a_fault_costs_what_no_fault_does_not() {
    let dns = ["--dns-ttl", "10s", "--json"];
    let quiet = json(&example(&dns));
    let outage = json(&example(&[["--fault", DOWN].as_slice(), &dns].concat()));
    let failed = |document: &Value| document["figures"]["failed_count"].as_u64().unwrap();
    assert_eq!(failed(&quiet), 0);
    assert!(failed(&outage) > 0);
    // Every price of these three is known.
    assert_eq!(quiet["notes"], Value::Array(Vec::new()));
    assert!(quiet["figures"]["cost_per_hour_max_usd"].as_f64().unwrap() > 0.13);
}

#[test]
fn the_file_of_the_documents_is_rehearsed() {
    let words = ["--config", EXAMPLE, "--for", "40s", "--seeds", "1", "--json"];
    let document = json(&rhumb(&words));
    assert_eq!(document["violations"], Value::Array(Vec::new()));
    assert!(document["figures"]["requests_count"].as_u64().unwrap() > 3_000, "{document}");
}

#[test]
fn a_page_is_written_with_the_command_that_makes_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("outage.html");
    let output = example(&["--fault", DOWN, "--html", page.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("--fault &#39;at 10s region us-east-1 down for 15s&#39;"), "{page}");
    assert!(page.contains("id=\"traffic\""));
}

#[test]
fn two_configurations_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let old = std::fs::read_to_string(EXAMPLE).unwrap();
    let swapped = old.replace("profile: standard", "profile: fast");
    let swapped = swapped.replace("mode: assisted", "mode: automatic");
    let new = write(folder.path(), "new.yaml", &swapped);
    let words = ["--diff", EXAMPLE, &new, "--for", "40s", "--seeds", "1", "--fault", DOWN];
    let output = rhumb(&words);
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stdout);
    assert!(said.contains("loss detected, max") && said.contains("new.yaml"), "{said}");
    let document = json(&rhumb(&[words.as_slice(), &["--json"]].concat()));
    // Nobody approves of a takeover in a rehearsal; the new one needs nobody to.
    let owned = |which: &str| document[which]["figures"]["owned_max_ms"].as_f64();
    assert_eq!(owned("old"), None, "{document}");
    assert!(owned("new").unwrap() < 15_000.0, "{document}");
    let same =
        json(&rhumb(&["--diff", EXAMPLE, EXAMPLE, "--for", "30s", "--seeds", "1", "--json"]));
    assert_eq!(same["old"]["figures"], same["new"]["figures"]);
}

#[test]
fn the_search_ranks_what_it_tried() {
    let words =
        ["--example", "--search", "--for", "8s", "--seeds", "1", "--dns-ttl", "1s", "--json"];
    let output = rhumb(&words);
    assert!(output.status.success(), "{output:?}");
    let document = json(&output);
    let singles = document["singles"].as_array().unwrap();
    assert_eq!(singles.len(), 3 * 12 + 3 * 5);
    let failed: Vec<f64> =
        singles.iter().map(|single| single["failed_share"].as_f64().unwrap()).collect();
    assert!(failed[0] > 0.0 && failed.is_sorted_by(|worse, better| worse >= better), "{failed:?}");
    let pairs = document["pairs"].as_array().unwrap();
    assert!(!pairs.is_empty() && pairs.len() <= 15, "{}", pairs.len());
    assert!(pairs.iter().all(|pair| pair["faults"].as_array().unwrap().len() == 2));
}

/// Most clients are near one region, what it leaves is more than the next one carries, and the third carries nothing.
#[test]
fn the_search_puts_first_what_is_known_to_be_worst() {
    let output = rhumb(&[
        "--example",
        "--search",
        "--for",
        "20s",
        "--seeds",
        "1",
        "--seed",
        "3",
        "--capacity",
        "us-east-1=200,eu-west-1=60,ap-southeast-1=2",
        "--from",
        "us-east-1=70%,eu-west-1=30%",
        "--json",
    ]);
    assert!(output.status.success(), "{output:?}");
    let document = json(&output);
    let ranked = |what: &str| -> Vec<(Vec<String>, f64)> {
        let all = document[what].as_array().unwrap().iter();
        let faults = |tried: &Value| -> Vec<String> {
            let faults = tried["faults"].as_array().unwrap().iter();
            faults.map(|fault| fault.as_str().unwrap().to_owned()).collect()
        };
        all.map(|tried| (faults(tried), tried["failed_share"].as_f64().unwrap())).collect()
    };
    let loses = |fault: &str, region: &str| {
        ["down", "killed", "frozen"]
            .iter()
            .any(|how| fault == format!("at 5s region {region} {how} for 5s"))
    };
    let singles = ranked("singles");
    for (faults, failed) in &singles[..3] {
        assert!(loses(&faults[0], "us-east-1") && *failed > 0.05, "{singles:#?}");
    }
    // All else leaves it to serve its clients.
    assert!(singles[3].1 < 0.02, "{singles:#?}");
    let pairs = ranked("pairs");
    let (worst, failed) = &pairs[0];
    // Alone, a second region that is slow or gone costs its clients a time-out either way.
    let slow = "at 5s region eu-west-1 slow 25% for 5s";
    let of = |wanted: &dyn Fn(&str) -> bool| worst.iter().any(|fault| wanted(fault));
    assert!(of(&|fault| loses(fault, "us-east-1")), "{pairs:#?}");
    assert!(of(&|fault| loses(fault, "eu-west-1") || fault == slow), "{pairs:#?}");
    // Those of the second region have nowhere to go either.
    assert!(*failed > singles[0].1 + 0.05 && *failed > pairs[1].1 + 0.03, "{pairs:#?}");
}

#[test]
fn jobs_are_rehearsed_with_objectives_of_their_own() {
    let jobs = ["--jobs", "10", "--workers", "12", "--job-takes", "500ms", "--fault", DOWN];
    let goals = ["--objective", "jobs lost < 1", "--objective", "oldest job < 5m", "--json"];
    let output = example(&[&jobs[..], &goals[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let document = json(&output);
    let counts = &document["jobs"];
    assert!(counts["taken"].as_u64() > Some(400), "{counts}");
    assert_eq!(
        (&counts["lost"], counts["regions"]["us-east-1"]["workers"].as_u64()),
        (&0.into(), Some(12))
    );
    assert!(document["figures"]["jobs_repeated_count"].is_u64());
    let said = text(&example(&jobs).stdout);
    for word in ["executed again", "sent here", "most busy"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let plain = json(&example(&["--json"]));
    assert!(plain["jobs"].is_null());
}

#[test]
fn jobs_that_make_no_sense_are_refused() {
    let said = refused(&example(&["--objective", "oldest job < 1m"]));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("--jobs"), "{said:?}");
    let said = refused(&example(&["--jobs", "9000", "--workers", "mars=5", "--job-takes", "0s"]));
    assert_eq!(said.len(), 3, "{said:?}");
}

#[test]
fn objects_are_rehearsed_with_objectives_of_their_own() {
    let objects = ["--uploads", "4", "--upload-size", "1MiB", "--downloads", "5", "--fault", DOWN];
    let goals = ["--objective", "uploads failed < 1%", "--objective", "backlog < 1GB", "--json"];
    let output = example(&[&objects[..], &goals[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let document = json(&output);
    let counts = &document["objects"];
    assert!(counts["acknowledged"].as_u64() > Some(200), "{counts}");
    assert_eq!((&counts["lost"], &counts["missed"]), (&0.into(), &0.into()));
    assert!(document["figures"]["objects_at_risk_max_count"].is_u64());
    let said = text(&example(&objects).stdout);
    for word in ["gone on in another region", "at risk as a region failed", "busiest"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(json(&example(&["--json"]))["objects"].is_null());
}

#[test]
fn objects_that_make_no_sense_are_refused() {
    let said = refused(&example(&["--objective", "backlog < 1GB"]));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("--uploads"), "{said:?}");
    let said = refused(&example(&[
        "--uploads",
        "900",
        "--upload-size",
        "5",
        "--replication",
        "asynk",
        "--bandwidth",
        "us-east-1 - mars=1Mbps",
        "--client-bandwidth",
        "100",
        "--part",
        "1MiB",
        "--min-copies",
        "3",
        "--objective",
        "backlog < 1",
    ]));
    for wrong in [
        "--upload-size:1:1: `5` has no unit; write 5B or 5MiB",
        "--replication:1:1: `asynk` is no replication; did you mean `async`?",
        "--bandwidth:1:13: `mars` is not a region",
        "--client-bandwidth:1:1: `100` has no unit; write 100Mbps or 100MB/s",
        "--part:1:1: `1MiB` is no length of a part",
        "--objective:1:11: `1` has no unit; write 1B or 1MiB",
    ] {
        assert!(said.iter().any(|line| line.starts_with(wrong)), "{wrong}\n{said:#?}");
    }
    let said = refused(&example(&["--uploads", "300", "--min-copies", "3"]));
    assert!(said.iter().any(|line| line.starts_with("--min-copies:")), "{said:?}");
    let said = refused(&example(&["--uploads", "300", "--downloads", "900"]));
    assert_eq!(said.len(), 2, "{said:?}");
}

/// The examples of the documents, shorter than they stand there.
#[test]
fn the_examples_of_objects_in_the_documents_run() {
    let document = include_str!("../../../docs/rehearse.md");
    let commands: Vec<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("$ rhumb rehearse "))
        .filter(|line| line.contains("--uploads"))
        .collect();
    assert!(commands.len() >= 2, "{commands:?}");
    for command in commands {
        let mut words: Vec<String> = Vec::new();
        for (nth, quoted) in command.split('"').enumerate() {
            if nth % 2 == 1 {
                words.push(quoted.to_owned());
            } else {
                words.extend(quoted.split_whitespace().map(str::to_owned));
            }
        }
        let shorter = |word: String| word.replace("at 10m", "at 10s").replace("for 10m", "for 10s");
        let mut words: Vec<String> = words.into_iter().map(shorter).collect();
        words.extend(["--for", "60s", "--seeds", "1", "--json"].map(str::to_owned));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = rhumb(&words);
        // Objectives are of an hour; what counts is that it runs.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{command}: {output:?}");
        assert!(json(&output)["objects"]["acknowledged"].as_u64() > Some(50), "{command}");
    }
}

#[test]
fn ctrl_c_ends_it_with_what_is_done() {
    let words = ["rehearse", "--example", "--for", "10d", "--seeds", "50", "--json"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_rhumb"))
        .args(words)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Its handler is there before the first run; ten days take far longer than this.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let output = child.wait_with_output().unwrap();
    let document = json(&output);
    assert_eq!(document["seeds"]["asked"], 50);
    assert_eq!(document["notes"][0], "stopped after 0 of 50 runs");
}
