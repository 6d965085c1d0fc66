//! Redis clients over TLS.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rhumb_config::settings::{ListenersSettings, TlsSettings};
use rhumb_integration::{Cluster, Layout, eventually, programs};
use rustix::process::Signal;

use crate::{fails, rhumb, run, skipped, works};

/// How long a node may take to serve, or to read a certificate anew.
const SERVED_MAX: Duration = Duration::from_secs(30);
/// How long the end of a connection may take.
const CLOSED_MAX: Duration = Duration::from_secs(15);

/// An authority, and what it has signed for the node, in a folder.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join("authority.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Signs a certificate for a purpose, as `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str, purpose: ExtendedKeyUsagePurpose) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// A node's settings.
    pub(crate) fn settings(&self) -> TlsSettings {
        self.sign("node", ExtendedKeyUsagePurpose::ServerAuth);
        let (certificate, key) = (self.file("node.pem"), self.file("node.key"));
        TlsSettings { certificate, key, client_authorities: None }
    }
}

/// One region that shows a certificate to Redis clients, not started yet.
fn region(tls: TlsSettings) -> Cluster {
    let encrypt = move |settings: &mut rhumb_config::Settings| {
        settings.tls = Some(tls);
        for region in settings.regions.values_mut() {
            let ListenersSettings { resp, http, .. } = &mut region.listeners;
            for listener in [resp, http].into_iter().flatten() {
                listener.tls = true;
            }
            if let Some(http) = http {
                http.auth = true;
            }
        }
    };
    Layout::regions(1).adjust(encrypt).prepare().unwrap()
}

/// `redis-cli` that believes an authority.
fn cli(cluster: &Cluster, authority: &Path) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &cluster.resp(0).port().to_string(), "--tls"]);
    command.arg("--cacert").arg(authority);
    command
}

/// Whether `redis-cli` gets its answer.
fn answered(command: &mut Command) -> anyhow::Result<()> {
    let output = command.arg("PING").stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(said.trim() == "PONG", "{said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn has_tls() -> bool {
    // One without TLS knows no such option, and fails on it.
    programs::answers("redis-cli", &["--tls", "--version"])
}

#[test]
fn clients_are_served_over_tls_and_a_reload_disturbs_nobody() {
    if !has_tls() {
        return skipped("there is no redis-cli with TLS");
    }
    let folder = tempfile::tempdir().unwrap();
    let (ours, next) =
        (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "next"));
    let mut cluster = region(ours.settings());
    cluster.start(0).unwrap();
    let believed = ours.file("authority.pem");
    eventually(SERVED_MAX, || answered(&mut cli(&cluster, &believed))).unwrap();
    assert!(answered(&mut cli(&cluster, &next.file("authority.pem"))).is_err(), "a foreign one");

    // Whoever speaks in the clear is told nothing, and harms nobody.
    let mut plain = TcpStream::connect(cluster.resp(0)).unwrap();
    plain.set_read_timeout(Some(CLOSED_MAX)).unwrap();
    plain.write_all(b"PING\r\n").unwrap();
    let mut told = Vec::new();
    let _closed = plain.read_to_end(&mut told);
    assert!(!told.windows(4).any(|bytes| bytes == b"PONG"), "{told:?}");

    let mut open =
        cli(&cluster, &believed).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut asks = open.stdin.take().unwrap();
    let mut answers = BufReader::new(open.stdout.take().unwrap());
    let mut ask = |words: &str| {
        writeln!(asks, "{words}").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    };
    assert_eq!(ask("SET a 1"), "OK");

    // A broken pair changes nothing; a sound one is shown to new connections only.
    next.settings();
    fs::copy(next.file("node.pem"), ours.file("node.pem")).unwrap();
    cluster.signal(0, Signal::HUP).unwrap();
    eventually(SERVED_MAX, || {
        let said = cluster.log(0);
        anyhow::ensure!(said.contains("stays as it was"), "{said}");
        Ok(())
    })
    .unwrap();
    answered(&mut cli(&cluster, &believed)).unwrap();
    fs::copy(next.file("node.key"), ours.file("node.key")).unwrap();
    cluster.signal(0, Signal::HUP).unwrap();
    eventually(SERVED_MAX, || answered(&mut cli(&cluster, &next.file("authority.pem")))).unwrap();
    assert!(answered(&mut cli(&cluster, &believed)).is_err(), "the old one is shown no more");
    assert_eq!(ask("GET a"), "1");
    drop(asks);
    assert!(open.wait().unwrap().success());
}

#[test]
fn a_client_shows_a_certificate_where_authorities_are_named() {
    if !has_tls() {
        return skipped("there is no redis-cli with TLS");
    }
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) =
        (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "foreign"));
    let believed = ours.file("authority.pem");
    let mut cluster =
        region(TlsSettings { client_authorities: Some(believed.clone()), ..ours.settings() });
    cluster.start(0).unwrap();
    let shows = |authority: &Authority| {
        authority.sign("client", ExtendedKeyUsagePurpose::ClientAuth);
        let mut command = cli(&cluster, &believed);
        command.arg("--cert").arg(authority.file("client.pem"));
        command.arg("--key").arg(authority.file("client.key"));
        command
    };
    eventually(SERVED_MAX, || answered(&mut shows(&ours))).unwrap();
    assert!(answered(&mut shows(&foreign)).is_err(), "a foreign one");
    assert!(answered(&mut cli(&cluster, &believed)).is_err(), "none");

    // So do the commands that ask over HTTP.
    let file = |name: &str| ours.file(name).to_str().unwrap().to_owned();
    let (certificate, key) = (file("client.pem"), file("client.key"));
    let with = ["status", "--cert", &certificate, "--cert-key", &key];
    assert!(works(rhumb(&cluster, 0, &with)).contains("us-east-1"));
    fails(rhumb(&cluster, 0, &["status"]));
}

#[test]
fn a_key_of_another_certificate_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) =
        (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "other"));
    let mut cluster = region(TlsSettings { key: other.settings().key, ..ours.settings() });
    cluster.start(0).unwrap();
    assert!(!cluster.wait_for_end(0).unwrap().success());
    let said = cluster.log(0);
    assert!(said.contains("key") && said.contains("certificate"), "{said}");
}

#[test]
fn redis_py_is_served_over_tls() {
    let python = programs::python().filter(|path| programs::answers(path, &["-c", "import redis"]));
    let Some(python) = python else {
        return skipped("there is no Python with redis-py; `cargo xtask test` makes one");
    };
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let mut cluster = region(ours.settings());
    cluster.start(0).unwrap();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python/encrypted.py");
    let mut command = Command::new(python);
    command.arg(script).arg(cluster.resp(0).port().to_string()).arg(ours.file("authority.pem"));
    assert!(run(&mut command).ends_with("ok\n"));
}
