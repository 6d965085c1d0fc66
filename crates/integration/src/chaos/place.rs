//! Network namespaces: where nodes and clients stand.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::programs;

/// Where `ip netns` keeps the names of namespaces.
const NAMES: &str = "/run/netns";
/// The network device of a place that leads to all others.
const DEVICE: &str = "wan0";
/// Bytes of a packet at most, as on the internet.
pub(super) const PACKET_BYTES: u16 = 1_500;
/// All places lie in this network. A node serves loopback addresses without TLS and tokens, and Linux
/// carries them between hosts where a device says `route_localnet`.
const NETWORK: &str = "127.77.0.0/16";

/// How senders of TCP slow down after a loss (RFC 5681), so that it is the same on every machine. Linux lets
/// everybody choose this one. Others may differ without a loss: BBR sends four packets a round trip every ten
/// seconds, and what regions say to each other takes up to twice as long meanwhile.
const CONGESTION_CONTROL: &str = "reno";

/// Why no trial can run on this machine.
#[derive(Debug)]
pub enum Refusal {
    /// A program is missing.
    Program(&'static str),
    /// Nobody may make network namespaces here.
    Namespaces,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program(name) => write!(f, "`{name}` is not installed"),
            Self::Namespaces => f.write_str("this machine lets nobody make network namespaces"),
        }
    }
}

/// Starts this program again with a view of the file systems of its own, in which namespaces and disks can
/// be made and vanish with it. Does not return, unless that is refused.
///
/// # Errors
/// When this program cannot be found or started.
pub fn isolate(again: &[String]) -> Result<Refusal> {
    for program in ["ip", "unshare", "mount"] {
        if !programs::answers(program, &["-V"]) {
            return Ok(Refusal::Program(program));
        }
    }
    let own = std::env::current_exe()?;
    // As root; else as whoever becomes root of a namespace of users.
    for users in [&[][..], &["--user", "--map-root-user"]] {
        // Of networks too: `ip netns` returns to the one it came from, which must be ours.
        let views = ["--mount", "--propagation", "private", "--net"];
        let try_out = "mount -t tmpfs none /run && ip netns add a && ip netns exec a ip tuntap add t mode tun";
        let mut probe = users.to_vec();
        probe.extend(views);
        probe.extend(["--", "sh", "-c", try_out]);
        if programs::answers("unshare", &probe) {
            let error = Command::new("unshare")
                .args(users)
                .args(views)
                .arg("--")
                .arg(&own)
                .args(again)
                .exec();
            return Err(error).context("failed to start unshare");
        }
    }
    Ok(Refusal::Namespaces)
}

/// Hides the namespaces of this machine; to be called once, after [`isolate`].
pub(super) fn prepare() -> Result<()> {
    run("mount", &["-t", "tmpfs", "none", "/run"])?;
    Ok(fs::create_dir_all(NAMES)?)
}

/// A place with an address.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
}

impl Place {
    /// Makes the namespace, without a way out of it.
    pub(super) fn make(name: String, address: Ipv4Addr) -> Result<Self> {
        run("ip", &["netns", "add", &name])?;
        run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
        // Only its own loopback address stays here; see `NETWORK`.
        run("ip", &["-n", &name, "addr", "del", "127.0.0.1/8", "dev", "lo"])?;
        run("ip", &["-n", &name, "addr", "add", "127.0.0.1/32", "dev", "lo"])?;
        Ok(Self { name, address })
    }

    /// Moves the calling thread here: sockets that it makes from now on are of this place.
    pub(super) fn enter(&self) -> Result<()> {
        let name = Path::new(NAMES).join(&self.name);
        let file = File::open(&name).with_context(|| name.display().to_string())?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }

    /// Does something here, in a thread of its own.
    pub(super) fn visit<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let here = scope.spawn(|| {
                self.enter()?;
                work()
            });
            here.join().map_err(|_| anyhow!("what was done in {} panicked", self.name))?
        })
    }

    /// Makes the device that leads to all other places.
    pub(super) fn device(&self) -> Result<Arc<SyncDevice>> {
        let device = self.visit(make_device)?;
        let (name, own) = (self.name.as_str(), format!("{}/32", self.address));
        let mtu = PACKET_BYTES.to_string();
        run("ip", &["-n", name, "addr", "add", &own, "dev", DEVICE])?;
        run("ip", &["-n", name, "link", "set", DEVICE, "mtu", &mtu, "up"])?;
        run("ip", &["-n", name, "route", "add", NETWORK, "dev", DEVICE])?;
        Ok(Arc::new(device))
    }
}

/// Makes the device of the namespace that the calling thread is in.
fn make_device() -> Result<SyncDevice> {
    let builder = DeviceBuilder::new().name(DEVICE).inherit_enable_state();
    let device = builder.with(|of| {
        of.packet_information(false).offload(false);
    });
    let device = device.build_sync().context("cannot make a TUN device")?;
    let settings = PathBuf::from("/proc/sys/net/ipv4");
    for (setting, value) in [
        (format!("conf/{DEVICE}/route_localnet"), "1"),
        (format!("conf/{DEVICE}/rp_filter"), "0"),
        ("conf/all/rp_filter".to_owned(), "0"),
        ("tcp_congestion_control".to_owned(), CONGESTION_CONTROL),
    ] {
        let path = settings.join(setting);
        fs::write(&path, value).with_context(|| path.display().to_string())?;
    }
    Ok(device)
}

/// Runs a program to its end.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("failed to start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
    Ok(())
}
