//! What is rehearsed, from the command line and its files; or everything that is wrong with them.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use anyhow::Result;
use rhumb_config::Config;
use rhumb_rehearse::{
    jobs::{self, Jobs},
    objectives::{self, Objective},
    prices::{self, Prices},
    rehearsal::{Clients, Finding, Rehearsal, Spread},
    scenario::{self, Scenario, Stage},
    text::{Mistake, Source},
    traffic::{self, Shape, Traffic},
};
use rhumb_types::{AckLevel, Ratio, RegionId, record::QueueDefinition};

use super::{Shared, cluster};
use crate::cli::Rehearse;

/// How long a run takes unless told otherwise.
const LASTING: Duration = Duration::from_secs(60 * 60);
/// The shortest lease of a job.
const VISIBILITY_MIN: Duration = Duration::from_secs(1);
/// The longest run.
const LASTING_MAX: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// What is rehearsed.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) rehearsal: Shared,
    pub(super) objectives: Vec<Objective>,
    /// What a reader of the results should know.
    pub(super) notes: Vec<String>,
}

/// Everything that is wrong with the input, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub(super) struct Refused(pub(super) Vec<String>);

/// Reads everything.
pub(super) fn read(args: &Rehearse, config: &Config) -> Result<Inputs> {
    let regions: Vec<RegionId> =
        config.registry().regions().iter().map(|region| region.id.clone()).collect();
    let data: Vec<RegionId> = config
        .registry()
        .regions()
        .iter()
        .filter(|region| !region.witness)
        .map(|region| region.id.clone())
        .collect();
    let mut reader = Reader { refused: Vec::new() };
    let (shape, lasting) = reader.shape(args);
    let scenario = reader.scenario(args, Stage { regions: &regions, lasting });
    let objectives = reader.objectives(args);
    if args.jobs.jobs.is_none()
        && let Some(of_jobs) = objectives.iter().find(|objective| objective.is_of_jobs())
    {
        reader.refused.push(format!("`{of_jobs}` is asked of jobs; say with --jobs how many come"));
    }
    if args.objects.uploads.is_none()
        && let Some(of_objects) = objectives.iter().find(|objective| objective.is_of_objects())
    {
        let hint = "say with --uploads how many come";
        reader.refused.push(format!("`{of_objects}` is asked of objects; {hint}"));
    }
    let traffic = reader.traffic(args, config, &data, shape);
    let jobs = reader.jobs(args, config, &data, lasting);
    let objects = reader.objects(args, config, &data, lasting);
    let clients = reader.clients(args);
    let prices = reader.prices(args, &regions);
    let capacities = args.cost.capacity.as_deref().map(|text| {
        let source = Source { name: "--capacity", text };
        reader.keep(traffic::capacities(source, &data)).unwrap_or_default()
    });
    if let Some(page) = &args.html {
        reader.writable(page);
    }
    if !reader.refused.is_empty() {
        return Err(Refused(reader.refused).into());
    }
    let mut notes = cluster::notes(config);
    let unknown = prices.unknown(&regions);
    if !unknown.is_empty() {
        notes.push(format!(
            "the cost is without {}, whose price is not known; give it with --prices",
            unknown.join(", ")
        ));
    }
    let nodes = cluster::nodes(config, &capacities.unwrap_or_default())?;
    let elections = Some(cluster::elections(config));
    let spread = if args.clients.constant_delays { Spread::None } else { Spread::Cloud };
    let rehearsal = Rehearsal {
        nodes,
        clients,
        traffic,
        jobs,
        objects,
        scenario,
        prices,
        elections,
        spread,
        lasting,
    };
    Ok(Inputs { rehearsal: Arc::new(rehearsal), objectives, notes })
}

/// Reads on after a mistake, so that all are told.
pub(super) struct Reader {
    pub(super) refused: Vec<String>,
}

impl Reader {
    pub(super) fn keep<T>(&mut self, read: Result<T, Vec<Mistake>>) -> Option<T> {
        let mistakes = match read {
            Ok(read) => return Some(read),
            Err(mistakes) => mistakes,
        };
        self.refused.extend(mistakes.iter().map(ToString::to_string));
        None
    }

