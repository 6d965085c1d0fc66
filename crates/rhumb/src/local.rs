//! A cluster on this machine: three regions as three processes, for `dev` and `tour`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rhumb_config::{
    dev,
    settings::{Server, Settings},
};
use rhumb_peer::{ClusterAuthority, Identities};
use rhumb_types::RegionId;

use crate::{cli::LocalArgs, folders, founding, machine_token::aws_environment};

/// How long a process may take to listen.
const START_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a process may take to end after SIGTERM.
const STOP_WAIT_MAX: Duration = Duration::from_secs(25);
/// Time between two looks at a process.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A cluster on this machine.
#[derive(Debug)]
pub(crate) struct Local {
    data: PathBuf,
    wan: bool,
    settings: Settings,
    children: BTreeMap<RegionId, Child>,
}

impl Local {
    /// Makes what a cluster needs below a directory, or takes what is there.
    pub(crate) fn prepare(args: &LocalArgs) -> Result<Self> {
        Self::prepare_with(args, |_| {})
    }

    /// As [`Local::prepare`], with settings of its own.
    pub(crate) fn prepare_with(
        args: &LocalArgs,
        change: impl FnOnce(&mut Settings),
    ) -> Result<Self> {
        let regions =
            dev::REGIONS.iter().map(|name| RegionId::new(name)).collect::<Result<Vec<_>, _>>()?;
        let data = args.data.clone();
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let mut settings = dev::settings(&regions, data.clone(), args.port);
        change(&mut settings);
        fs::write(data.join("rhumb.yaml"), settings.to_yaml()?)?;
        make_identities(&data, &regions)?;
        Ok(Self { data, wan: !args.no_wan, settings, children: BTreeMap::new() })
    }

    /// The regions, in the order of their ports.
    pub(crate) fn regions(&self) -> Vec<RegionId> {
        let mut regions: Vec<RegionId> = self.settings.regions.keys().cloned().collect();
        regions.sort_by_key(|region| self.address(region, Server::Http).port());
        regions
    }

    /// Whether messages between the regions are delayed.
    pub(crate) const fn wan(&self) -> bool {
        self.wan
    }

    /// Where a region's server listens.
    pub(crate) fn address(&self, region: &RegionId, server: Server) -> SocketAddr {
        let settings = self.settings.regions.get(region);
        let listener = settings.and_then(|settings| settings.listeners.get(server));
        listener.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)), |it| it.address(server))
    }

    /// What clients read from their environment: of the first region's S3 server and SQS server, and of all
    /// regions at once.
    pub(crate) fn client_environment(&self) -> Vec<String> {
        let Some(region) = self.regions().into_iter().next() else { return Vec::new() };
        let endpoint =
            |server: Server| (server.key(), format!("http://{}", self.address(&region, server)));
        let servers = [endpoint(Server::S3), endpoint(Server::Sqs)];
        let identities = Identities::load(&folders::identity(&self.data, &region), Some(&region));
        let secret = identities.map(|identities| identities.secret());
        let lines = secret.map(|it| aws_environment(&servers, region.as_str(), &it));
        let all = self.regions().into_iter().map(|region| {
            let address = self.address(&region, Server::S3);
            format!("{region}=http://{address}")
        });
        let all = format!("RHUMB_S3_ENDPOINTS={}", all.collect::<Vec<_>>().join(","));
        // Without an identity there is no node, and its start says so.
        lines.map_or_else(|_| Vec::new(), |lines| lines.into_iter().chain([all]).collect())
    }

    /// Starts a region's process.
    pub(crate) fn start(&mut self, region: &RegionId) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log(region))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--config").arg(self.data.join("rhumb.yaml"));
        command.arg("--die-with-parent").env("RHUMB_REGION", region.as_str());
        if self.wan {
            command.arg("--wan");
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("cannot start a process")?;
        self.children.insert(region.clone(), child);
        Ok(())
    }

    /// The file that a region's process logs to.
    pub(crate) fn log(&self, region: &RegionId) -> PathBuf {
        self.data.join(format!("{region}.log"))
    }

    /// Waits until a region's server takes connections.
    pub(crate) fn wait_for(&mut self, region: &RegionId, server: Server) -> Result<()> {
        let address = self.address(region, server);
        let give_up = Instant::now() + START_WAIT_MAX;
        while TcpStream::connect_timeout(&address, LOOK_INTERVAL).is_err() {
            if let Some(status) = self.has_ended(region)? {
                bail!(
                    "{region} ended with {status} while it started; its log is {}",
                    self.log(region).display()
                );
            }
            if Instant::now() > give_up {
                bail!("{region} does not listen on {address}");
            }
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Whether a region's process has ended, and how.
    pub(crate) fn has_ended(&mut self, region: &RegionId) -> Result<Option<ExitStatus>> {
        match self.children.get_mut(region) {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// Ends a region's process at once, as a power failure would.
    pub(crate) fn kill(&mut self, region: &RegionId) -> Result<()> {
        if let Some(mut child) = self.children.remove(region) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks every process to end, and waits.
    pub(crate) fn stop(&mut self) -> Result<()> {
        for child in self.children.values() {
            if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(child.id())?) {
                // A process that has ended already needs no signal.
                let _ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        let give_up = Instant::now() + STOP_WAIT_MAX;
        for (_, mut child) in std::mem::take(&mut self.children) {
            while child.try_wait()?.is_none() {
                if Instant::now() > give_up {
                    child.kill()?;
                }
                thread::sleep(LOOK_INTERVAL);
            }
        }
        Ok(())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            // Whatever ended before needs no killing.
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }
}

fn make_identities(data: &Path, regions: &[RegionId]) -> Result<()> {
    let folder = folders::authority(data);
    let authority = if ClusterAuthority::is_in(&folder) {
        ClusterAuthority::load(&folder)?
    } else {
        founding::found(&folder)?
    };
    for region in regions {
        let own = folders::identity(data, region);
        if !Identities::is_in(&own) {
            founding::issue(&authority, region, founding::node_id(), own)?;
        }
    }
    Ok(())
}
