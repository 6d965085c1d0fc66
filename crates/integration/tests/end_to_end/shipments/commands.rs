//! What the commands say and take: plans, tables, progress, standard input and output, and limits.

#![expect(clippy::indexing_slicing, reason = "tables and lines have what the test asks for")]

use std::{collections::BTreeSet, io::Write as _};

use super::*;

/// What lists and answers take, and no archive does.
const TALK_BYTES: u64 = 256 << 10;

#[test]
fn commands_say_what_they_will_do_and_what_they_did() {
    let world = World::new();
    let from = tree(5);
    a_dry_run_names_regions_size_and_cost_and_sends_nothing(&world, from.path());
    the_table_has_a_row_for_each_region(&world, from.path());
    a_terminal_shows_how_far_each_region_is(&world, from.path());
    a_stream_goes_there_and_back(&world);
    a_region_gets_no_more_requests_than_its_capacity(&world, from.path());
}

fn a_dry_run_names_regions_size_and_cost_and_sends_nothing(world: &World, from: &Path) {
    let (source, own) = (from.to_str().unwrap(), world.cluster.region(0));
    let before: u64 = world.lines.iter().map(Line::carried).sum();
    let words = ["ship", source, "backup/plan", "--dry-run", "--copies", "2", "--from", own];
    let plan = json(&works(world.run(&[&words[..], &["--json"]].concat())));
    assert_eq!((number(&plan, "/files"), number(&plan, "/directories")), (2, 2), "{plan}");
    let (bytes, packed) = (number(&plan, "/bytes"), number(&plan, "/packed_bytes_estimate"));
    assert_eq!(bytes, (LARGE_BYTES + "a small file".len()) as u64);
    // Noise does not shrink.
    assert!((bytes - bytes / 20..=bytes).contains(&packed), "{plan}");
    // Two of three, whichever answered first; what goes to another region costs.
    let regions = at(&plan, "/regions").as_array().unwrap();
    let names: BTreeSet<&str> =
        regions.iter().map(|it| at(it, "/region").as_str().unwrap()).collect();
    assert_eq!(names, (0..REGIONS).map(|nth| world.cluster.region(nth)).collect());
    let chosen = regions.iter().filter(|it| *at(it, "/chosen") == true);
    let costs: Vec<u64> = chosen.map(|it| number(it, "/cost_micro_dollars")).collect();
    assert_eq!((costs.len(), costs.iter().sum::<u64>()), (2, number(&plan, "/cost_micro_dollars")));
    for region in regions {
        let cost = number(region, "/cost_micro_dollars");
        assert_eq!(cost == 0, at(region, "/region") == own, "{plan}");
    }
    let told = works(world.run(&words));
    assert!(told.contains("would be sent to") && told.contains(" USD"), "{told}");
    assert!(told.contains(&format!("traffic from {own}: 0.0")), "{told}");
    let after: u64 = world.lines.iter().map(Line::carried).sum();
    assert!(after - before < TALK_BYTES, "{} bytes were sent", after - before);
    (0..REGIONS).for_each(|nth| assert_eq!(world.keys("backup/plan", nth), Vec::<String>::new()));
}

fn the_table_has_a_row_for_each_region(world: &World, from: &Path) {
    let words = ["ship", from.to_str().unwrap(), "backup/table", "--quiet"];
    let shipped = world.run(&words);
    // What is left on standard error says only that a key was made for this user.
    let noted = String::from_utf8(shipped.stderr.clone()).unwrap();
    assert!(!noted.contains("MiB"), "{noted}");
    let told = works(shipped);
    let lines: Vec<&str> = told.lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[0])[..3], ["region", "result", "sent"], "{told}");
    for nth in 0..REGIONS {
        let row = words(lines[1 + nth]);
        assert_eq!(row[..2], [world.cluster.region(nth), "complete"], "{told}");
        assert!(row[2].parse::<f64>().unwrap() > 119.0 && row[3] == "MiB", "{told}");
    }
    assert!(
        lines[1 + REGIONS].starts_with("2 files, 2 directories, 0 links, 120.0 MiB in "),
        "{told}"
    );
    assert!(lines[2 + REGIONS].starts_with("signed by "), "{told}");
    assert_eq!(lines[3 + REGIONS], "done: 3 copies", "{told}");
    // Again: all of it is there.
    let again = works(world.run(&["ship", from.to_str().unwrap(), "backup/table", "--quiet"]));
    let row = words(again.lines().nth(1).unwrap());
    assert_eq!(row[2..5], ["0", "B", "0"], "{again}");
}

