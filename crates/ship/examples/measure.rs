//! Ships a folder to one endpoint, or receives it, and prints what it took: for benchmarks beside other
//! tools, without the rest of the binary.
//!
//! `measure ship FOLDER|- ENDPOINT BUCKET PREFIX`, or `measure receive FOLDER ENDPOINT BUCKET PREFIX`

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::{error::Error, fs, sync::Arc, time::Instant};

use rhumb_pack::{Sealer, SecretKey, Trust};
use rhumb_ship::{
    Credentials, Prefix, Progress, RegionId, Remote, Settings, Site, Source, Target, receive, ship,
};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, folder, endpoint, bucket, prefix] = words.as_slice() else {
        return Err("measure ship|receive FOLDER ENDPOINT BUCKET PREFIX".into());
    };
    let credentials =
        Credentials { key_id: "tester".into(), secret: "testersecret".into(), token: None };
    let site = Site::new(RegionId::new("us-east-1")?, endpoint, bucket);
    let remote = Remote::new(site.signed(credentials))?;
    let (prefix, begun) = (Prefix::new(prefix)?, Instant::now());
    let progress = Arc::new(Progress::new([remote.region()]));
    let (remotes, settings) = (vec![remote], Settings::default());
    let bytes = if what == "ship" {
        let sealer = Sealer::Key(SecretKey::from_seed([1; 32]));
        let source = match folder.as_str() {
            "-" => Source::Stream { name: "stream".into(), input: Box::new(std::io::stdin()) },
            folder => Source::Tree(folder.into()),
        };
        let report = ship(source, remotes, &prefix, &sealer, settings, progress).await?;
        if report.is_failed() {
            return Err(format!("{report:?}").into());
        }
        report.summary.bytes
    } else {
        let target = Target::Folder(folder.into());
        let got = receive(remotes, &prefix, Trust::AnySigner, target, settings, progress).await?;
        got.written.bytes
    };
    let took = begun.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: ?").to_owned();
    let megabytes = bytes / 1_000_000;
    println!("{what}: {megabytes} MB in {took:.2} s; {peak}");
    Ok(())
}
