//! The adapter over real sockets on 127.0.0.1, with real certificates.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod joining;
#[cfg(test)]
mod links;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod support;
#[cfg(test)]
mod trust;
