//! As whom GitHub is asked: a token, or an app that gets tokens for its installations.
//!
//! An app names itself with a JSON Web Token (RFC 7519) that its RSA key signs (RS256, RFC 7518 section
//! 3.3); the signature is made by the TLS library's provider, which has to be able to do it anyway.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rhumb_types::UnixMillis;
use rustls::{
    SignatureScheme,
    crypto::ring,
    sign::{Signer, SigningKey},
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};

use crate::limits::APP_TOKEN_LIFE;

/// As whom GitHub is asked.
#[derive(Clone)]
pub enum Auth {
    /// A personal access token, or any other that is good by itself.
    Token(Arc<str>),
    /// An app.
    App(App),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "token",
            Self::App(_) => "app",
        })
    }
}

/// A GitHub App.
#[derive(Clone)]
pub struct App {
    id: String,
    key: Arc<dyn SigningKey>,
    /// The installation that is used where no event names one.
    pub(super) installation: Option<u64>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "app {}", self.id)
    }
}

/// Why somebody cannot be named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The token cannot stand in a header.
    #[error("the token is empty or has other characters than a token")]
    Token,
    /// The key is none, or not RSA.
    #[error(
        "the app's key is not an RSA key in a PEM file: take the one that GitHub made for the app"
    )]
    Key,
    /// The id cannot be one.
    #[error("`{0}` is no id of an app: it is a number, or starts with `Iv`")]
    AppId(String),
}

impl Auth {
    /// A token, as it stands in a file.
    ///
    /// # Errors
    /// [`AuthError::Token`].
    pub fn token(text: &str) -> Result<Self, AuthError> {
        let token = text.trim();
        let good = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if good { Ok(Self::Token(token.into())) } else { Err(AuthError::Token) }
    }

    /// An app, with its key as PEM.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn app(id: &str, key: &[u8], installation: Option<u64>) -> Result<Self, AuthError> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.') {
            return Err(AuthError::AppId(id.to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| AuthError::Key)?;
        let key = ring::sign::any_supported_type(&key).map_err(|_| AuthError::Key)?;
        let app = App { id: id.to_owned(), key, installation };
        // A key of another kind is found now, not at the first request.
        app.signer().ok_or(AuthError::Key)?;
        Ok(Self::App(app))
    }
}

impl App {
    fn signer(&self) -> Option<Box<dyn Signer>> {
        self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
    }

    /// The token by which the app names itself. It begins a minute ago, as GitHub advises, because
    /// clocks differ.
    pub(super) fn jwt(&self, now: UnixMillis) -> Result<String, AuthError> {
        let now = now.0 / 1_000;
        let (from, until) = (now.saturating_sub(60), now + APP_TOKEN_LIFE.as_secs());
        // The id has only letters, digits and dots.
        let claims = format!(r#"{{"exp":{until},"iat":{from},"iss":"{}"}}"#, self.id);
        let head = URL_SAFE_NO_PAD.encode(br#"{"alg":"RS256","typ":"JWT"}"#);
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signer = self.signer().ok_or(AuthError::Key)?;
        let signature = signer.sign(signed.as_bytes()).map_err(|_| AuthError::Key)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = include_bytes!("../../fixtures/app-key.pem");
    /// Made with `openssl dgst -sha256 -sign` from the same head and claims.
    const JWT: &str = include_str!("../../fixtures/app-token.txt");

    #[test]
    fn an_app_signs_as_another_program_does() {
        let Ok(Auth::App(app)) = Auth::app("12345", KEY, None) else { panic!("the key is good") };
        let token = app.jwt(UnixMillis(1_700_000_000_000)).unwrap();
        assert_eq!(token, JWT.trim());
    }

    #[test]
    fn keys_and_tokens_that_cannot_work_are_refused_at_once() {
        assert_eq!(Auth::app("12345", b"no key", None).err(), Some(AuthError::Key));
        let refused = Auth::app("a/b", KEY, None).err();
        assert_eq!(refused, Some(AuthError::AppId("a/b".to_owned())));
        assert!(Auth::token("ghp_abc\n").is_ok());
        for bad in ["", "\n", "a b", "a\nb"] {
            assert_eq!(Auth::token(bad).err(), Some(AuthError::Token), "{bad}");
        }
    }
}
