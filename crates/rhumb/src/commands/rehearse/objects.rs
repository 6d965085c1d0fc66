//! The objects of a rehearsal, from the command line and the configuration.

use std::{collections::BTreeMap, time::Duration};

use rhumb_config::Config;
use rhumb_rehearse::{
    objects::{self, Downloads, ObjectClients, Objects, Pace},
    text::Source,
    traffic,
};
use rhumb_types::{RegionId, record::BucketDefinition};

use super::inputs::Reader;
use crate::cli::Rehearse;

/// Bytes per second of a megabit per second.
const BYTES_PER_MEGABIT: u64 = 125_000;

impl Reader {
    /// The objects, if any are asked for.
    pub(super) fn objects(
        &mut self,
        args: &Rehearse,
        config: &Config,
        data: &[RegionId],
        lasting: Duration,
    ) -> Option<Objects> {
        let given = &args.objects;
        let uploads = self.shape_of("--uploads", given.uploads.as_deref()?, lasting)?;
        let sizes = Source { name: "--upload-size", text: &given.upload_size };
        let sizes = self.keep(objects::sizes(sizes));
        let near = self.near("--uploads-from", given.uploads_from.as_deref(), data);
        let deletes = self.share("--deletes", &given.deletes);
        let downloads = self.downloads(args, data, lasting);
        let bucket = self.bucket(args);
        let part = self.keep(objects::part(Source { name: "--part", text: &given.part }));
        let line = Source { name: "--client-bandwidth", text: &given.client_bandwidth };
        let line = self.keep(objects::bytes_per_second(line));
        let uplinks = uplinks(config);
        let mut links = links(&uplinks);
        if let Some(text) = given.bandwidth.as_deref() {
            let source = Source { name: "--bandwidth", text };
            links.extend(self.keep(objects::bandwidths(source, data)).unwrap_or_default());
        }
        // What is missing was told of.
        let ((sizes, part), (line, bucket)) = sizes.zip(part).zip(line.zip(bucket))?;
        let clients = ObjectClients {
            bytes_per_second: line,
            part_bytes: part,
            retries: given.upload_retries,
            delay: given.upload_delay,
        };
        let pace = pace(config);
        let objects = Objects {
            uploads,
            near,
            sizes,
            deletes,
            clients,
            downloads,
            bucket,
            pace,
            links,
            uplinks,
        };
        self.refused.extend(objects.is_too_much(lasting));
        Some(objects)
    }

    fn downloads(
        &mut self,
        args: &Rehearse,
        data: &[RegionId],
        lasting: Duration,
    ) -> Option<Downloads> {
        let given = &args.objects;
        let shape = self.shape_of("--downloads", given.downloads.as_deref()?, lasting)?;
        let near = self.near("--downloads-from", given.downloads_from.as_deref(), data);
        let fresh = self.share("--fresh", &given.fresh);
        let downloads = Downloads { shape, near, fresh };
        self.refused.extend(downloads.is_too_much(lasting));
        Some(downloads)
    }

    /// The settings of the bucket.
    fn bucket(&mut self, args: &Rehearse) -> Option<BucketDefinition> {
        let given = &args.objects;
        let policy = Source { name: "--replication", text: &given.replication };
        let replication = self.keep(objects::replication(policy));
        let ack = Source { name: "--object-ack", text: &given.object_ack };
        let ack = self.keep(traffic::ack(ack));
        let (replication, ack) = replication.zip(ack)?;
        let (copies, min_copies) = (given.copies, given.min_copies);
        let bucket = BucketDefinition {
            replication,
            copies,
            min_copies,
            ack,
            ..BucketDefinition::default()
        };
        if let Err(error) = bucket.check() {
            self.refused.push(format!("--{}: {error}", error.setting.replace('_', "-")));
            return None;
        }
        Some(bucket)
    }
}

/// What each region takes from its clients, and gives to them, in bytes per second.
fn uplinks(config: &Config) -> BTreeMap<RegionId, u64> {
    let data = config.registry().regions().iter().filter(|region| !region.witness);
    data.map(|region| {
        let megabits = u64::from(region.capacity.bandwidth.0);
        (region.id.clone(), megabits * BYTES_PER_MEGABIT)
    })
    .collect()
}

/// A link is as wide as the narrower of its ends.
fn links(uplinks: &BTreeMap<RegionId, u64>) -> BTreeMap<(RegionId, RegionId), u64> {
    let mut links = BTreeMap::new();
    for (from, one) in uplinks {
        for (to, other) in uplinks.iter().filter(|(to, _)| *to != from) {
            links.insert((from.clone(), to.clone()), *one.min(other));
        }
    }
    links
}

/// The times of what nodes do, as the configuration sets them.
fn pace(config: &Config) -> Pace {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let settings = &config.settings().objects;
    Pace {
        fetches: settings.fetches,
        copy_retries: settings.retries,
        copy_pause: micros(settings.delay.0),
        copy_wait: micros(settings.copy_wait.0),
        ..Pace::shipped()
    }
}
