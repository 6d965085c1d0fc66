//! Which archive is there: the newest manifest whose seal is trusted.

use std::sync::Arc;

use rhumb_pack::{Opened, Root, Trust, limits::MANIFEST_BYTES_MAX};
use rhumb_types::RegionId;
use tokio::{task::JoinSet, time::timeout};

use super::ReceiveError;
use crate::{
    archive::Prefix,
    lane::{Tries, retried},
    limits::{MANIFEST_GRACE, TEXT_BYTES_MAX},
    remote::{Reason, Remote},
};

/// What a region said about the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has the manifest that is used.
    Newest,
    /// It has an older one.
    Older,
    /// It has none.
    Nothing,
    /// It has one that is not taken.
    Refused(String),
    /// It did not answer, or not in time.
    Silent(String),
}

/// The manifest to go by, and what each region said.
pub(super) struct Found {
    pub(super) opened: Opened,
    pub(super) said: Vec<Said>,
}

/// Asks all regions. Once one has answered well, the others have a moment to know of a newer one.
pub(super) async fn find(
    remotes: &[Remote],
    prefix: &Prefix,
    trust: &Arc<Trust>,
    tries: Tries,
) -> Result<Found, ReceiveError> {
    let mut asked = JoinSet::new();
    for (at, remote) in remotes.iter().enumerate() {
        let (remote, key, trust) = (remote.clone(), prefix.manifest(), Arc::clone(trust));
        asked.spawn(async move { (at, ask(&remote, &key, &trust, tries).await) });
    }
    let late = Said::Silent("it did not answer in time".to_owned());
    let mut said = vec![late; remotes.len()];
    let mut opened: Vec<(usize, Opened)> = Vec::new();
    loop {
        let next = asked.join_next();
        let next = if opened.is_empty() {
            next.await
        } else {
            timeout(MANIFEST_GRACE, next).await.unwrap_or_default()
        };
        let Some(Ok((at, answer))) = next else { break };
        match answer {
            Ok(manifest) => opened.push((at, manifest)),
            Err(why) => {
                if let Some(said) = said.get_mut(at) {
                    *said = why;
                }
            }
        }
    }
    let newest = opened.iter().map(|(_, opened)| opened.root.created).max();
    let mut found = None;
    for (at, manifest) in opened {
        let is_newest = Some(manifest.root.created) == newest;
        if let Some(said) = said.get_mut(at) {
            *said = if is_newest { Said::Newest } else { Said::Older };
        }
        if is_newest {
            found = Some(manifest);
        }
    }
    match found {
        Some(opened) => Ok(Found { opened, said }),
        None => Err(ReceiveError::NoManifest(reasons(remotes, &said))),
    }
}

async fn ask(remote: &Remote, key: &str, trust: &Trust, tries: Tries) -> Result<Opened, Said> {
    match retried(tries, || remote.get(key, MANIFEST_BYTES_MAX)).await {
        Ok(bytes) => Root::open(&bytes, trust).map_err(|error| Said::Refused(error.to_string())),
        Err(error) if error.reason == Reason::Missing => Err(Said::Nothing),
        Err(error) => Err(Said::Silent(error.to_string())),
    }
}

fn reasons(remotes: &[Remote], said: &[Said]) -> String {
    let line = |region: &RegionId, said: &Said| match said {
        Said::Newest | Said::Older => format!("{region}: has one"),
        Said::Nothing => format!("{region}: there is none"),
        Said::Refused(why) | Said::Silent(why) => format!("{region}: {why}"),
    };
    let lines = remotes.iter().zip(said).map(|(remote, said)| line(remote.region(), said));
    lines.collect::<Vec<_>>().join("; ").chars().take(TEXT_BYTES_MAX).collect()
}
