//! A region's bucket: the few requests that are made there.

use std::{error::Error as _, fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutPayload,
    RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    client::{HttpError, HttpErrorKind},
    multipart::{MultipartStore as _, PartId},
    path::Path,
};
use rhumb_objects::{
    transfer::{Limits, Trouble},
    upload::Fault,
};
use rhumb_types::RegionId;

use crate::{
    limits::{ANSWER_TIME_MAX, TEXT_BYTES_MAX, UPLOAD_RATE_MIN},
    meter::{Meter, Metered},
};

/// What a region may have to copy before it answers, in bytes.
const COPIED_BYTES_MAX: u64 = 256 << 20;

/// How the client tells of a region that asks for less: RFC 9110, 15.6.4, and RFC 6585, 4.
const BUSY: [&str; 2] = ["status code: 503", "status code: 429"];

/// Who asks.
#[derive(Clone)]
pub struct Credentials {
    /// The name of the key.
    pub key_id: String,
    /// The key.
    pub secret: String,
    /// What temporary credentials come with.
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Where a region's bucket is.
#[derive(Clone, Debug)]
pub struct Site {
    /// The region, as it is called in reports.
    pub region: RegionId,
    /// Its endpoint: `http://` or `https://`, a host, and maybe a port.
    pub endpoint: String,
    /// What the bucket is called there.
    pub bucket: String,
    /// The region that signatures name.
    pub signing_region: String,
    /// Without them requests are not signed.
    pub credentials: Option<Credentials>,
    /// PEM of an authority that signed the endpoint's certificate, if the system does not know it.
    pub authority: Option<Vec<u8>>,
    /// How much may go there at a time; without, only what each transfer says.
    pub limits: Option<Limits>,
}

impl Site {
    /// A bucket that anybody may ask, at an endpoint whose signing region has the region's own name.
    #[must_use]
    pub fn new(region: RegionId, endpoint: &str, bucket: &str) -> Self {
        Self {
            signing_region: region.to_string(),
            region,
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
            credentials: None,
            authority: None,
            limits: None,
        }
    }

    /// The same, asked as this user.
    #[must_use]
    pub fn signed(self, credentials: Credentials) -> Self {
        Self { credentials: Some(credentials), ..self }
    }
}

/// Why a site cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint of {region} cannot be used")]
pub struct SiteError {
    region: RegionId,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no such object or bucket.
    Missing,
    /// The credentials are not allowed to do that.
    Refused,
    /// Nobody answered, or with an error of the server.
    Failed,
    /// No answer came in time.
    Late,
    /// The region asks for less.
    Busy,
    /// What was to be sent cannot be had again.
    Gone,
    /// The object is longer than it may be.
    Long,
    /// A key that S3 clients cannot name.
    Key,
}

/// Why a request to a region failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct RemoteError {
    /// The kind.
    pub reason: Reason,
    text: String,
}

impl RemoteError {
    fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }

    pub(crate) fn gone(text: impl Into<String>) -> Self {
        Self::new(Reason::Gone, text)
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(Reason::Failed, text)
    }

    /// Whether the same request may go well a little later.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self.reason, Reason::Failed | Reason::Late | Reason::Busy)
    }

    /// What it means for the upload that the request belongs to.
    pub(crate) const fn fault(&self) -> Fault {
        match self.reason {
            Reason::Failed => Fault::Broken,
            Reason::Late => Fault::TimedOut,
            Reason::Busy => Fault::Refused,
            Reason::Missing | Reason::Refused | Reason::Long | Reason::Key => Fault::Denied,
            Reason::Gone => Fault::SourceGone,
        }
    }

    /// What it means for how much may go to the region.
    pub(crate) const fn trouble(&self) -> Trouble {
        match self.reason {
            Reason::Late => Trouble::TimedOut,
            Reason::Busy => Trouble::Refused,
            _ => Trouble::Broken,
        }
    }
}

impl From<object_store::Error> for RemoteError {
    fn from(error: object_store::Error) -> Self {
        // The innermost cause says what happened; the outer ones repeat the address.
        let (mut cause, mut late) = (error.source(), false);
        while let Some(next) = cause.and_then(std::error::Error::source) {
            let of_client = next.downcast_ref::<HttpError>();
            late |= of_client.is_some_and(|error| error.kind() == HttpErrorKind::Timeout);
            cause = Some(next);
        }
        let whole = cause.map_or_else(|| error.to_string(), ToString::to_string);
        let code = between(&whole, "<Code>", "</Code>");
        let reason = match (&error, code) {
            (object_store::Error::NotFound { .. }, _) | (_, Some("NoSuchBucket" | "NoSuchKey")) => {
                Reason::Missing
            }
            (object_store::Error::PermissionDenied { .. }, _)
            | (object_store::Error::Unauthenticated { .. }, _)
            | (_, Some("AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch")) => {
                Reason::Refused
            }
            (_, Some("SlowDown" | "ServiceUnavailable" | "TooManyRequests")) => Reason::Busy,
            _ if BUSY.iter().any(|status| whole.contains(status)) => Reason::Busy,
            _ if late => Reason::Late,
            _ => Reason::Failed,
        };
        let text = match (code, between(&whole, "<Message>", "</Message>")) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            // An answer to HEAD has no body that could say more.
            _ if reason == Reason::Missing => "there is no such object".to_owned(),
            _ if reason == Reason::Refused => "access is denied".to_owned(),
            _ => whole.lines().next().unwrap_or("no reason was given").trim().to_owned(),
        };
        let shown = text.chars().filter(|char| !char.is_control()).take(TEXT_BYTES_MAX / 8);
        Self::new(reason, shown.collect::<String>())
    }
}