fn a_terminal_shows_how_far_each_region_is(world: &World, from: &Path) {
    if Command::new("script").arg("--version").output().is_err() {
        crate::skipped("there is no `script` to make a terminal");
        return;
    }
    world.lines.iter().for_each(|line| line.slow_down(16 << 20));
    let ship = world.command(&["ship", from.to_str().unwrap(), "backup/shown"]);
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
    let words = std::iter::once(ship.get_program()).chain(ship.get_args()).map(quoted);
    let line = words.collect::<Vec<_>>().join(" ");
    let mut script = Command::new("script");
    script.args(["-qefc", &format!("stty cols 200; {line}"), "/dev/null"]);
    script.stdin(Stdio::null()).env("HOME", world.home.path()).env("TERM", "xterm");
    let shown = works(script.output().unwrap());
    world.lines.iter().for_each(|line| line.slow_down(0));
    assert!(
        shown.contains("data ") && shown.contains("ETA ") && shown.contains("MiB/s"),
        "{shown}"
    );
    for nth in 0..REGIONS {
        let region = world.cluster.region(nth);
        // Its bar, drawn again and again; the row of the table has another text.
        let is_bar = |rest: &&str| rest.chars().take(90).collect::<String>().contains(" objects, ");
        let drawn = shown.split(region).skip(1).filter(is_bar).count();
        assert!(drawn > 2, "{region}: {shown}");
    }
    assert!(shown.contains("done: 3 copies"), "{shown}");
}

fn a_stream_goes_there_and_back(world: &World) {
    let sent = noise(6, 40 << 20);
    let mut shipping =
        world.command(&["ship", "-", "backup/app.sql", "--name", "app.sql", "--json"]);
    let mut child = shipping.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&sent).unwrap();
    drop(input);
    let report = json(&works(child.wait_with_output().unwrap()));
    assert_eq!((number(&report, "/copies"), number(&report, "/bytes")), (3, sent.len() as u64));
    let back = world.run(&["receive", "backup/app.sql", "-", "--quiet"]);
    assert!(back.status.success() && back.stdout == sent, "{} bytes", back.stdout.len());
    let said = String::from_utf8(back.stderr).unwrap();
    assert!(said.contains("restored, and every byte verified"), "{said}");
    let folder = TempDir::new().unwrap();
    works(world.run(&["receive", "backup/app.sql", folder.path().to_str().unwrap(), "--quiet"]));
    assert!(fs::read(folder.path().join("app.sql")).unwrap() == sent);
    // What has not been written yet cannot be looked at.
    let refused = fails(world.run(&["ship", "-", "backup/none", "--dry-run"]));
    assert!(refused.contains("stream"), "{refused}");
}

fn a_region_gets_no_more_requests_than_its_capacity(world: &World, from: &Path) {
    let told = fs::read_to_string(world.config()).unwrap();
    let limited = world.endpoint(0).replace(" } }", " }, capacity: { concurrent_uploads: 1 } }");
    fs::write(world.config(), told.replace(&world.endpoint(0), &limited)).unwrap();
    let most = || world.lines.iter().map(Line::requests_most).collect::<Vec<_>>();
    // Each for as long that others could begin beside it.
    world.lines.iter().for_each(|line| line.slow_down(40 << 20));
    let (source, _before) = (from.to_str().unwrap(), most());
    let ship = |to: &str, more: &[&str]| {
        works(world.run(&[&["ship", source, to, "--quiet"], more].concat()));
        most()
    };
    let usual = ship("backup/capacity", &[]);
    assert!(usual[0] == 1 && usual[1] > 1 && usual[2] > 1, "{usual:?}");
    // The command line lowers it for all, and raises it for none.
    let lowered = ship("backup/lowered", &["--concurrency", "1"]);
    assert_eq!(lowered, [1, 1, 1]);
    let raised = ship("backup/raised", &["--concurrency", "32"]);
    assert!(raised[0] == 1 && raised[1] > 1, "{raised:?}");
    world.lines.iter().for_each(|line| line.slow_down(0));
    fs::write(world.config(), told).unwrap();
}
