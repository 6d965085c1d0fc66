//! `rhumb rehearse --diff`: two configurations under the same faults, traffic and seeds.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use rhumb_rehearse::{
    objectives::{Verdict, judge},
    report::{Figure, Report, document},
};
use serde_json::json;

use super::{SEEDS, cluster, code, inputs, runs, seeds_of};
use crate::{cli::Rehearse, commands::say, table::table};

/// Runs both.
pub(super) fn run(args: &Rehearse, files: &[PathBuf]) -> Result<ExitCode> {
    let [old, new] = files else { bail!("--diff takes two files") };
    let old_config = cluster::file(old.clone())?;
    let new_config = cluster::file(new.clone())?;
    let before = inputs::read(args, &old_config)?;
    let after = inputs::read(args, &new_config)?;
    let seeds = seeds_of(args, SEEDS);
    let of_old = seeds.clone().map(|seed| (before.rehearsal.clone(), seed));
    let jobs: Vec<_> = of_old.chain(seeds.map(|seed| (after.rehearsal.clone(), seed))).collect();
    let half = jobs.len() / 2;
    let mut done = runs::all(jobs)?;
    let of_new = done.outcomes.split_off(half);
    // Only seeds that both have are compared.
    let pairs = done.outcomes.into_iter().zip(of_new);
    let (of_old, of_new) = pairs.filter_map(|(old, new)| old.zip(new)).unzip();
    let (of_old, of_new) = (Report::new(of_old), Report::new(of_new));
    let old_figures = of_old.figures(&before.rehearsal);
    let new_figures = of_new.figures(&after.rehearsal);
    let verdicts = judge(&after.objectives, &after.rehearsal, &of_new);
    let broken = of_new.runs.iter().any(|run| !run.violations.is_empty());
    let passed = !broken && verdicts.iter().all(|verdict| verdict.held);
    if args.json {
        let document = json!({
            "version": 1,
            "runs": of_new.runs.len(),
            "old": { "file": old, "figures": document(&old_figures), "notes": before.notes },
            "new": { "file": new, "figures": document(&new_figures), "notes": after.notes },
            "passed": passed,
        });
        say(&document.to_string());
        return Ok(code(passed, done.stopped));
    }
    say(&format!("{} runs of each", of_new.runs.len()));
    before.notes.iter().for_each(|note| say(&format!("note on {}: {note}", old.display())));
    after.notes.iter().for_each(|note| say(&format!("note on {}: {note}", new.display())));
    let head = [String::new(), old.display().to_string(), new.display().to_string(), String::new()];
    let rows = rows(&old_figures, &new_figures);
    let head: [&str; 4] = head.each_ref().map(String::as_str);
    table(head, &rows).iter().for_each(|line| say(line));
    missed(&verdicts);
    Ok(code(passed, done.stopped))
}

/// Every figure of both; regions may differ.
fn rows(old: &[Figure], new: &[Figure]) -> Vec<[String; 4]> {
    let mut rows = Vec::new();
    for figure in new {
        let before = old.iter().find(|before| before.name == figure.name);
        let (shown, difference) = match before {
            Some(before) => (before.value.shown(), before.value.difference(figure.value)),
            None => ("-".to_owned(), "new".to_owned()),
        };
        rows.push([figure.label.clone(), shown, figure.value.shown(), difference]);
    }
    let gone = old.iter().filter(|figure| new.iter().all(|it| it.name != figure.name));
    rows.extend(gone.map(|figure| {
        [figure.label.clone(), figure.value.shown(), "-".to_owned(), "gone".to_owned()]
    }));
    rows
}

fn missed(verdicts: &[Verdict]) {
    for verdict in verdicts.iter().filter(|verdict| !verdict.held) {
        let (objective, worst) = (&verdict.objective, verdict.worst.shown());
        say(&format!("MISSED by the new one: {objective}, worst {worst}"));
    }
}