/// What stands between two tags of an S3 error.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (inner, _) = text.split_once(open)?.1.split_once(close)?;
    (!inner.is_empty()).then_some(inner)
}

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was changed, in milliseconds since 1970.
    pub changed: i64,
    /// Its entity tag.
    pub tag: Option<String>,
}

impl From<ObjectMeta> for Listed {
    fn from(meta: ObjectMeta) -> Self {
        Self {
            key: meta.location.to_string(),
            bytes: meta.size,
            changed: meta.last_modified.timestamp_millis(),
            tag: meta.e_tag,
        }
    }
}

/// A region's bucket.
#[derive(Clone, Debug)]
pub struct Remote {
    site: Arc<Site>,
    store: Arc<AmazonS3>,
    meter: Meter,
}

impl Remote {
    /// A client of this site. Nothing is asked yet.
    ///
    /// # Errors
    /// When its address or an authority is none.
    pub fn new(site: Site) -> Result<Self, SiteError> {
        // Only the first caller of a process sets it; who else has set one chose ring, too.
        let _set_already = rustls::crypto::ring::default_provider().install_default();
        let fault = |source| SiteError { region: site.region.clone(), source };
        let meter = Meter::default();
        let client = Metered::new(site.authority.as_deref(), meter.clone())
            .map_err(|source| fault(source.into()))?;
        let mut builder = AmazonS3Builder::new()
            .with_endpoint(site.endpoint.trim_end_matches('/'))
            .with_bucket_name(&site.bucket)
            .with_region(&site.signing_region)
            .with_allow_http(site.endpoint.starts_with("http://"))
            .with_http_connector(client)
            // Tries are counted by the one who knows how long the whole may take.
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
        builder = match &site.credentials {
            Some(Credentials { key_id, secret, token }) => {
                let keyed = builder.with_access_key_id(key_id).with_secret_access_key(secret);
                token.iter().fold(keyed, |keyed, token| keyed.with_token(token))
            }
            None => builder.with_skip_signature(true),
        };
        let store = Arc::new(builder.build().map_err(|source| fault(source.into()))?);
        Ok(Self { site: Arc::new(site), store, meter })
    }

