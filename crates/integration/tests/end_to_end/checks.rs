//! An operator's own checks and commands: what fails is found out, and what is asked for is run.

use std::{fs, path::Path, time::Duration};

use redis::Commands;
use rhumb_config::{
    Period,
    settings::{CheckSettings, Checker, HookSettings, VerifySettings},
};
use rhumb_integration::{Cluster, Layout, READY_WAIT_MAX, eventually};
use rhumb_regions::Capability;
use rhumb_types::control::FailoverStep;

use crate::{at, holder, json, observed, rhumb, wait_for_duties, works};

/// How often parts are checked.
const OFTEN: Duration = Duration::from_millis(300);

fn words(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|word| (*word).to_owned()).collect())
}

fn check(command: Option<Vec<String>>, from: Checker, vital: bool) -> CheckSettings {
    let (interval, timeout) = (Period(OFTEN), Some(Period(OFTEN)));
    CheckSettings { http: None, tcp: None, command, from, vital, interval, timeout }
}

/// Three regions whose parts work while files are there.
fn cluster(folder: &Path) -> Cluster {
    let folder = folder.display().to_string();
    let configure = move |settings: &mut rhumb_config::Settings| {
        let api = format!("test -e {folder}/api-$RHUMB_CHECKED_REGION");
        let site = format!("{folder}/site-{{region}}");
        let part = |name: &str| Capability::new(name).unwrap();
        settings.health.checks = [
            (part("api"), check(words(&["sh", "-c", &api]), Checker::Region, true)),
            (part("site"), check(words(&["test", "-e", &site]), Checker::Peers, false)),
        ]
        .into();
        let promote =
            format!("env | grep RHUMB_FAILOVER > {folder}/told && touch {folder}/promoted");
        let promoted = format!("{folder}/promoted");
        let verify =
            VerifySettings { http: None, tcp: None, command: words(&["test", "-e", &promoted]) };
        let command = words(&["sh", "-c", &promote]);
        let hook = HookSettings { http: None, command, timeout: None, verify: Some(verify) };
        settings.failover.hooks = [(FailoverStep::TakeOver, hook)].into();
    };
    Layout::regions(3).adjust(configure).prepare().unwrap()
}

/// What a region cannot do, as another says.
fn lost(cluster: &Cluster, asked: usize, nth: usize) -> Vec<String> {
    let regions = json(&works(rhumb(cluster, asked, &["regions", "--json"])));
    let regions = at(&regions, "/regions").as_array().unwrap();
    let own = regions.iter().find(|region| at(region, "/region") == cluster.region(nth)).unwrap();
    let lost = at(own, "/lost").as_array().unwrap();
    lost.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_region_whose_service_fails_is_failed_over_and_a_command_is_run_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = cluster(folder.path());
    let file = |part: &str, nth: usize| format!("{part}-{}", cluster.region(nth));
    let (api, site) = (file("api", 2), file("site", 1));
    for nth in 0..3 {
        for part in ["api", "site"] {
            fs::write(folder.path().join(file(part, nth)), "").unwrap();
        }
    }
    for nth in 0..3 {
        cluster.start(nth).unwrap();
    }
    cluster.wait_until_linked(0..3).unwrap();
    wait_for_duties(&cluster, 0..3);

    // A part is lost: only what needs it goes elsewhere.
    fs::remove_file(folder.path().join(site)).unwrap();
    eventually(READY_WAIT_MAX, || {
        let lost = [lost(&cluster, 0, 1), lost(&cluster, 2, 1)];
        anyhow::ensure!(lost.iter().all(|lost| lost == &["site"]), "{lost:?}");
        Ok(())
    })
    .unwrap();
    assert_eq!(holder(&cluster, 0, 1), cluster.region(1));
    assert!(!folder.path().join("told").exists());

    // A vital one: the region is failed over, and still serves its state.
    fs::remove_file(folder.path().join(&api)).unwrap();
    eventually(READY_WAIT_MAX, || {
        let holder = holder(&cluster, 0, 2);
        anyhow::ensure!(!holder.is_empty() && holder != cluster.region(2), "`{holder}` holds it");
        let told = fs::read_to_string(folder.path().join("told"))?;
        for fact in ["KIND=failover", "STEP=take_over", &format!("REGION={}", cluster.region(2))] {
            anyhow::ensure!(told.contains(&format!("RHUMB_FAILOVER_{fact}\n")), "{fact}: {told}");
        }
        Ok(())
    })
    .unwrap();
    let () = cluster.connect(2).unwrap().set("still", "served").unwrap();
    let page = observed::page(cluster.http(0), "/metrics");
    let number = |name: &str| {
        observed::value(&page, &format!("rhumb_{name}{{region=\"{}\"}}", cluster.region(2)))
    };
    assert_eq!(number("failovers_total"), 1);
    assert!(number("peer_sent_bytes_total") > 0 && number("peer_received_bytes_total") > 0);

    fs::write(folder.path().join(&api), "").unwrap();
    wait_for_duties(&cluster, 2..3);
}
