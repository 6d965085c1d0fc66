//! `rhumb control recover`: one survivor goes on when the majority is lost for ever (rule 15).
//!
//! The survivor becomes the only member of a new cluster: a new id, a new authority, so that no
//! certificate of the old one opens a door, and higher epochs, so that whatever the lost members
//! still do is fenced. Each step finds out whether it was done already, so a recovery that was
//! interrupted is simply run again:
//!
//! 1. The new authority and identity are staged beside the old ones.
//! 2. Both groups go on from this node's log, the administrative one with the command `Recover`.
//! 3. The store is told which cluster it belongs to.
//! 4. The staged folders take the place of the old, which are kept under the old cluster's id.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rhumb_config::Config;
use rhumb_engine::{OsEntropy, SystemClock, node::Identity as StoredIdentity};
use rhumb_peer::{ClusterAuthority, Identities, Identity};
use rhumb_ports::{
    clock::{Clock, Entropy},
    store::{Batch, Durability, MetaName, ReadStore, Store, Write},
};
use rhumb_store_fjall::FjallStore;
use rhumb_types::{
    ClusterId, NodeId, RegionId,
    control::{
        AdminAnswer, AdminCommand, AdminOutcome, AdminRequest, ControlView, Digest, Member,
        MemberRole,
    },
    record::Record,
};

use crate::{
    cli::Recover,
    commands::{note, say, serve::load},
    folders::{self, AUTHORITY, IDENTITY},
    founding,
    stopped::Stopped,
    table::table,
};

/// The folder of what is staged.
const STAGED: &str = "recovery";
/// How long an address of a region that is given up is tried.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// A member that is given up.
#[derive(Debug)]
struct Lost {
    node: NodeId,
    region: RegionId,
    address: String,
}

/// What was done, and what it cost.
#[derive(Debug)]
struct Done {
    identity: Identity,
    admin_index: Option<u64>,
    strong_index: Option<u64>,
}

/// Recovers, once the operator has named what is lost.
pub(super) async fn run(args: &Recover) -> Result<ExitCode> {
    let config = load(&args.config)?;
    let node = Stopped::of(&config).await?;
    let staged = Staged::find(&node.folder)?;
    // After the groups were recovered, what is left is only to finish.
    let begun = staged.as_ref().is_some_and(|staged| node.view.cluster == Some(staged.cluster()));
    if !begun {
        let lost = others(&config, &node);
        check_survivor(&node, &lost)?;
        if !agree(args, &lost) {
            warn(&node, &lost);
            bail!("nothing was changed");
        }
        check_silence(args, &lost)?;
    }
    let before = node.view.cluster;
    let staged = match staged {
        Some(staged) => staged,
        None => Staged::make(&node)?,
    };
    let done = finish(node, &staged).await?;
    report(args, before, &done);
    Ok(ExitCode::SUCCESS)
}

/// Every member but this node: those that the cluster agreed on, and those that only the groups
/// know, because they had not yet said who they are.
fn others(config: &Config, node: &Stopped) -> Vec<Lost> {
    let own = node.identity().node;
    let agreed = node.view.members.iter().map(|member| {
        let Member { node, region, address, .. } = member.clone();
        (node, Lost { node, region, address })
    });
    let seats = [node.admin.status(), node.strong.status()].into_iter().flat_map(|it| it.members);
    let seated = seats.map(|member| {
        let settings = config.settings().regions.get(&member.region);
        let address = settings.map(|settings| settings.address.clone()).unwrap_or_default();
        (member.node, Lost { node: member.node, region: member.region, address })
    });
    let all: BTreeMap<NodeId, Lost> = seated.chain(agreed).filter(|(it, _)| *it != own).collect();
    all.into_values().collect()
}

