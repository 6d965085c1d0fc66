//! What a shipment would do: how much there is, what it is likely to shrink to, and where it would go.

use std::{collections::BTreeSet, fs::File, os::unix::fs::FileExt as _, path::Path};

use bytes::Bytes;
use rhumb_pack::{ChunkHash, PlainChunk, Sealed};
use rhumb_types::RegionId;

use super::{Settings, ShipError, copies, survey};
use crate::{
    archive::{Part, Prefix},
    limits::{LEVEL_FIRST, LEVELS, SAMPLE_BYTES, SAMPLES_MAX},
    read::ReadError,
    remote::Remote,
    walk::{Walk, WalkError},
};

/// Bytes between two samples at first; doubles with every [`SAMPLES_MAX`] of them.
const STRIDE_FIRST: u64 = 4 << 20;

/// What a tree is likely to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Regular files.
    pub files: u64,
    /// Directories, with the top.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes that were compressed to estimate from,
    pub sampled: u64,
    /// and what they became.
    pub sampled_packed: u64,
}

impl Estimate {
    /// Bytes that would be sent to each region, if it had nothing.
    #[must_use]
    pub fn packed(&self) -> u64 {
        let all = u128::from(self.bytes) * u128::from(self.sampled_packed);
        all.checked_div(u128::from(self.sampled))
            .map_or(self.bytes, |packed| u64::try_from(packed).unwrap_or(u64::MAX))
    }
}

/// What would become of one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionPlan {
    /// The region.
    pub region: RegionId,
    /// Whether it would be sent to; else it would take the place of another, or does not answer.
    pub chosen: bool,
    /// Packs that it has under the prefix. Those that the tree still makes would not be sent again.
    pub packs: u64,
    /// Why it does not answer.
    pub silent: Option<String>,
}

/// Looks through a tree, asks the regions what they have, and sends nothing.
///
/// # Errors
/// When the tree cannot be looked through, or too few regions answer.
pub async fn rehearse(
    top: &Path,
    remotes: Vec<Remote>,
    prefix: &Prefix,
    settings: Settings,
) -> Result<(Estimate, Vec<RegionPlan>), ShipError> {
    let (wanted, enough) = copies(&settings, remotes.len())?;
    let survey = survey(&remotes, prefix, &settings, enough).await?;
    let top = top.to_owned();
    let estimate = tokio::task::spawn_blocking(move || estimate(&top)).await?;
    let chosen = survey.order.get(..wanted).unwrap_or(&survey.order);
    let plan = |(remote, said): &(Remote, Result<BTreeSet<Part>, String>)| {
        let is_pack = |part: &&Part| matches!(part, Part::Pack(_));
        let packs = said.as_ref().map_or(0, |has| has.iter().filter(is_pack).count() as u64);
        let (region, silent) = (remote.region().clone(), said.as_ref().err().cloned());
        RegionPlan { chosen: chosen.contains(&region), region, packs, silent }
    };
    Ok((estimate.map_err(ReadError::from)?, survey.regions.iter().map(plan).collect()))
}

fn estimate(top: &Path) -> Result<Estimate, WalkError> {
    let mut estimate = Estimate::default();
    let (mut next, mut stride, mut samples) = (0, STRIDE_FIRST, 0);
    for found in Walk::new(top)? {
        let found = found?;
        let kind = found.metadata.file_type();
        estimate.directories += u64::from(kind.is_dir());
        estimate.links += u64::from(kind.is_symlink());
        if !kind.is_file() {
            continue;
        }
        estimate.files += 1;
        let begin = estimate.bytes;
        estimate.bytes += found.metadata.len();
        let mut file = None;
        while next < estimate.bytes {
            let file = file.get_or_insert_with(|| File::open(&found.real).ok());
            // What cannot be read is found when it is shipped.
            if let Some(sample) = file.as_ref().and_then(|file| sample(file, next - begin)) {
                estimate.sampled += sample.bytes.len() as u64;
                let level = LEVELS.get(LEVEL_FIRST).copied().unwrap_or(1);
                estimate.sampled_packed += Sealed::new(&sample, level).stored() as u64;
            }
            samples += 1;
            if samples % SAMPLES_MAX == 0 {
                stride *= 2;
            }
            next += stride;
        }
        next = next.max(estimate.bytes);
    }
    Ok(estimate)
}

fn sample(file: &File, offset: u64) -> Option<PlainChunk> {
    let mut bytes = vec![0; SAMPLE_BYTES];
    let read = file.read_at(&mut bytes, offset).ok()?;
    bytes.truncate(read);
    let bytes = Bytes::from(bytes);
    (read > 0).then(|| PlainChunk { hash: ChunkHash::of(&bytes), bytes })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_estimate_is_near_what_it_becomes() {
        let top = tempfile::tempdir().unwrap();
        let mut noise = vec![0; 20 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        fs::write(top.path().join("noise"), &noise).unwrap();
        fs::write(top.path().join("zeros"), vec![0; 20 << 20]).unwrap();
        let estimate = estimate(top.path()).unwrap();
        assert_eq!((estimate.files, estimate.directories, estimate.bytes), (2, 1, 40 << 20));
        let packed = estimate.packed();
        assert!((15 << 20..25 << 20).contains(&packed), "{packed}");
        assert_eq!(Estimate { bytes: 7, ..Estimate::default() }.packed(), 7);
    }
}
