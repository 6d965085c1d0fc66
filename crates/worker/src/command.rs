//! One command for one job, in a process group of its own.

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
};

use bytes::Bytes;
use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop, ProcessGroup};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{ChildStderr, ChildStdin, Command},
    sync::mpsc,
    time::timeout,
};

use crate::{
    limits::{ERRORS_WAIT_MAX, SIGNALS_MAX, TAIL_BYTES},
    machine::{Verdict, Way},
};

/// The exit code with which a command says that the job can never succeed (`EX_DATAERR` of
/// sysexits.h).
const NEVER_AGAIN: i32 = 65;
/// The exit code with which a command gives the job back untried (`EX_TEMPFAIL`).
const UNTRIED: i32 = 75;
/// Bytes of standard error that are read at a time.
const PIECE_BYTES: usize = 4 << 10;

/// What is run for a job.
#[derive(Clone, Debug)]
pub struct Work {
    /// The program; looked for as a shell does.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What is added to the environment.
    pub environment: Vec<(String, OsString)>,
    /// What it reads on its standard input.
    pub input: Bytes,
}

/// Why a command does not run.
#[derive(Debug, thiserror::Error)]
#[error("`{program}` cannot be started: {source}")]
pub struct StartError {
    program: String,
    source: io::Error,
}

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    how: How,
    /// The end of what it wrote to its standard error.
    tail: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum How {
    Code(i32),
    Signal(i32),
    /// It never ran, or was lost.
    Not(String),
}

impl Ended {
    /// A command that never ran.
    #[must_use]
    pub fn not_started(error: &StartError) -> Self {
        Self { how: How::Not(error.to_string()), tail: String::new() }
    }

    #[cfg(test)]
    pub(crate) const fn success() -> Self {
        Self { how: How::Code(0), tail: String::new() }
    }

    fn of(status: io::Result<ExitStatus>, tail: String) -> Self {
        let how = match status {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => How::Code(code),
                (None, Some(signal)) => How::Signal(signal),
                (None, None) => How::Not(status.to_string()),
            },
            Err(error) => How::Not(format!("it cannot be waited for: {error}")),
        };
        Self { how, tail }
    }

    /// Whether its job is done.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self.how, How::Code(0))
    }

    /// How its job is settled.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.how {
            How::Code(0) => Verdict::Complete,
            How::Code(UNTRIED) => Verdict::Release,
            How::Code(NEVER_AGAIN) => Verdict::Dead(self.reason()),
            _ => Verdict::Fail(self.reason()),
        }
    }

    /// Why it failed, for those who look at the job.
    #[must_use]
    pub fn reason(&self) -> String {
        let how = match &self.how {
            How::Code(code) => format!("exit code {code}"),
            How::Signal(signal) => format!("signal {signal}"),
            How::Not(why) => why.clone(),
        };
        self.reason_after(&how)
    }

    /// Why it failed, beginning with what is better known.
    #[must_use]
    pub fn reason_after(&self, how: &str) -> String {
        match self.tail.trim() {
            "" => how.to_owned(),
            tail => format!("{how}: {tail}"),
        }
    }
}

/// A command that runs. Dropping it kills its leader.
#[derive(Debug)]
pub struct Running {
    child: Box<dyn ChildWrapper>,
    input: (Option<ChildStdin>, Bytes),
    errors: Option<ChildStderr>,
    told: mpsc::Receiver<Way>,
}

impl Running {
    /// Starts a command; what is sent into the channel tells it to end.
    ///
    /// # Errors
    /// [`StartError`], such as for a program that is not there.
    pub fn start(work: Work) -> Result<(Self, mpsc::Sender<Way>), StartError> {
        let mut command = Command::new(&work.program);
        command.args(&work.arguments).envs(work.environment);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut command = CommandWrap::from(command);
        let started = command.wrap(KillOnDrop).wrap(ProcessGroup::leader()).spawn();
        let program = work.program.to_string_lossy().into_owned();
        let mut child = started.map_err(|source| StartError { program, source })?;
        let (tell, told) = mpsc::channel(SIGNALS_MAX);
        let (input, errors) = (child.stdin().take(), child.stderr().take());
        Ok((Self { child, input: (input, work.input), errors, told }, tell))
    }

    /// The id of its process and group, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end; what is left of its group then is killed.
    pub async fn end(self) -> Ended {
        let Self { mut child, input, errors, mut told } = self;
        let mut tail = Tail::default();
        let status = {
            let reading = async {
                if let Some(errors) = errors {
                    tail.read(errors).await;
                }
            };
            let (feeding, mut reading) = (feed(input), std::pin::pin!(reading));
            let mut feeding = std::pin::pin!(feeding);
            let (mut fed, mut read, mut deaf) = (false, false, false);
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status,
                    way = told.recv(), if !deaf => match way {
                        Some(way) => tell(child.as_mut(), way),
                        None => deaf = true,
                    },
                    () = feeding.as_mut(), if !fed => fed = true,
                    () = reading.as_mut(), if !read => read = true,
                }
            };
            // Its children have no lease to work under.
            tell(child.as_mut(), Way::Kill);
            if !read {
                let _open = timeout(ERRORS_WAIT_MAX, reading).await;
            }
            status
        };
        Ended::of(status, tail.into_text())
    }
}

/// Writes the job's body. A command need not read it.
async fn feed((input, body): (Option<ChildStdin>, Bytes)) {
    let Some(mut input) = input else { return };
    if let Err(error) = input.write_all(&body).await {
        tracing::debug!(%error, "the command did not read all of its input");
    }
}

fn tell(child: &mut dyn ChildWrapper, way: Way) {
    let signal = match way {
        Way::Ask => Signal::TERM,
        Way::Kill => Signal::KILL,
    };
    if let Err(error) = child.signal(signal.as_raw()) {
        // A group that has ended has nobody in it.
        tracing::debug!(%error, ?way, "nobody was told to end");
    }
}

/// The end of what a command says. All of it goes on to this process's own standard error.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    async fn read(&mut self, mut errors: ChildStderr) {
        let mut piece = vec![0; PIECE_BYTES];
        let mut out = tokio::io::stderr();
        while let Ok(count @ 1..) = errors.read(&mut piece).await {
            let read = piece.get(..count).unwrap_or_default();
            self.keep(read);
            // Nobody may be reading what this process says.
            let _unread = out.write_all(read).await;
        }
        let _unread = out.flush().await;
    }

    fn keep(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
        let over = self.0.len().saturating_sub(TAIL_BYTES);
        self.0.drain(..over);
    }

    fn into_text(self) -> String {
        // What was cut in the middle of a character begins with the next.
        let start = self.0.iter().position(|byte| byte & 0xc0 != 0x80).unwrap_or(0);
        String::from_utf8_lossy(self.0.get(start..).unwrap_or_default()).into_owned()
    }
}

#[cfg(test)]
mod tests;
