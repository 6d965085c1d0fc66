//! `rhumb init`: the authority of a new cluster, and the identities of its first nodes.
//!
//! Nothing is ever overwritten: a second authority would split the cluster, and a second identity
//! would lock a node out of its own data.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail, ensure};
use rhumb_config::Config;
use rhumb_peer::{ClusterAuthority, Identities};
use rhumb_types::RegionId;

use super::{say, serve::load};
use crate::{
    cli::Init,
    folders,
    founding::{self, Made},
    table::table,
    when,
};

/// A configuration to start from.
const SAMPLE: &str = include_str!("init/sample.yaml");

/// What was made, and where.
#[derive(Debug)]
struct Founded {
    authority: PathBuf,
    cluster: String,
    made: Vec<Made>,
}

/// Makes what is missing, and says what to do with it.
pub(crate) fn run(args: &Init) -> Result<ExitCode> {
    let file = &args.config.config;
    if args.sample {
        write_sample(file)?;
        say(&format!("{} is there: set the regions and their addresses, then", file.display()));
        say(&format!("  rhumb init --config {}", file.display()));
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(
        file.exists(),
        "there is no {}: `rhumb init --sample --config {}` writes one to start from",
        file.display(),
        file.display()
    );
    let config = load(&args.config)?;
    let out = args.out.as_ref().unwrap_or(&config.settings().data);
    let founded = match &args.region {
        None => begin(&config, out)?,
        Some(region) => add(&config, out, region)?,
    };
    if args.json {
        say(&serde_json::to_string_pretty(&as_json(&founded))?);
    } else {
        explain(&config, args, &founded);
    }
    Ok(ExitCode::SUCCESS)
}

fn write_sample(file: &Path) -> Result<()> {
    let mut created = match OpenOptions::new().write(true).create_new(true).open(file) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is there already, and is left as it is", file.display())
        }
        other => other.with_context(|| format!("create {}", file.display()))?,
    };
    created.write_all(SAMPLE.as_bytes()).with_context(|| format!("write {}", file.display()))
}

/// A new cluster, with an identity for each of its regions.
fn begin(config: &Config, out: &Path) -> Result<Founded> {
    let regions = || config.settings().regions.keys();
    if let Some(authority) = folders::authority_of_any(out, regions()) {
        bail!(
            "{} holds a cluster's authority already. For one more node use `rhumb init --region \
             REGION` here or `rhumb join-token`; to make a new cluster move that folder away",
            authority.display()
        );
    }
    for region in regions() {
        refuse_second(out, region)?;
    }
    let folder = folders::authority(out);
    let authority = founding::found(&folder)?;
    let made =
        regions().map(|region| issue(&authority, out, region)).collect::<Result<_>>().context(
            "the authority is made, and not every identity: `rhumb init --region` makes one",
        )?;
    Ok(Founded { authority: folder, cluster: authority.cluster().to_string(), made })
}

/// One more identity.
fn add(config: &Config, out: &Path, region: &RegionId) -> Result<Founded> {
    let regions = &config.settings().regions;
    ensure!(
        regions.contains_key(region),
        "{region} is not among the regions of the file: {}",
        names(regions.keys())
    );
    let folder = folders::authority_of_any(out, regions.keys()).with_context(|| {
        format!(
            "there is no authority in {}: `rhumb init` without --region begins a cluster, and \
             `rhumb join-token` works on the machine that holds the authority",
            folders::authority(out).display()
        )
    })?;
    refuse_second(out, region)?;
    let authority = ClusterAuthority::load(&folder)?;
    let made = issue(&authority, out, region)?;
    let cluster = authority.cluster().to_string();
    Ok(Founded { authority: folder, cluster, made: vec![made] })
}

fn issue(authority: &ClusterAuthority, out: &Path, region: &RegionId) -> Result<Made> {
    founding::issue(authority, region, founding::node_id(), folders::identity(out, region))
}

fn refuse_second(out: &Path, region: &RegionId) -> Result<()> {
    let folder = folders::identity(out, region);
    ensure!(
        !Identities::is_in(&folder),
        "{} holds an identity already; move it away to make another",
        folder.display()
    );
    Ok(())
}

fn names<'a>(regions: impl Iterator<Item = &'a RegionId>) -> String {
    regions.map(RegionId::as_str).collect::<Vec<_>>().join(", ")
}

fn as_json(founded: &Founded) -> serde_json::Value {
    let identities = founded.made.iter().map(|made| {
        serde_json::json!({
            "region": made.identity.region,
            "node": made.identity.node.to_string(),
            "folder": made.folder,
            "expires_unix": when::unix_seconds(made.until),
        })
    });
    serde_json::json!({
        "cluster": founded.cluster,
        "authority": founded.authority,
        "identities": identities.collect::<Vec<_>>(),
    })
}

fn explain(config: &Config, args: &Init, founded: &Founded) {
    say(&format!(
        "cluster {}: its authority is in {}",
        founded.cluster,
        founded.authority.display()
    ));
    say("");
    let rows: Vec<[String; 4]> = founded.made.iter().map(row).collect();
    table(["region", "node", "identity", "until"], &rows).iter().for_each(|line| say(line));
    say("");
    say("Next:");
    say("  1. Copy the file and each node's folder to its machine, then remove the copy here:");
    let data = config.settings().data.display();
    for made in &founded.made {
        let region = &made.identity.region;
        let address = config.settings().regions.get(region).map(|it| it.address.as_str());
        let host = address.and_then(|it| it.rsplit_once(':')).map_or("MACHINE", |(host, _)| host);
        let node = made.folder.parent().unwrap_or(&made.folder).display();
        say(&format!("       scp -r {node} {host}:{data}/"));
    }
    say("  2. Start them, in any order:");
    let file = args.config.config.display();
    for made in &founded.made {
        let region = &made.identity.region;
        say(&format!("       RHUMB_REGION={region} rhumb serve --config {file}"));
    }
    say("  3. Keep the authority safe: whoever has its key can make nodes of this cluster. Nodes");
    say(&format!(
        "     renew their certificates when one of them holds it as {data}/REGION/authority."
    ));
}

fn row(made: &Made) -> [String; 4] {
    [
        made.identity.region.to_string(),
        made.identity.node.to_string(),
        made.folder.display().to_string(),
        when::day(made.until),
    ]
}

#[cfg(test)]
mod tests {
    use rhumb_config::Outside;

    use super::*;
    use crate::node::worst_election;

    #[test]
    fn the_sample_is_sound() {
        let outside = Outside { variable: &|_| None, worst_election: &worst_election };
        let config = Config::parse(SAMPLE, &outside).unwrap();
        assert_eq!(config.voters().len(), 3);
        assert!(config.notes().is_empty(), "{:?}", config.notes());
    }
}