    fn file(&mut self, file: &Path) -> Option<(String, String)> {
        let name = file.display().to_string();
        match fs::read_to_string(file) {
            Ok(text) => Some((name, text)),
            Err(error) => {
                self.refused.push(format!("{name}:1:1: the file cannot be read: {error}"));
                None
            }
        }
    }

    /// Finds out before the first run, and not after the last, that a file cannot be written.
    fn writable(&mut self, file: &Path) {
        if let Err(error) = fs::File::options().append(true).create(true).open(file) {
            self.refused.push(format!("{}: the file cannot be written: {error}", file.display()));
        }
    }

    /// The texts of a file and of an option that is repeated, with the names of their places.
    fn texts(
        &mut self,
        file: Option<&Path>,
        option: &str,
        given: &[String],
    ) -> Vec<(String, String)> {
        let mut texts: Vec<(String, String)> = Vec::new();
        texts.extend(file.and_then(|file| self.file(file)));
        let many = given.len() > 1;
        for (text, nth) in given.iter().zip(1..) {
            let name = if many { format!("{option} #{nth}") } else { option.to_owned() };
            texts.push((name, text.clone()));
        }
        texts
    }

    /// The shape of the traffic, and how long the rehearsal takes.
    fn shape(&mut self, args: &Rehearse) -> (Shape, Duration) {
        let usual = if args.search { super::search::LASTING } else { LASTING };
        let asked = args.lasting;
        let option = match (&args.traffic.rps, &args.traffic.traffic) {
            (Some(rate), _) => Some(("--rps", rate)),
            (None, Some(shape)) => Some(("--traffic", shape)),
            (None, None) => None,
        };
        let mut shape = Traffic::default().shape;
        let mut lasting = asked.unwrap_or(usual);
        if let Some((name, text)) = option {
            let read = if name == "--traffic" {
                self.shape_of(name, text, asked.unwrap_or_default())
            } else {
                self.keep(traffic::shape(Source { name, text }))
            };
            if let Some(read) = read {
                lasting = asked.or_else(|| read.measured_for()).unwrap_or(usual);
                shape = read;
            }
        }
        if lasting.is_zero() || lasting > LASTING_MAX {
            self.refused.push("--for: a rehearsal takes more than 0s, and up to 31d".to_owned());
        }
        (shape, lasting)
    }

    /// A shape in words, or as it was measured.
    pub(super) fn shape_of(&mut self, name: &str, text: &str, lasting: Duration) -> Option<Shape> {
        if !text.ends_with(".csv") && !Path::new(text).is_file() {
            return self.keep(traffic::shape(Source { name, text }));
        }
        let (name, text) = self.file(Path::new(text))?;
        self.keep(traffic::measured(Source { name: &name, text: &text }, lasting))
    }

    fn scenario(&mut self, args: &Rehearse, stage: Stage<'_>) -> Scenario {
        let events = &args.events;
        let texts = self.texts(events.scenario.as_deref(), "--fault", &events.fault);
        let read = scenario::parse(&sources(&texts), stage);
        self.keep(read).unwrap_or_default()
    }

    fn objectives(&mut self, args: &Rehearse) -> Vec<Objective> {
        let events = &args.events;
        let texts = self.texts(events.objectives.as_deref(), "--objective", &events.objective);
        let read = objectives::parse(&sources(&texts));
        self.keep(read).unwrap_or_default()
    }

    fn traffic(
        &mut self,
        args: &Rehearse,
        config: &Config,
        data: &[RegionId],
        shape: Shape,
    ) -> Traffic {
        let given = &args.traffic;
        let near = self.near("--from", given.from.as_deref(), data);
        let ack = given.ack.as_deref();
        let acks = ack.and_then(|text| self.keep(traffic::acks(Source { name: "--ack", text })));
        let value_bytes = u32::try_from(given.value.0).unwrap_or_else(|_| {
            self.refused.push("--value: a value has less than 4 GiB".to_owned());
            0
        });
        Traffic {
            shape,
            near,
            writes: self.share("--writes", &given.writes),
            acks: acks.unwrap_or_else(|| vec![(configured_ack(config), Ratio::ONE)]),
            keys: given.keys,
            hot: self.share("--hot", &given.hot),
            value_bytes,
        }
    }

