//! `PeerCall` over simulated TCP: one connection per call.

use std::{io, net::Ipv4Addr};

use bytes::Bytes;
use rhumb_control::Groups;
use rhumb_ports::{
    BoxFuture,
    peer::{CallError, PeerCall, PeerService, Service},
};
use rhumb_types::RegionId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};

const PORT: u16 = 7401;

pub struct Caller {
    pub from: RegionId,
}

async fn send(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    stream.write_u32(u32::try_from(frame.len()).unwrap()).await?;
    stream.write_all(frame).await
}

async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let mut frame = vec![0; length.try_into().unwrap()];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<Result<Bytes, String>> {
    send(stream, request).await?;
    let answer = receive(stream).await?;
    postcard::from_bytes(&answer).map_err(io::Error::other)
}

impl PeerCall for Caller {
    fn call(
        &self,
        to: RegionId,
        service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            let lost = |sent: bool, fault: io::Error| CallError::Unreachable {
                peer: to.to_string(),
                sent,
                reason: fault.to_string(),
            };
            let request = postcard::to_stdvec(&(&self.from, service, request)).unwrap();
            let mut stream = TcpStream::connect((to.as_str(), PORT))
                .await
                .map_err(|fault| lost(false, fault))?;
            let answer = ask(&mut stream, &request).await.map_err(|fault| lost(true, fault))?;
            answer.map_err(|reason| CallError::Refused { peer: to.to_string(), reason })
        })
    }
}

/// Answers calls for ever.
#[allow(clippy::disallowed_methods, reason = "the simulated host owns its tasks")]
pub async fn serve(groups: Groups) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let groups = groups.clone();
        tokio::spawn(async move {
            let request = receive(&mut stream).await?;
            let (from, service, request): (RegionId, Service, Bytes) =
                postcard::from_bytes(&request).map_err(io::Error::other)?;
            let answer = groups.answer(from, service, request).await;
            send(&mut stream, &postcard::to_stdvec(&answer).map_err(io::Error::other)?).await
        });
    }
}
