//! Which node is asked, and as whom.
//!
//! `--url` or RHUMB_URL names it; without, it is this machine's own node, as the configuration says:
//! its HTTP listener, the certificate that it shows, and the token of its machine.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use http::{HeaderValue, Uri};
use rhumb_config::{
    Config,
    settings::{HTTP_PORT, Server},
};
use rhumb_peer::Identities;
use rhumb_types::RegionId;
use rustls::ClientConfig;

use super::trust::{self, Trust, TrustError};
use crate::{
    cli::{NodeArgs, Shown},
    commands::serve::load,
    folders,
    machine_token::MachineToken,
};

/// Why it is not known which node to ask.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// The address is not one.
    #[error("`{url}` is not the address of a node: write http://HOST:PORT or https://HOST:PORT")]
    Url {
        /// What was given.
        url: String,
    },
    /// The token would be readable on its way.
    #[error("a token is not sent to {0} without encryption: use https://")]
    Plain(String),
    /// The token is not a text that a header can carry.
    #[error("the token is not one: it has the form rhumb_ID_SECRET")]
    Token,
    /// The configuration does not name a node.
    #[error("name the node with --url or RHUMB_URL, or a configuration with --config: {0}")]
    Config(String),
    /// No node of the file is on this machine.
    #[error(
        "no node of {file} has its identity in {data}: name a node with --url or RHUMB_URL, or its \
         region with RHUMB_REGION"
    )]
    Nobody {
        /// The file.
        file: PathBuf,
        /// Where identities are looked for.
        data: PathBuf,
    },
    /// The node has no HTTP server.
    #[error("HTTP is off for {0}: add `listeners: {{ http: {{}} }}` to the file and restart it")]
    Off(RegionId),
    /// Certificates cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// A node, and what to show it.
pub(super) struct Target {
    pub(super) url: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authority: HeaderValue,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) bearer: Option<HeaderValue>,
}

impl Target {
    pub(super) fn find(args: &NodeArgs) -> Result<Self, TargetError> {
        match &args.url {
            Some(url) => Self::named(url, args.token.as_deref(), args.ca.clone(), args.shown()),
            None => Self::own(args),
        }
    }

    /// A node by its address, without a token.
    pub(super) fn open(url: &str) -> Result<Self, TargetError> {
        Self::named(url, None, None, None)
    }

    /// A node by its address.
    fn named(
        url: &str,
        token: Option<&str>,
        authorities: Option<PathBuf>,
        shown: Option<Shown<'_>>,
    ) -> Result<Self, TargetError> {
        let wrong = || TargetError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        let host = uri.host().filter(|_| bare).ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let trust = authorities.map_or(Trust::System, Trust::Authorities);
        let tls = secure.then(|| trust::config(&trust, shown)).transpose()?;
        let port = uri.port_u16().unwrap_or(HTTP_PORT);
        Self { tls, ..Self::at(host, port, secure, token)? }.checked()
    }

    /// This machine's node.
    fn own(args: &NodeArgs) -> Result<Self, TargetError> {
        let config =
            load(&args.config).map_err(|error| TargetError::Config(format!("{error:#}")))?;
        let region = local(&config, &args.config.config)?;
        let listener = config.listener(&region, Server::Http);
        let listener = listener.ok_or_else(|| TargetError::Off(region.clone()))?;
        let address = reachable(listener.address(Server::Http));
        let tls = config.settings().tls.as_ref().filter(|_| listener.tls);
        let tls =
            tls.map(|tls| trust::config(&Trust::Pinned(tls.certificate.clone()), args.shown()));
        let folder = folders::identity(&config.settings().data, &region);
        let machine = || {
            let secret = Identities::load(&folder, Some(&region)).ok()?.secret();
            Some(MachineToken::of(&secret).bearer())
        };
        let token = args.token.clone().or_else(|| machine().filter(|_| listener.auth));
        let (host, port) = (address.ip().to_string(), address.port());
        let tls = tls.transpose()?;
        Self { tls, ..Self::at(host, port, listener.tls, token.as_deref())? }.checked()
    }

    pub(super) fn at(
        host: String,
        port: u16,
        secure: bool,
        token: Option<&str>,
    ) -> Result<Self, TargetError> {
        let scheme = if secure { "https" } else { "http" };
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let url = format!("{scheme}://{authority}");
        let bearer = token.map(|token| HeaderValue::try_from(format!("Bearer {token}")));
        let mut bearer = bearer.transpose().map_err(|_| TargetError::Token)?;
        if let Some(bearer) = &mut bearer {
            bearer.set_sensitive(true);
        }
        let authority =
            HeaderValue::try_from(authority).map_err(|_| TargetError::Url { url: url.clone() })?;
        Ok(Self { url, host, port, authority, tls: None, bearer })
    }

    /// Refuses to show a token to everybody on the way.
    fn checked(self) -> Result<Self, TargetError> {
        let here = self.host == "localhost"
            || self.host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback());
        if self.bearer.is_some() && self.tls.is_none() && !here {
            return Err(TargetError::Plain(self.url));
        }
        Ok(self)
    }
}

/// The region of this machine's node: the one that is named, or the first that has its identity
/// here.
pub(crate) fn local(config: &Config, file: &Path) -> Result<RegionId, TargetError> {
    if let Some(region) = config.region() {
        return Ok(region.clone());
    }
    let data = &config.settings().data;
    let mut regions = config.settings().regions.keys();
    let here = regions.find(|region| Identities::is_in(&folders::identity(data, region)));
    here.cloned().ok_or_else(|| TargetError::Nobody { file: file.to_owned(), data: data.clone() })
}

/// Where a listener on every address is reached from this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = match address {
            SocketAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            SocketAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        };
        address.set_ip(loopback);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ConfigArgs;

    fn target(url: &str, token: Option<&str>) -> Result<Target, TargetError> {
        Target::find(&NodeArgs {
            config: ConfigArgs { config: "none.yaml".into() },
            url: Some(url.to_owned()),
            token: token.map(str::to_owned),
            ca: None,
            cert: None,
            cert_key: None,
        })
    }

    #[test]
    fn addresses_name_a_scheme_and_a_host_and_nothing_else() {
        let good = target("http://127.0.0.1:7500", None).unwrap();
        assert_eq!((good.host.as_str(), good.port), ("127.0.0.1", 7500));
        assert_eq!(target("http://[::1]/", None).unwrap().url, "http://[::1]:7400");
        for bad in ["127.0.0.1:7400", "ftp://x", "http://x/v1", "http://", "x", ""] {
            assert!(matches!(target(bad, None), Err(TargetError::Url { .. })), "{bad}");
        }
    }

    #[test]
    fn a_token_is_not_sent_unencrypted_to_another_machine() {
        let token = Some("rhumb_a_b");
        assert!(target("http://localhost:1", token).is_ok());
        assert!(target("http://127.0.0.9:1", token).is_ok());
        assert!(matches!(target("http://10.0.0.1:1", token), Err(TargetError::Plain(_))));
        assert!(target("http://10.0.0.1:1", None).is_ok());
        assert!(matches!(target("http://localhost:1", Some("a\nb")), Err(TargetError::Token)));
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:7400".parse().unwrap()).to_string(), "127.0.0.1:7400");
        assert_eq!(reachable("[::]:7400".parse().unwrap()).to_string(), "[::1]:7400");
        assert_eq!(reachable("10.0.0.1:7400".parse().unwrap()).to_string(), "10.0.0.1:7400");
    }
}
