//! Deliveries of webhooks: GitHub keeps them for three days, and repeats one when it is asked.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use rhumb_types::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{ApiError, As, GitHub, answer::Failed};
use crate::{
    limits::{PAGE, PAGES_MAX},
    payload::unix_millis,
    web::encode,
};

/// A webhook whose deliveries are looked at.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// That of the app.
    App,
    /// One of an organisation, by its id.
    Organisation(String, u64),
    /// One of a repository (`owner/name`), by its id.
    Repository(String, u64),
}

impl Hook {
    fn base(&self) -> String {
        match self {
            Self::App => "/app/hook/deliveries".to_owned(),
            Self::Organisation(name, id) => {
                format!("/orgs/{}/hooks/{id}/deliveries", encode(name))
            }
            Self::Repository(name, id) => {
                let (owner, name) = name.split_once('/').unwrap_or((name, ""));
                format!("/repos/{}/{}/hooks/{id}/deliveries", encode(owner), encode(name))
            }
        }
    }

    const fn who(&self) -> As {
        match self {
            Self::App => As::App,
            _ => As::Installation(None),
        }
    }
}

/// A delivery, as GitHub remembers it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedDelivery {
    /// GitHub's id of this try.
    pub id: u64,
    /// `X-GitHub-Delivery`: the same for every try.
    pub guid: String,
    /// When.
    pub at: UnixMillis,
    /// Whether it was answered with a yes.
    pub ok: bool,
    /// The event.
    pub event: String,
}

#[derive(Deserialize)]
struct Raw {
    id: u64,
    guid: String,
    delivered_at: String,
    status_code: i64,
    event: String,
}

impl GitHub {
    /// The deliveries of a hook since a time, the newest first.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn deliveries(
        &self,
        hook: &Hook,
        since: UnixMillis,
    ) -> Result<Vec<ListedDelivery>, ApiError> {
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let mut path = format!("{}?per_page={PAGE}", hook.base());
            if let Some(cursor) = &cursor {
                path.push_str(&format!("&cursor={}", encode(cursor)));
            }
            let (page, headers): (Vec<Raw>, _) =
                self.get_with_headers(hook.who(), path.clone()).await?;
            for raw in page {
                let what = "a delivery has no time";
                let lie = || ApiError::Lie { path: path.clone(), what };
                let at = unix_millis(&raw.delivered_at).ok_or_else(lie)?;
                if at < since {
                    return Ok(found);
                }
                let ok = (200..300).contains(&raw.status_code);
                let (id, guid, event) = (raw.id, raw.guid, raw.event);
                found.push(ListedDelivery { id, guid, at, ok, event });
            }
            let next = next_cursor(&headers);
            if next.is_none() || next == cursor {
                break;
            }
            cursor = next;
        }
        Ok(found)
    }

    /// Has a delivery repeated.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn redeliver(&self, hook: &Hook, id: u64) -> Result<(), ApiError> {
        let path = format!("{}/{id}/attempts", hook.base());
        let answer = self.ask(hook.who(), Method::POST, &path, Bytes::new()).await?;
        match answer.status() {
            StatusCode::ACCEPTED => Ok(()),
            status => Err(Failed::of(&path, status, answer.body()).into()),
        }
    }
}

/// The cursor of the next page (RFC 8288). Only the cursor is taken from the link: where to ask is not
/// the answer's to say.
fn next_cursor(headers: &HeaderMap) -> Option<String> {
    let links = headers.get(header::LINK)?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let target = next.split_once('<')?.1.split_once('>')?.0;
    let query = target.split_once('?')?.1;
    let cursor = query.split('&').find_map(|pair| pair.strip_prefix("cursor="))?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    (!cursor.is_empty() && cursor.bytes().all(known)).then(|| cursor.to_owned())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_next_cursor_is_taken_and_nothing_else() {
        let cursor = |link: &str| {
            let headers = [(header::LINK, link.parse().unwrap())].into_iter().collect();
            next_cursor(&headers)
        };
        let link =
            "<https://evil.example/app/hook/deliveries?per_page=100&cursor=v1_17>; rel=\"next\"";
        assert_eq!(cursor(link).as_deref(), Some("v1_17"));
        assert_eq!(cursor("<https://x/?cursor=a>; rel=\"first\""), None);
        assert_eq!(cursor("<https://x/?cursor=a%26b>; rel=\"next\""), None);
        assert_eq!(cursor("nonsense"), None);
    }
}
