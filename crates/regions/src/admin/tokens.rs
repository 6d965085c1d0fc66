//! Join tokens, API tokens, and the signed heads of the audit chain.

use rhumb_types::{
    UnixMillis,
    control::{
        AdminCommand, AdminOutcome, AdminRefusal, AdminRequest, ApiToken, AuditHead, Digest,
        JoinToken, Member,
        limits::{API_TOKENS_MAX, AUDIT_HEADS_PER_REGION_MAX, JOIN_TOKENS_MAX},
    },
};

use super::{
    agreed::{Agreed, Answer},
    validate::{invalid, limit},
};

impl Agreed {
    pub(super) fn execute_token(&mut self, request: &AdminRequest) -> Answer {
        use AdminCommand as C;
        match &request.command {
            C::CreateJoinToken { token } => self.create_join_token(token, request.at),
            C::RevokeJoinToken { secret } => match self.join_tokens.remove(secret) {
                Some(_) => Ok(AdminOutcome::Done),
                None => Ok(AdminOutcome::Unchanged),
            },
            C::CreateApiToken { token } => self.create_api_token(token),
            C::RevokeApiToken { id } => self.revoke_api_token(id, request.at),
            C::DropApiToken { id } => self.drop_api_token(id, request.at),
            _ => Err(AdminRefusal::NotFound("token command".to_owned())),
        }
    }

    fn create_join_token(&mut self, token: &JoinToken, at: UnixMillis) -> Answer {
        if token.expires <= at {
            return Err(invalid("the token's end", "it is in the past"));
        }
        if self.join_tokens.contains_key(&token.secret) {
            return Err(AdminRefusal::Exists("join token".to_owned()));
        }
        let live = self.join_tokens.values().filter(|known| at < known.expires).count();
        if live >= JOIN_TOKENS_MAX {
            return Err(limit("join tokens", JOIN_TOKENS_MAX));
        }
        self.join_tokens.retain(|_, known| at < known.expires);
        self.join_tokens.insert(token.secret, token.clone());
        Ok(AdminOutcome::Done)
    }

    /// Uses a join token up, if it is good for this member.
    pub(super) fn use_join_token(
        &mut self,
        secret: Digest,
        member: &Member,
        at: UnixMillis,
    ) -> Result<(), AdminRefusal> {
        let refused = |why: &str| Err(AdminRefusal::TokenRefused(why.to_owned()));
        match self.join_tokens.get(&secret) {
            None => refused("it is unknown, or was used"),
            Some(token) if token.expires <= at => refused("it has expired"),
            Some(token) if token.region != member.region => refused("it is for another region"),
            Some(token) if token.role != member.role => refused("it is for another role"),
            Some(_) => {
                self.join_tokens.remove(&secret);
                Ok(())
            }
        }
    }

    fn create_api_token(&mut self, token: &ApiToken) -> Answer {
        if self.api_tokens.get(&token.id) == Some(token) {
            return Ok(AdminOutcome::Unchanged);
        }
        let taken = |known: &ApiToken| known.id == token.id || known.secret == token.secret;
        if self.api_tokens.values().any(taken) {
            return Err(AdminRefusal::Exists(format!("token {}", token.id)));
        }
        if self.api_tokens.len() >= API_TOKENS_MAX {
            return Err(limit("API tokens", API_TOKENS_MAX));
        }
        self.api_tokens.insert(token.id.clone(), token.clone());
        Ok(AdminOutcome::Done)
    }

    fn revoke_api_token(&mut self, id: &str, at: UnixMillis) -> Answer {
        let token = self.api_token_mut(id)?;
        if token.revoked.is_some() {
            return Ok(AdminOutcome::Unchanged);
        }
        token.revoked = Some(at);
        Ok(AdminOutcome::Done)
    }

    fn drop_api_token(&mut self, id: &str, at: UnixMillis) -> Answer {
        if self.api_token_mut(id)?.is_valid(at) {
            return Err(invalid("the token", "it is still valid: revoke it first"));
        }
        self.api_tokens.remove(id);
        Ok(AdminOutcome::Done)
    }

    fn api_token_mut(&mut self, id: &str) -> Result<&mut ApiToken, AdminRefusal> {
        let unknown = || AdminRefusal::NotFound(format!("token {id}"));
        self.api_tokens.get_mut(id).ok_or_else(unknown)
    }

    /// Stores a head as it came: whether it is signed, and agrees, is for `audit::verify` to say.
    pub(super) fn publish_head(&mut self, head: &AuditHead) -> Answer {
        self.region(&head.region)?;
        let heads = self.heads.entry(head.region.clone()).or_default();
        if heads.contains(head) {
            return Ok(AdminOutcome::Unchanged);
        }
        heads.push_back(head.clone());
        if heads.len() > AUDIT_HEADS_PER_REGION_MAX {
            heads.pop_front();
        }
        Ok(AdminOutcome::Done)
    }
}
