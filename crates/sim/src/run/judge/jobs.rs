//! Jobs at the end: all that were taken in have ended in every region.

use std::collections::BTreeSet;

use rhumb_ports::store::{Range, ReadStore};
use rhumb_types::record::{Ending, Job, JobId, JobKey, Progress, Record, job::JOBS};

use super::Run;
use crate::check::{Check, Violation};

impl Run {
    /// Whether every job that was taken in has ended everywhere.
    pub(in crate::run) fn jobs_are_over(&self) -> bool {
        let Some(jobs) = &self.work.jobs else { return true };
        if !self.given_up().is_empty() {
            return true;
        }
        let ended: Result<Vec<_>, _> = self.hosts().map(|host| self.ended(host)).collect();
        ended.is_ok_and(|ended| jobs.promises.are_over(&ended))
    }

    /// What was promised of jobs, and that what died is among the dead letters.
    pub(in crate::run) fn judge_jobs(&mut self) -> Result<(), Violation> {
        // The jobs of a region that waits for a person wait with it.
        if self.work.jobs.is_none() || !self.given_up().is_empty() {
            return Ok(());
        }
        let ended: Result<Vec<_>, _> = self.hosts().map(|host| self.ended(host)).collect();
        let ended = ended.map_err(|what| Violation { check: Check::Kept, what })?;
        let Some(jobs) = &mut self.work.jobs else { return Ok(()) };
        jobs.judge(&self.world, &ended).map_err(|(check, what)| Violation { check, what })
    }

    fn hosts(&self) -> std::ops::Range<usize> {
        0..self.world.hosts.len()
    }

    /// The jobs that have ended, as a host knows it. One that goes on as another here must be that.
    fn ended(&self, host: usize) -> Result<BTreeSet<JobId>, String> {
        let process = self.world.hosts.get(host).and_then(|machine| machine.process.as_ref());
        let process = process.ok_or_else(|| format!("host {host} is down"))?;
        let range = Range { after: None, limit: usize::MAX };
        let rows = process.store.owned_rows(JOBS, range).map_err(|error| error.to_string())?;
        let mut ended = BTreeSet::new();
        for row in rows {
            let (Ok(key), Ok(job)) = (JobKey::of_row(&row.id), Job::decode(&row.payload)) else {
                return Err(format!("host {host} has a job that cannot be read: {row:?}"));
            };
            let Progress::Ended { how, .. } = job.progress else { continue };
            if let Ending::Moved { to, region: None, .. } = how {
                let stored = process.store.owned(&to.row()).ok().flatten();
                if stored.is_none() {
                    return Err(format!("{} went on as {}, and that is nowhere", key.id, to.id));
                }
            }
            ended.insert(key.id);
        }
        let forgotten = self.world.forgotten.iter().filter(|(by, _)| *by == host);
        ended.extend(forgotten.filter_map(|(_, row)| JobKey::of_row(row).ok()).map(|key| key.id));
        Ok(ended)
    }
}
