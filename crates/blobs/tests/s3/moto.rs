//! An independent S3 server: moto, a model of AWS in Python. Tests of other crates use this file, too.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// The Python that has moto, as the environment says, else the one that `cargo xtask test` made.
fn python() -> Option<PathBuf> {
    let named = std::env::vars_os().find(|(name, _)| name == "RHUMB_TEST_PYTHON");
    if let Some((_, path)) = named {
        return Some(PathBuf::from(path));
    }
    let own = std::env::current_exe().ok()?;
    let made = own.ancestors().map(|folder| folder.join("xtask/python/bin/python"));
    made.into_iter().find(|path| path.is_file())
}

/// moto wants to know who signed a request, and not whether it is true.
pub(crate) const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=tester/20261121/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0";

/// The server.
pub(crate) struct Moto {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Moto {
    /// Starts a server; `None` where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let mut command = Command::new(python()?);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().ok()?;
        let mut said = BufReader::new(process.stderr.take()?).lines().map_while(Result::ok);
        let address = said.find_map(|line| {
            line.split_once("http://127.0.0.1:")?.1.split_whitespace().next()?.parse::<u16>().ok()
        });
        let Some(port) = address else {
            process.wait().ok()?;
            return None;
        };
        // It goes on to log every request.
        std::thread::spawn(move || said.for_each(drop));
        Some(Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// Makes a bucket.
    pub(crate) fn make(&self, bucket: &str) {
        self.ask("PUT", &format!("/{bucket}"), b"").expect("a bucket");
    }

    /// One request.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: {}\r\nauthorization: {SIGNED}\r\n\
             content-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if !answer.starts_with(b"HTTP/1.1 2") && !answer.starts_with(b"HTTP/1.0 2") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
        }
        Ok(answer.split_off(end + 4))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}
