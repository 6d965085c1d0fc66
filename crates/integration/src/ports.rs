//! Ports that no other cluster on this machine uses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};

/// Ports of one block. The first is held open as the sign that the block is taken.
const BLOCK: u16 = 32;
/// Blocks lie below the ports that the system gives to outgoing connections.
const FIRST: u16 = 12_000;
/// How many blocks there are.
const BLOCKS: u16 = 600;

/// A block of ports that stay ours, also while no process listens on them.
#[derive(Debug)]
pub(crate) struct Ports {
    next: u16,
    end: u16,
    _held: TcpListener,
}

impl Ports {
    /// Takes a free block.
    pub(crate) fn take() -> Result<Self> {
        let start = std::process::id();
        let mut blocks = (0..u32::from(BLOCKS)).map(|step| (start + step) % u32::from(BLOCKS));
        blocks
            .find_map(|block| Self::block(u16::try_from(block).ok()?))
            .context("every block of ports is taken")
    }

    fn block(nth: u16) -> Option<Self> {
        let first = FIRST + nth * BLOCK;
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()?;
        Some(Self { next: first + 1, end: first + BLOCK, _held: held })
    }

    /// The next address that nothing listens on.
    pub(crate) fn address(&mut self) -> Result<SocketAddr> {
        while self.next < self.end {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.next));
            self.next += 1;
            // Listening shows that the port is free; nobody has connected, so nothing lingers.
            if TcpListener::bind(address).is_ok() {
                return Ok(address);
            }
        }
        anyhow::bail!("the block of ports is used up")
    }
}
