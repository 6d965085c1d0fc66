//! PostgreSQL as a queue: a table, and `FOR UPDATE SKIP LOCKED`.
//!
//! A lease is committed without waiting for the disk, as Rhumb's leases are not on it either: a crash
//! gives the job back in both. The client speaks the simple query protocol (PostgreSQL's
//! documentation, chapter 55) with prepared statements, so that nothing is planned twice.

use std::{
    fmt::Write as _,
    fs,
    io::{BufReader, Read, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::{ANSWER_WAIT, Body, Broker, Client, free_address, quietly};

/// Where Debian puts the programs of each version.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// Who the server runs as where we are root, whom it refuses.
const OWNER: &str = "postgres";
const SCHEMA: &str = "CREATE TABLE jobs (id bigserial PRIMARY KEY, leased_until timestamptz NOT NULL \
                      DEFAULT '-infinity', body text NOT NULL)";
const PREPARE: &str = "\
    PREPARE enqueue(text[]) AS INSERT INTO jobs (body) SELECT unnest($1); \
    PREPARE lease(int) AS UPDATE jobs SET leased_until = now() + interval '30 s' WHERE id IN \
        (SELECT id FROM jobs WHERE leased_until < now() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) \
        RETURNING id, body; \
    PREPARE complete(bigint[]) AS DELETE FROM jobs WHERE id = ANY($1)";

/// A server with an empty table.
#[derive(Debug)]
pub(crate) struct Postgres {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Postgres {
    pub(crate) fn start() -> Result<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("rhumb-bench-postgres-").tempdir()?;
        let data = folder.path().join("data");
        let owner = owner()?;
        if let Some((user, group)) = owner {
            chown(folder.path(), Some(user), Some(group))?;
        }
        let mut make = command(&programs.join("initdb"), owner);
        make.args(["--auth=trust", "--username=bench", "--no-sync", "-D"]).arg(&data);
        ensure!(quietly(&mut make).status()?.success(), "initdb failed");
        let address = free_address()?;
        let mut serve = command(&programs.join("postgres"), owner);
        serve.arg("-D").arg(&data).args(["-c", &format!("port={}", address.port())]);
        serve.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        serve.args(["-c", "max_connections=600", "-c", "shared_buffers=512MB"]);
        serve.args(["-c", "max_wal_size=4GB"]);
        let child = quietly(&mut serve).spawn().context("cannot start postgres")?;
        let server = Self { child, address, _folder: folder };
        super::eventually("PostgreSQL", || Session::open(address)?.query(SCHEMA).map(drop))?;
        Ok(server)
    }
}

impl Broker for Postgres {
    fn connect(&self) -> Result<Box<dyn Client>> {
        let mut session = Session::open(self.address)?;
        session.query(PREPARE)?;
        Ok(Box::new(Connection {
            session,
            leased: Vec::new(),
            done: Vec::new(),
            text: String::new(),
        }))
    }

    fn process(&self) -> Result<u32> {
        Ok(self.child.id())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Whatever ended before needs no killing; its children see that it is gone.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// The programs of the newest version that is installed.
pub(super) fn programs() -> Result<PathBuf> {
    let found = fs::read_dir(PROGRAMS).into_iter().flatten().flatten().map(|it| it.path());
    found.max().map(|it| it.join("bin")).context("PostgreSQL is in Debian's package postgresql")
}

/// User and group of the server where we are root.
fn owner() -> Result<Option<(u32, u32)>> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find_map(|line| line.strip_prefix(OWNER)?.strip_prefix(':'));
    let mut fields = line.context("there is no user `postgres`")?.split(':').skip(1);
    let mut number = || fields.next().context("a short line in /etc/passwd");
    Ok(Some((number()?.parse()?, number()?.parse()?)))
}

fn command(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command.current_dir("/").stdin(Stdio::null());
    command
}

struct Connection {
    session: Session,
    leased: Vec<String>,
    done: Vec<String>,
    text: String,
}

impl Client for Connection {
    fn enqueue(&mut self, bodies: &[Body]) -> Result<()> {
        let bodies: Vec<&str> = bodies.iter().map(Body::as_str).collect();
        self.text.clear();
        write!(self.text, "EXECUTE enqueue('{{{}}}')", bodies.join(","))?;
        self.session.query(&self.text).map(drop)
    }

    fn lease(&mut self, jobs_max: usize, bodies: &mut Vec<Body>) -> Result<()> {
        let done = self.done.join(",");
        self.done.clear();
        let lease = format!(
            "BEGIN; EXECUTE complete('{{{done}}}'); COMMIT; \
             BEGIN; SET LOCAL synchronous_commit = off; EXECUTE lease({jobs_max}); COMMIT"
        );
        for row in self.session.query(&lease)? {
            let [id, body] = row.try_into().map_err(|_| anyhow::anyhow!("a row of two"))?;
            self.leased.push(id);
            bodies.push(Body::parse(&body)?);
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        self.done.append(&mut self.leased);
        Ok(())
    }
}

/// A connection to the server.
struct Session {
    stream: BufReader<TcpStream>,
    message: Vec<u8>,
}

impl Session {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        let mut session = Self { stream: BufReader::new(stream), message: Vec::new() };
        let mut start = 196_608_u32.to_be_bytes().to_vec();
        start.extend_from_slice(b"user\0bench\0database\0postgres\0\0");
        session.send(None, &start)?;
        session.answer()?;
        Ok(session)
    }

    fn send(&mut self, kind: Option<u8>, content: &[u8]) -> Result<()> {
        self.message.clear();
        self.message.extend(kind);
        let length = u32::try_from(content.len() + 4)?;
        self.message.extend_from_slice(&length.to_be_bytes());
        self.message.extend_from_slice(content);
        self.stream.get_mut().write_all(&self.message)?;
        Ok(())
    }

    /// The rows of a query, as text.
    fn query(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        self.send(Some(b'Q'), &[sql.as_bytes(), b"\0"].concat())?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Vec<Vec<String>>> {
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            let mut kind = [0];
            self.stream.read_exact(&mut kind)?;
            let length = usize::try_from(self.number()?)?.saturating_sub(4);
            match kind {
                [b'D'] => rows.push(self.row()?),
                [b'Z'] => {
                    self.skip(length)?;
                    break;
                }
                [b'E'] => {
                    let mut text = vec![0; length];
                    self.stream.read_exact(&mut text)?;
                    failed = Some(String::from_utf8_lossy(&text).replace('\0', " "));
                    // A refused connection is closed, and says no more.
                    if rows.is_empty() && failed.as_ref().is_some_and(|it| it.contains("FATAL")) {
                        break;
                    }
                }
                _ => self.skip(length)?,
            }
        }
        failed.map_or(Ok(rows), |failed| bail!("PostgreSQL: {failed}"))
    }

    fn row(&mut self) -> Result<Vec<String>> {
        let mut count = [0; 2];
        self.stream.read_exact(&mut count)?;
        let mut row = Vec::new();
        for _ in 0..u16::from_be_bytes(count) {
            let length = self.number()?;
            let mut text = vec![0; usize::try_from(length)?];
            self.stream.read_exact(&mut text)?;
            row.push(String::from_utf8(text)?);
        }
        Ok(row)
    }

    fn number(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.stream.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn skip(&mut self, bytes: usize) -> Result<()> {
        let mut rest = vec![0; bytes];
        self.stream.read_exact(&mut rest)?;
        Ok(())
    }
}
