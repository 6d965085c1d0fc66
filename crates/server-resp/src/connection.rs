//! One client: requests in, replies out, in order.
//!
//! Writes that follow each other in a pipeline gather and go to the engine together. Everything
//! else first waits for what has gathered, so that a connection sees its own writes.

use std::{io, net::IpAddr, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use rhumb_engine::{Subscription, Tasks, node::ConnectionId};
use rhumb_resp::{Limits, Protocol, Request, RequestDecoder, Writer};
use rhumb_state::Op;
use rhumb_types::{AckLevel, record::VersionVector};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::{
    acl::User,
    command::{self, CommandError, Control, Known, Parsed, Shape, Step, Words},
    limits,
    meters::Tally,
    server::Shared,
};

pub(crate) const NO_KEY: &str = "NOPERM No permissions to access a key";

/// Plain TCP, or TLS over it.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Commands that wait for EXEC.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) commands: Vec<Queued>,
    /// Whether a command was refused, so that EXEC must be too.
    pub(crate) broken: bool,
}

/// A command that waits for EXEC.
#[derive(Debug)]
pub(crate) enum Queued {
    /// On state, part of the transaction.
    Step(Step),
    /// Of the connection or the server; done right after the transaction.
    Control(Control, Vec<Bytes>),
    /// Its words are wrong: it alone answers an error, as in Redis.
    Wrong(CommandError),
}

/// A client's connection.
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    stream: Stream,
    decoder: RequestDecoder,
    incoming: BytesMut,
    pub(crate) outgoing: BytesMut,
    pub(crate) protocol: Protocol,
    pub(crate) user: Option<Arc<User>>,
    pub(crate) name: Bytes,
    pub(crate) id: ConnectionId,
    pub(crate) queue: Option<Queue>,
    pub(crate) watching: bool,
    pub(crate) strong_watch: Vec<(Bytes, u64)>,
    pub(crate) subscription: Option<Subscription>,
    pub(crate) channels: Vec<Bytes>,
    pub(crate) patterns: Vec<Bytes>,
    pub(crate) gathered: Vec<Gathered>,
    pub(crate) gathered_ack: AckLevel,
    /// Everything that this connection wrote, for `WAIT`.
    pub(crate) written: VersionVector,
    /// What later reads must include.
    pub(crate) session: Option<VersionVector>,
    /// The place of the command under way among all, and where its reply begins.
    pub(crate) place: usize,
    reply_begins: usize,
    tally: Tally,
    /// Whom the connection is from.
    pub(crate) address: IpAddr,
    closing: bool,
}

