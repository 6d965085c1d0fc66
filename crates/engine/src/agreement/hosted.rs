//! The replicated machines, as groups host them.

use std::sync::Arc;

use bytes::Bytes;
use rhumb_ports::control::Replicated;
use rhumb_regions::AdminMachine;
use rhumb_state::strong::StrongMachine;
use rhumb_types::control::ControlView;
use tokio::sync::watch;

use crate::agreed::{Agreed, AgreedBuckets, AgreedQueues, Shown};

/// The administrative machine, which shows what is agreed after every command.
#[derive(Debug)]
pub struct HostedAdmin {
    machine: AdminMachine,
    views: watch::Sender<Arc<ControlView>>,
}

impl HostedAdmin {
    /// A machine that has agreed on nothing, and where to see what it agrees on.
    #[must_use]
    pub fn new() -> (Self, watch::Receiver<Arc<ControlView>>) {
        let machine = AdminMachine::new();
        let (views, shown) = watch::channel(Arc::new(machine.view()));
        (Self { machine, views }, shown)
    }

    fn show(&self) {
        // A few commands per second at most: a whole view each time is cheap.
        self.views.send_replace(Arc::new(self.machine.view()));
    }
}

impl Replicated for HostedAdmin {
    fn apply(&mut self, index: u64, command: &[u8]) -> Bytes {
        let answer = self.machine.apply(index, command);
        self.show();
        answer
    }

    fn read(&self, query: &[u8]) -> Bytes {
        self.machine.read(query)
    }

    fn snapshot(&self) -> Bytes {
        self.machine.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.machine.restore(snapshot)?;
        self.show();
        Ok(())
    }
}

/// The machine of the strong namespaces, which shows the queues and buckets that are agreed on.
#[derive(Debug)]
pub struct HostedStrong {
    machine: StrongMachine,
    queues: watch::Sender<Arc<AgreedQueues>>,
    buckets: watch::Sender<Arc<AgreedBuckets>>,
}

impl HostedStrong {
    /// A machine that holds nothing, and where to see what it agrees on.
    #[must_use]
    pub fn new() -> (Self, Shown) {
        let (queues, queues_shown) = watch::channel(Arc::default());
        let (buckets, buckets_shown) = watch::channel(Arc::default());
        let shown = Shown { queues: queues_shown, buckets: buckets_shown };
        (Self { machine: StrongMachine::new(), queues, buckets }, shown)
    }

    fn show(&self) {
        let _before = self.queues.send_replace(Arc::new(Agreed::of(&self.machine)));
        let _before = self.buckets.send_replace(Arc::new(Agreed::of(&self.machine)));
    }
}

impl Replicated for HostedStrong {
    fn apply(&mut self, index: u64, command: &[u8]) -> Bytes {
        let before = self.machine.reserved_changed();
        let answer = self.machine.apply(index, command);
        if self.machine.reserved_changed() != before {
            self.show();
        }
        answer
    }

    fn read(&self, query: &[u8]) -> Bytes {
        self.machine.read(query)
    }

    fn snapshot(&self) -> Bytes {
        self.machine.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.machine.restore(snapshot)?;
        self.show();
        Ok(())
    }
}