fn check_survivor(node: &Stopped, lost: &[Lost]) -> Result<()> {
    let own = node.identity();
    ensure!(
        node.view.cluster.is_some(),
        "this node's log knows of no cluster, so there is nothing to recover: start it and the \
         others, or begin anew with `rhumb init`"
    );
    let ControlView { members, .. } = node.view.as_ref();
    let role = members.iter().find(|member| member.node == own.node).map(|member| member.role);
    let role = role.with_context(|| format!("{own} is not a member of the cluster in its log"))?;
    ensure!(
        role == MemberRole::Voter,
        "this node is a {}, and a cluster can only go on from a voter that holds data: recover on \
         another survivor",
        super::role(role)
    );
    ensure!(!lost.is_empty(), "this node is the only member of its cluster: just start it");
    Ok(())
}

/// Whether the operator has named exactly what is given up.
fn agree(args: &Recover, lost: &[Lost]) -> bool {
    let named: BTreeSet<&RegionId> = args.lost_for_ever.iter().collect();
    named == lost.iter().map(|member| &member.region).collect()
}

/// What must be read before.
fn warn(node: &Stopped, lost: &[Lost]) {
    let index = |index: Option<u64>| index.map_or_else(|| "0".to_owned(), |it| it.to_string());
    note(&format!("This makes {} the only member of a new cluster.", node.identity()));
    note("Every other member is given up for ever, even when its machine comes back:");
    note("");
    let row = |it: &Lost| [it.region.to_string(), it.node.to_string(), it.address.clone()];
    let rows: Vec<[String; 3]> = lost.iter().map(row).collect();
    table(["region", "node", "address"], &rows).iter().for_each(|line| note(&format!("  {line}")));
    note("");
    note("It may lose:");
    note(&format!(
        "  - what the others agreed on after this node's last entries ({} of administration, {} of \
         strong namespaces): locks, failovers, rules, tokens, strong keys;",
        index(node.admin.status().last_index),
        index(node.strong.status().last_index),
    ));
    note("  - eventual writes of those regions that had not reached this node.");
    note("");
    note("If a majority can come back, wait for it. If any of those nodes still runs, stop it");
    note("first and for good: otherwise two clusters hold the same locks. To go on:");
    let names: BTreeSet<&str> = lost.iter().map(|member| member.region.as_str()).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(",");
    note("");
    note(&format!("  rhumb control recover --lost-for-ever {names}"));
    note("");
}

/// A node that answers is not lost.
fn check_silence(args: &Recover, lost: &[Lost]) -> Result<()> {
    if args.though_they_answer {
        return Ok(());
    }
    for member in lost {
        // An address that cannot be resolved answers nobody.
        let Ok(addresses) = member.address.to_socket_addrs() else { continue };
        for address in addresses {
            ensure!(
                TcpStream::connect_timeout(&address, ANSWER_WAIT).is_err(),
                "{} is not lost: something listens at {}. Stop it for good first; if it is not a \
                 node of Rhumb, add --though-they-answer",
                member.region,
                member.address
            );
        }
    }
    Ok(())
}

async fn finish(node: Stopped, staged: &Staged) -> Result<Done> {
    let Stopped { folder, material, mut admin, view, strong } = node;
    let cluster = staged.cluster();
    let mut admin_index = admin.status().last_index;
    if view.cluster != Some(cluster) {
        let survivors = vec![material.identity().node];
        for command in [
            AdminCommand::Recover { cluster, survivors },
            AdminCommand::RotateIdentity {
                node: material.identity().node,
                fingerprint: Digest(staged.identity.current().fingerprint()),
            },
        ] {
            let answer = admin.propose(&request(&material.identity().node.to_string(), command));
            let AdminAnswer(answer) = AdminAnswer::decode(&answer)?;
            let _changed: AdminOutcome =
                answer.context("the cluster cannot be recovered; nothing was changed")?;
        }
        admin_index = admin.recover().await?.last_index;
    }
    let strong_index = strong.recover().await?.last_index;
    let data = folder.join("store");
    tokio::task::spawn_blocking(move || adopt(&data, cluster)).await??;
    staged.take_place(&folder, material.identity().cluster)?;
    let identity = staged.identity.identity();
    Ok(Done { identity, admin_index, strong_index })
}

