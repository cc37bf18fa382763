//! Who may ask: the name that the server was called by, and the token with its scopes.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};
use trunkline_state::store::Store;

use super::problem::{Kind, Problem};
use crate::service::token::{Scope, Token};

/// What is checked before anything else of a request is looked at.
#[derive(Debug)]
pub(super) struct Guard {
    /// Names under which clients reach this server, beside loopback and addresses.
    pub(super) hosts: Vec<String>,
    /// The token of this project's folder, where the server is on loopback only.
    pub(super) local: Option<Token>,
}

impl Guard {
    /// Refuses a request that was made for another name: a page of another site can have its own name lead
    /// to this machine, but not change the name that the browser sends. Addresses cannot be taken that way.
    pub(super) fn check_host(&self, headers: &HeaderMap, authority: Option<&str>) -> Result<(), Problem> {
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).or(authority);
        let Some(host) = host else {
            return Err(Problem::new(Kind::Malformed, "the request has no Host header"));
        };
        let name = without_port(host);
        let known = name.eq_ignore_ascii_case("localhost")
            || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name));
        if known {
            return Ok(());
        }
        Err(Problem::new(
            Kind::WrongHost,
            "this server does not go by the name in the Host header; name it with `trunkline serve --host`",
        ))
    }

    /// Whoever asks, if their token has the scope: the actor for the history.
    pub(super) async fn admit(
        &self,
        store: &Store,
        headers: &HeaderMap,
        scope: Scope,
    ) -> Result<String, Problem> {
        let unknown = |detail: &str| Problem::new(Kind::Unauthenticated, detail);
        let Some(sent) = headers.get(header::AUTHORIZATION) else {
            return Err(unknown("send a token: the header `authorization: Bearer trunkline_…`"));
        };
        let text = sent.to_str().ok().and_then(|text| text.split_once(' '));
        let Some((_, text)) = text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            return Err(unknown("the header `authorization` must be `Bearer` and a token"));
        };
        let token = Token::read(text).map_err(|error| unknown(&error.to_string()))?;
        if self.local.as_ref().is_some_and(|local| local.is(&token.sha256())) {
            return Ok("token:local".to_owned());
        }
        let bad = "this token is unknown, revoked or expired; make one with `trunkline token create`";
        let Some(known) = store.good_token(token.id()).await? else { return Err(unknown(bad)) };
        if !token.is(&known.sha256) {
            return Err(unknown(bad));
        }
        let has = known.scopes.iter().filter_map(|word| Scope::from_word(word)).max();
        if has.is_none_or(|has| has < scope) {
            return Err(Problem::new(
                Kind::Forbidden,
                format!(
                    "token `{}` has the scope `{}`, and this needs `{scope}`",
                    known.name,
                    known.scopes.join("`, `")
                ),
            ));
        }
        Ok(format!("token:{}", known.name))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_its_own_names_are_answered() {
        let guard = Guard { hosts: vec!["trunkline.example.com".to_owned()], local: None };
        let asked = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            guard.check_host(&headers, None).is_ok()
        };
        for good in [
            "localhost",
            "LOCALHOST:8377",
            "127.0.0.1:80",
            "[::1]:8377",
            "10.0.0.7",
            "trunkline.example.com",
            "Trunkline.example.com:443",
        ] {
            assert!(asked(good), "{good}");
        }
        for bad in ["evil.example.com", "localhost.evil.com", "127.0.0.1.evil.com:80", "evil.com:x", ""] {
            assert!(!asked(bad), "{bad}");
        }
        assert!(guard.check_host(&HeaderMap::new(), None).is_err());
    }
}
