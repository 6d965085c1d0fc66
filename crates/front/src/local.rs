//! Whom a request was meant for.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, header};

/// Whether a `Host` names this machine by an address or name that nobody else can point here.
#[must_use]
pub fn is_local_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().to_canonical().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether a request comes from a page of some web site that runs in a browser on this machine, under a
/// name that was made to point here perhaps. A server that asks for no key must not let it through.
#[must_use]
pub fn is_foreign_page(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map(|host| host.to_str().ok());
    let local = host.is_none_or(|host| host.is_some_and(is_local_host));
    !local || headers.contains_key(header::ORIGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_must_mean_this_machine_are_local() {
        for host in ["127.0.0.1", "127.0.0.1:7400", "localhost:7400", "LOCALHOST", "[::1]:7400"] {
            assert!(is_local_host(host), "{host}");
        }
        for host in ["", "rhumb.example", "127.0.0.1.example.com", "10.0.0.1:7400", "localhost.x"] {
            assert!(!is_local_host(host), "{host}");
        }
    }
}