    /// The jobs, if any are asked for.
    fn jobs(
        &mut self,
        args: &Rehearse,
        config: &Config,
        data: &[RegionId],
        lasting: Duration,
    ) -> Option<Jobs> {
        let given = &args.jobs;
        let shape = self.shape_of("--jobs", given.jobs.as_deref()?, lasting)?;
        if let Some(peak) = jobs::peak_is_too_high(&shape, lasting) {
            let most = jobs::RATE_MAX;
            self.refused.push(format!(
                "--jobs: {peak} jobs per second are too many; up to {most} are rehearsed, because each \
                 is simulated by itself: rehearse a part of them, with a part of the workers"
            ));
        }
        let near = self.near("--jobs-from", given.jobs_from.as_deref(), data);
        let takes = Source { name: "--job-takes", text: &given.job_takes };
        let takes = self.keep(jobs::takes(takes));
        let mut workers: BTreeMap<RegionId, u32> = config
            .registry()
            .regions()
            .iter()
            .filter(|region| !region.witness)
            .map(|region| (region.id.clone(), region.capacity.jobs.min(jobs::WORKERS_MAX)))
            .collect();
        if let Some(text) = given.workers.as_deref() {
            let source = Source { name: "--workers", text };
            workers.extend(self.keep(jobs::workers(source, data)).unwrap_or_default());
        }
        let ack = self.keep(traffic::ack(Source { name: "--job-ack", text: &given.job_ack }));
        if given.visibility < VISIBILITY_MIN {
            self.refused.push("--visibility: a worker has a job for 1s at least".to_owned());
        }
        // What is missing was told of.
        let (takes, ack) = takes.zip(ack)?;
        let definition =
            QueueDefinition { visibility: given.visibility, ack, ..QueueDefinition::default() };
        let limits = |region: &RegionId| (region.clone(), config.spillover_of(region));
        let spillover = data.iter().map(limits).collect();
        Some(Jobs { shape, near, takes, workers, definition, spillover })
    }

    /// Which share of something is near each region.
    pub(super) fn near(
        &mut self,
        name: &str,
        text: Option<&str>,
        data: &[RegionId],
    ) -> BTreeMap<RegionId, Ratio> {
        let near = text.and_then(|text| self.keep(traffic::near(Source { name, text }, data)));
        near.unwrap_or_default()
    }

    pub(super) fn share(&mut self, name: &str, text: &str) -> Ratio {
        self.keep(traffic::share(Source { name, text })).unwrap_or_default()
    }

    fn clients(&mut self, args: &Rehearse) -> Clients {
        let given = &args.clients;
        let ignoring = self.share("--dns-ignore", &given.dns_ignore);
        let finding = given.dns_ttl.map_or(Finding::List, |ttl| Finding::Dns {
            ttl,
            ignoring,
            kept: given.dns_kept,
        });
        if given.client_timeout.is_zero() {
            self.refused.push("--client-timeout: clients wait for more than 0s".to_owned());
        }
        let (timeout, retries) = (given.client_timeout, given.retries);
        Clients { finding, seats: given.processes, timeout, retries, slow: given.slow }
    }

    fn prices(&mut self, args: &Rehearse, regions: &[RegionId]) -> Prices {
        let listed = prices::listed(regions);
        let file = args.cost.prices.as_deref().and_then(|file| self.file(file));
        match file {
            None => listed,
            Some((name, text)) => {
                let source = Source { name: &name, text: &text };
                self.keep(prices::parse(source, regions, listed)).unwrap_or_default()
            }
        }
    }
}

fn sources(texts: &[(String, String)]) -> Vec<Source<'_>> {
    texts.iter().map(|(name, text)| Source { name, text }).collect()
}

/// How keys are acknowledged that no namespace names.
fn configured_ack(config: &Config) -> AckLevel {
    let rest = config.namespaces().iter().find(|namespace| namespace.prefix.is_empty());
    rest.map_or_else(AckLevel::default, |namespace| namespace.ack)
}