    /// Where it is.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &RegionId {
        &self.site.region
    }

    /// Bytes of objects that left for this region so far, those of failed tries included.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.meter.bytes()
    }

    /// Writes an object, once.
    ///
    /// # Errors
    /// When the region does not say that it has it.
    pub async fn put(&self, key: &str, body: &[Bytes]) -> Result<(), RemoteError> {
        let bytes: usize = body.iter().map(Bytes::len).sum();
        let payload: PutPayload = body.iter().cloned().collect();
        let path = path(key)?;
        in_time(bytes as u64, async { Ok(self.store.put(&path, payload).await?) }).await?;
        Ok(())
    }

    /// Reads an object that has at most so many bytes.
    ///
    /// # Errors
    /// When it is not there, longer, or does not come.
    pub async fn get(&self, key: &str, most: usize) -> Result<Bytes, RemoteError> {
        let path = path(key)?;
        in_time(most as u64, async {
            let found = self.store.get(&path).await?;
            let bytes = found.meta.size;
            if let Some(exact) = usize::try_from(bytes).ok().filter(|bytes| *bytes <= most) {
                return gathered(found.into_stream(), exact).await;
            }
            let text = format!("`{key}` has {bytes} bytes, and at most {most} are allowed");
            Err(RemoteError::new(Reason::Long, text))
        })
        .await
    }

    /// Reads a range of an object, as long as it is the one with this entity tag.
    pub(crate) async fn range(
        &self,
        key: &str,
        range: std::ops::Range<u64>,
        tag: Option<String>,
    ) -> Result<Bytes, RemoteError> {
        let bytes = range.end - range.start;
        let most = usize::try_from(bytes).unwrap_or(usize::MAX);
        let range = Some(GetRange::Bounded(range));
        let options = GetOptions { range, if_match: tag, ..GetOptions::default() };
        let path = path(key)?;
        in_time(bytes, async {
            let got =
                gathered(self.store.get_opts(&path, options).await?.into_stream(), most).await?;
            if got.len() == most {
                Ok(got)
            } else {
                Err(RemoteError::new(Reason::Failed, "the answer is short"))
            }
        })
        .await
    }

    /// Begins an upload in parts.
    pub(crate) async fn begin(&self, key: &str) -> Result<String, RemoteError> {
        let path = path(key)?;
        in_time(0, async { Ok(self.store.create_multipart(&path).await?) }).await
    }

    /// Writes a part, counted from 0; the answer is its tag.
    pub(crate) async fn part(
        &self,
        key: &str,
        id: &str,
        nth: usize,
        body: Bytes,
    ) -> Result<String, RemoteError> {
        let (path, id, bytes) = (path(key)?, id.to_owned(), body.len() as u64);
        let put = self.store.put_part(&path, &id, nth, body.into());
        in_time(bytes, async { Ok(put.await?.content_id) }).await
    }

    /// Makes an object of the parts with these tags.
    pub(crate) async fn finish(
        &self,
        key: &str,
        id: &str,
        tags: Vec<String>,
    ) -> Result<(), RemoteError> {
        let parts = tags.into_iter().map(|content_id| PartId { content_id }).collect();
        let (path, id) = (path(key)?, id.to_owned());
        let finished = self.store.complete_multipart(&path, &id, parts);
        in_time(0, async { Ok(finished.await?) }).await.map(drop)
    }

    /// Gives an upload in parts up.
    pub(crate) async fn abort(&self, key: &str, id: &str) -> Result<(), RemoteError> {
        let (path, id) = (path(key)?, id.to_owned());
        in_time(0, async { Ok(self.store.abort_multipart(&path, &id).await?) }).await
    }

    /// Copies an object within the bucket.
    pub(crate) async fn copy(&self, from: &str, to: &str) -> Result<(), RemoteError> {
        let (from, to) = (path(from)?, path(to)?);
        in_time(COPIED_BYTES_MAX, async { Ok(self.store.copy(&from, &to).await?) }).await
    }

    /// What is right below a prefix: objects, and folders, whose keys end with `/`.
    pub(crate) async fn folder(&self, prefix: &str) -> Result<Vec<Listed>, RemoteError> {
        let prefix = (!prefix.is_empty()).then(|| Path::from(prefix));
        let found = self.store.list_with_delimiter(prefix.as_ref()).await?;
        let folder =
            |path: Path| Listed { key: format!("{path}/"), bytes: 0, changed: 0, tag: None };
        let folders = found.common_prefixes.into_iter().map(folder);
        Ok(folders.chain(found.objects.into_iter().map(Listed::from)).collect())
    }

    /// What is known of an object.
    ///
    /// # Errors
    /// When it is not there, or nobody says so.
    pub async fn head(&self, key: &str) -> Result<Listed, RemoteError> {
        let path = path(key)?;
        in_time(0, async { Ok(self.store.head(&path).await?.into()) }).await
    }

    /// Removes an object; it need not be there.
    ///
    /// # Errors
    /// When the region does not say that it is gone.
    pub async fn delete(&self, key: &str) -> Result<(), RemoteError> {
        let path = path(key)?;
        in_time(0, async { Ok(self.store.delete(&path).await?) }).await
    }

    /// The objects whose keys begin with the prefix and a `/`, page by page.
    #[must_use]
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed, RemoteError>> {
        let prefix = (!prefix.is_empty()).then(|| Path::from(prefix));
        self.store.list(prefix.as_ref()).map_ok(Listed::from).map_err(RemoteError::from).boxed()
    }
}

/// Bounds a request by the time that it takes at the slowest rate that counts.
async fn in_time<T>(
    bytes: u64,
    request: impl Future<Output = Result<T, RemoteError>>,
) -> Result<T, RemoteError> {
    let most = ANSWER_TIME_MAX + Duration::from_secs(bytes / UPLOAD_RATE_MIN);
    let late = || RemoteError::new(Reason::Late, format!("no answer within {most:?}"));
    tokio::time::timeout(most, request).await.unwrap_or_else(|_| Err(late()))
}

async fn gathered(
    mut pieces: BoxStream<'static, object_store::Result<Bytes>>,
    most: usize,
) -> Result<Bytes, RemoteError> {
    let mut whole = BytesMut::with_capacity(most);
    while let Some(piece) = pieces.try_next().await? {
        if whole.len() + piece.len() > most {
            return Err(RemoteError::new(Reason::Long, "more bytes came than the object has"));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

pub(crate) fn path(key: &str) -> Result<Path, RemoteError> {
    Path::parse(key).map_err(|error| RemoteError::new(Reason::Key, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials {
            key_id: "id".into(),
            secret: "hidden".into(),
            token: Some("hidden".into()),
        };
        assert!(!format!("{credentials:?}").contains("hidden"));
    }

    #[test]
    fn keys_that_leave_their_prefix_are_refused() {
        for wrong in ["a/../b", "a//b", "./a"] {
            assert_eq!(path(wrong).unwrap_err().reason, Reason::Key, "{wrong}");
        }
    }
}