fn request(node: &str, command: AdminCommand) -> Vec<u8> {
    let clock = SystemClock { wall_offset_millis: 0 };
    AdminRequest {
        at: clock.now().wall,
        actor: format!("node:{node}"),
        reason: "control recover: the other members are lost for ever".to_owned(),
        command,
    }
    .encode()
    .to_vec()
}

/// Tells the store which cluster it belongs to.
fn adopt(store: &Path, cluster: ClusterId) -> Result<()> {
    if !store.exists() {
        return Ok(());
    }
    let store = FjallStore::open(store)?;
    let Some(bytes) = store.meta(&MetaName::Identity)? else { return Ok(()) };
    let identity = StoredIdentity { cluster, ..StoredIdentity::decode(&bytes)? };
    let write = Write::Meta { name: MetaName::Identity, value: Some(identity.encode()) };
    store.commit(&Batch { writes: vec![write] }, Durability::Synced)?;
    Ok(())
}

fn report(args: &Recover, before: Option<ClusterId>, done: &Done) {
    let Identity { cluster, region, node } = &done.identity;
    if args.json {
        let value = serde_json::json!({
            "before": before.map(|cluster| cluster.to_string()),
            "cluster": cluster.to_string(),
            "region": region,
            "node": node.to_string(),
            "admin_last_index": done.admin_index,
            "strong_last_index": done.strong_index,
        });
        say(&value.to_string());
        return;
    }
    say(&format!("{} is now the only member of cluster {cluster}.", done.identity));
    say("Next:");
    say(&format!(
        "  1. RHUMB_REGION={region} rhumb serve --config {}",
        args.config.config.display()
    ));
    say("  2. Never start the old nodes again. Their machines can hold new ones, with empty data:");
    say("     `rhumb join-token` here, then `rhumb join` and `rhumb member add` there.");
}

/// The authority and the identity of the new cluster, before they are in place.
#[derive(Debug)]
struct Staged {
    folder: PathBuf,
    identity: Identities,
}

impl Staged {
    /// What an interrupted recovery has left.
    fn find(node: &Path) -> Result<Option<Self>> {
        let folder = node.join(STAGED);
        if !Identities::is_in(&folder.join(IDENTITY)) {
            return Ok(None);
        }
        let identity = Identities::load(&folder.join(IDENTITY), None)?;
        Ok(Some(Self { folder, identity }))
    }

    /// A new authority that goes on with the cluster's secret, and this node's identity from it:
    /// the same node, because it has its disk.
    fn make(node: &Stopped) -> Result<Self> {
        let folder = node.folder.join(STAGED);
        let place = folder.join(AUTHORITY);
        let authority = if ClusterAuthority::is_in(&place) {
            ClusterAuthority::load(&place)?
        } else {
            fs::create_dir_all(&folder)?;
            let cluster = ClusterId(OsEntropy.next_u64());
            let authority = ClusterAuthority::succeed(cluster, node.material.secret().clone())?;
            authority.save(&place)?;
            authority
        };
        let Identity { region, node, .. } = node.identity();
        let place = folder.join(IDENTITY);
        founding::issue(&authority, region, *node, place.clone())?;
        Ok(Self { identity: Identities::load(&place, None)?, folder })
    }

    fn cluster(&self) -> ClusterId {
        self.identity.identity().cluster
    }

    /// Puts both folders in place; the identity last, because it ends the recovery.
    fn take_place(&self, node: &Path, before: ClusterId) -> Result<()> {
        for name in [AUTHORITY, IDENTITY] {
            let (staged, place) = (self.folder.join(name), node.join(name));
            if !staged.exists() {
                continue;
            }
            if place.exists() {
                let kept = node.join(format!("{name}.{before}"));
                fs::rename(&place, &kept)
                    .with_context(|| format!("keep {} as {}", place.display(), kept.display()))?;
            }
            fs::rename(&staged, &place)
                .with_context(|| format!("put {} in place", place.display()))?;
        }
        folders::sync(node)?;
        fs::remove_dir(&self.folder).with_context(|| format!("remove {}", self.folder.display()))
    }
}
