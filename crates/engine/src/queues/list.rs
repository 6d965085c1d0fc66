//! Looking at jobs: from the rows in the store, and from what the machine knows of them.

use rhumb_ports::store::{Range, StoreError};
use rhumb_queue::{Place, Refused, Whereabouts};
use rhumb_types::record::{Job, JobId, JobKey, OwnedRow, OwnedState, QueueName, Record, job::JOBS};
use tokio::sync::oneshot;

use super::{
    client::{JobSummary, JobView, QueueClient},
    driver::Look,
};
use crate::limits::{LIST_PAGE_ROWS, LIST_PAGES_MAX};

impl QueueClient {
    /// A job, ended or not.
    ///
    /// # Errors
    /// [`Refused`] when its row cannot be read.
    pub async fn job(&self, key: &JobKey) -> Result<Option<JobView>, Refused> {
        let row = self.engine().shared().store.owned(&key.row()).map_err(|it| unreadable(&it))?;
        let Some(row) = row else { return Ok(None) };
        let job = Job::decode(&row.payload)
            .map_err(|error| Refused::Unavailable(error.to_string().into()))?;
        let (answer, answered) = oneshot::channel();
        let found = self.look(Look::Whereabouts(vec![key.clone()], answer), answered).await;
        let whereabouts = found.and_then(|all| all.into_iter().next()).flatten();
        Ok(Some(JobView { job, home: row.home, pinned: row.pinned, whereabouts }))
    }

    /// Jobs of a queue that have not ended, in the order of their ids, after one, at most so many; only
    /// those in a place where one is named.
    ///
    /// # Errors
    /// [`Refused`] when the rows cannot be read.
    pub async fn jobs(
        &self,
        queue: &QueueName,
        place: Option<Place>,
        after: Option<JobId>,
        jobs_max: usize,
    ) -> Result<Vec<JobSummary>, Refused> {
        let start = JobKey { queue: queue.clone(), id: after.unwrap_or_default() }.row().key;
        // Ids are 16 bytes: without one the list starts at what stands before all of them.
        let mut after = match after {
            Some(_) => start,
            None => start.slice(..start.len() - size_of::<JobId>()),
        };
        let mut found = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let range = Range { after: Some(after.clone()), limit: LIST_PAGE_ROWS };
            let rows = self.engine().shared().store.owned_rows(JOBS, range);
            let rows = rows.map_err(|error| unreadable(&error))?;
            let read = rows.len();
            let last = rows.last().map(|row| row.id.key.clone());
            let mine: Vec<(JobKey, OwnedRow)> = rows
                .into_iter()
                .map_while(|row| Some((JobKey::of_row(&row.id).ok()?, row)))
                .take_while(|(key, _)| key.queue == *queue)
                .collect();
            let ends = mine.len() < LIST_PAGE_ROWS || read < LIST_PAGE_ROWS;
            found.extend(self.summaries(mine, place).await);
            match last.filter(|_| !ends && found.len() < jobs_max) {
                Some(last) => after = last,
                None => break,
            }
        }
        found.truncate(jobs_max);
        Ok(found)
    }

    async fn summaries(
        &self,
        rows: Vec<(JobKey, OwnedRow)>,
        place: Option<Place>,
    ) -> Vec<JobSummary> {
        let rows: Vec<_> =
            rows.into_iter().filter(|(_, row)| row.state != OwnedState::Done).collect();
        let keys = rows.iter().map(|(key, _)| key.clone()).collect();
        let (answer, answered) = oneshot::channel();
        let found = self.look(Look::Whereabouts(keys, answer), answered).await.unwrap_or_default();
        let summary = |((key, row), whereabouts): ((JobKey, OwnedRow), Option<Whereabouts>)| {
            let whereabouts =
                whereabouts.filter(|it| place.is_none_or(|place| it.place == place))?;
            let job = Job::decode(&row.payload).ok()?;
            Some(JobSummary {
                id: key.id,
                whereabouts,
                priority: job.priority,
                group: job.group,
                enqueued_at: job.enqueued_at,
                last_failure: job.last_failure,
                body_bytes: job.body.len(),
            })
        };
        rows.into_iter().zip(found).filter_map(summary).collect()
    }
}

fn unreadable(error: &StoreError) -> Refused {
    Refused::Unavailable(error.to_string().into())
}
