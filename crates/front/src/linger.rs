//! The end of a request that is refused before it is read.

use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use tokio::time::timeout;

use crate::limits::{LINGER_BYTES_MAX, LINGER_WAIT_MAX};

/// Throws a refused body away before the answer: a client that is still sending when the connection
/// closes would not see why.
pub async fn linger<B>(body: B)
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let rest = Limited::new(body, LINGER_BYTES_MAX);
    let thrown = async {
        let mut rest = std::pin::pin!(rest);
        while let Some(Ok(_frame)) = rest.as_mut().frame().await {}
    };
    let _late = timeout(LINGER_WAIT_MAX, thrown).await;
}