/// A write that waits for those behind it in the pipeline.
pub(crate) struct Gathered {
    pub(crate) op: Op,
    pub(crate) shape: Shape,
    /// The place of its command among all.
    pub(crate) place: usize,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, stream: Stream, address: IpAddr) -> Self {
        let user = shared.stranger();
        let limits = if user.is_some() { Limits::AUTHENTICATED } else { Limits::UNAUTHENTICATED };
        Self {
            id: shared.engine.connection(),
            shared,
            stream,
            decoder: RequestDecoder::new(limits),
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            protocol: Protocol::Resp2,
            user,
            name: Bytes::new(),
            queue: None,
            watching: false,
            strong_watch: Vec::new(),
            subscription: None,
            channels: Vec::new(),
            patterns: Vec::new(),
            gathered: Vec::new(),
            gathered_ack: AckLevel::default(),
            written: VersionVector::new(),
            session: None,
            place: 0,
            reply_begins: 0,
            tally: Tally::default(),
            address,
            closing: false,
        }
    }

    /// Serves the client until it leaves, breaks the protocol, or the node stops.
    pub(crate) async fn run(mut self, tasks: &Tasks) -> io::Result<()> {
        let ended = self.serve(tasks).await;
        if self.watching {
            self.shared.engine.unwatch(self.id).await;
        }
        ended
    }

    async fn serve(&mut self, tasks: &Tasks) -> io::Result<()> {
        while !self.closing {
            self.incoming.reserve(limits::READ_BYTES);
            let read = tokio::select! {
                () = tasks.stopping() => return self.send().await,
                read = self.stream.read_buf(&mut self.incoming) => read?,
                message = next_message(&mut self.subscription) => {
                    self.deliver(message);
                    self.send().await?;
                    continue;
                }
            };
            if read == 0 {
                return Ok(());
            }
            let began = Instant::now();
            self.requests().await?;
            self.settle().await;
            self.shared.meters.record(&mut self.tally, began.elapsed());
            self.send().await?;
        }
        Ok(())
    }

    /// Handles every request that has come whole.
    async fn requests(&mut self) -> io::Result<()> {
        while !self.closing {
            match self.decoder.decode(&mut self.incoming) {
                Ok(Some(request)) => self.request(&request).await,
                Ok(None) => break,
                Err(error) => {
                    self.settle().await;
                    self.writer().error(&format!("ERR {error}"));
                    self.closing = true;
                }
            }
            if self.outgoing.len() > limits::REPLY_BYTES_MAX {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Sends what has gathered; a client that does not read is closed.
    async fn send(&mut self) -> io::Result<()> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        let send = async {
            self.stream.write_all(&self.outgoing).await?;
            self.stream.flush().await
        };
        let sent = timeout(limits::WRITE_WAIT_MAX, send).await;
        sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.outgoing.clear();
        self.reply_begins = 0;
        Ok(())
    }

    pub(crate) fn writer(&mut self) -> Writer<'_> {
        Writer::new(&mut self.outgoing, self.protocol)
    }

    async fn request(&mut self, request: &Request) {
        if request.len() == 0 {
            return;
        }
        let place = command::place_of(request.name());
        self.place = place.unwrap_or_else(command::count);
        self.reply_begins = self.outgoing.len();
        match place.and_then(command::at) {
            Some(known) => self.known(known, request).await,
            None => self.refuse(&command::unknown(request).to_string()).await,
        }
        // A write that has gathered is answered later; whatever else there is settles first.
        if self.gathered.is_empty() {
            self.tally_reply(self.place);
        }
    }

    /// Counts the reply that has just been written.
    pub(crate) fn tally_reply(&mut self, place: usize) {
        let reply = self.outgoing.get(self.reply_begins..).unwrap_or_default();
        self.tally.answered(place, reply);
        self.reply_begins = self.outgoing.len();
    }

    async fn known(&mut self, known: &Known, request: &Request) {
        if let Some(refusal) = self.refusal(known) {
            return self.refuse(&refusal).await;
        }
        let parsed = match known.read(Words::new(request)) {
            Ok(parsed) => parsed,
            Err(error) => return self.wrong(error).await,
        };
        let parsed = match parsed {
            Parsed::Scan(scan) => self.scan(scan).map(Parsed::Step),
            other => Ok(other),
        };
        match parsed {
            Ok(Parsed::Step(step)) => self.allowed_step(step).await,
            Ok(Parsed::Control(control)) => self.control_or_queue(control, request).await,
            Ok(Parsed::Scan(_)) => unreachable!("a scan has just become a step"),
            Err(error) => self.wrong(error).await,
        }
    }

    async fn allowed_step(&mut self, step: Step) {
        if let Some(refusal) = self.forbidden_key(&step) {
            return self.refuse(refusal).await;
        }
        if self.queue.is_some() {
            return self.enqueue(Queued::Step(step));
        }
        self.step(step).await;
    }

    async fn control_or_queue(&mut self, control: Control, request: &Request) {
        self.settle().await;
        let words = Words::new(request).rest().unwrap_or_default();
        let named = if control.names_keys() { words.as_slice() } else { &[] };
        if !named.iter().all(|key| self.may_touch(key)) {
            return self.refuse(NO_KEY).await;
        }
        if self.queue.is_some() && !control.is_immediate() {
            return self.enqueue(Queued::Control(control, words));
        }
        if let Err(error) = self.control(control, words).await {
            self.refuse(&error.to_string()).await;
        }
    }

    /// Words that do not fit the command. Inside MULTI the command is queued all the same and
    /// answers the error in its place, unless not even its name and its number of words were right.
    async fn wrong(&mut self, error: CommandError) {
        if self.queue.is_some() && !error.breaks_transaction() {
            return self.enqueue(Queued::Wrong(error));
        }
        self.refuse(&error.to_string()).await;
    }

    /// Answers with an error; inside MULTI, EXEC will be refused too.
    async fn refuse(&mut self, error: &str) {
        self.settle().await;
        if let Some(queue) = &mut self.queue {
            queue.broken = true;
        }
        self.writer().error(error);
    }

    /// Why this client may not call a command now.
    fn refusal(&self, known: &Known) -> Option<String> {
        let before = matches!(
            known.reader,
            command::Reader::Control(
                Control::Hello | Control::Auth | Control::Quit | Control::Reset
            )
        );
        let Some(user) = &self.user else {
            return (!before).then(|| "NOAUTH Authentication required.".to_owned());
        };
        if !before && !user.may_call(known.name, known.class) {
            let (name, command) = (&user.name, known.name);
            return Some(format!(
                "NOPERM User {name} has no permissions to run the '{command}' command"
            ));
        }
        let subscribed = !self.channels.is_empty() || !self.patterns.is_empty();
        let allowed = matches!(
            known.reader,
            command::Reader::Control(
                Control::Subscribe
                    | Control::Unsubscribe
                    | Control::PSubscribe
                    | Control::PUnsubscribe
                    | Control::Ping
                    | Control::Quit
                    | Control::Reset
            )
        );
        (subscribed && self.protocol == Protocol::Resp2 && !allowed).then(|| {
            format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                 RESET are allowed in this context",
                known.name
            )
        })
    }

    fn forbidden_key(&self, step: &Step) -> Option<&'static str> {
        let mut forbidden = false;
        step.keys(&mut |key| forbidden |= !self.may_touch(key));
        forbidden.then_some(NO_KEY)
    }

    pub(crate) fn may_touch(&self, key: &[u8]) -> bool {
        self.user.as_ref().is_some_and(|user| user.may_touch(key))
    }

    pub(crate) fn enqueue(&mut self, command: Queued) {
        let Some(queue) = &mut self.queue else { return };
        if queue.commands.len() >= limits::QUEUED_MAX {
            queue.broken = true;
            return self.writer().error("ERR too many commands in one transaction");
        }
        queue.commands.push(command);
        self.writer().simple("QUEUED");
    }

    /// Says who the client is from now on.
    pub(crate) fn authenticated(&mut self, user: Arc<User>) {
        self.user = Some(user);
        self.decoder.set_limits(Limits::AUTHENTICATED);
    }

    pub(crate) fn close_after_reply(&mut self) {
        self.closing = true;
    }
}

async fn next_message(subscription: &mut Option<Subscription>) -> Option<rhumb_engine::Delivery> {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}
