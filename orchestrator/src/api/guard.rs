//! Who may ask: the name that the server was called by, the token with its scopes, and the session of a
//! browser that was begun with one.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use axum::http::{HeaderMap, Method, header, request::Parts};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use trunkline_state::store::{GoodSession, Store};

use super::problem::{Kind, Problem};
use crate::service::{
    password::Password,
    rights::Rights,
    sign_in::{SessionSecret, SignInLink},
    throttle::Throttle,
    token::{Scope, Token},
};

/// The header in which a page says that a change comes from a page of its own session.
pub(super) const CHANGE_HEADER: &str = "trunkline-change";
/// Passwords that are hashed at once: each takes 19 MiB and some tens of milliseconds of a core.
pub(super) const HASHES_AT_ONCE: usize = 2;
/// What the history calls whoever uses the token of the project's folder.
const LOCAL_ACTOR: &str = "token:local";

/// What is checked before anything else of a request is looked at.
#[derive(Debug)]
pub(super) struct Guard {
    /// Names under which clients reach this server, beside loopback and addresses.
    pub(super) hosts: Vec<String>,
    /// The token of this project's folder, where the server is on loopback only.
    pub(super) local: Option<Token>,
    /// Browsers reach this server through TLS.
    pub(super) secure: bool,
    /// Whether requests from one address are from different people.
    pub(super) hides_addresses: bool,
    /// The cookie's name. Servers of one machine share a cookie jar, whatever their ports.
    pub(super) cookie: String,
    /// Links that were used, until when they would have been good.
    pub(super) used_links: Mutex<HashMap<[u8; 16], i64>>,
    /// Who failed to sign in lately.
    pub(super) throttle: Mutex<Throttle>,
    /// Places for whoever has a password hashed.
    pub(super) hashing: Semaphore,
}

/// What somebody must be allowed for an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// What it takes.
    pub(super) scope: Scope,
    /// Whether that must hold in every folder; else the operation sees those only in which it holds.
    pub(super) everywhere: bool,
}

/// Who asks, and what they may do.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// For the history.
    pub(super) actor: String,
    /// What they may do, and where.
    pub(super) rights: Rights,
    /// The session, of a browser.
    pub(super) session: Option<SessionSecret>,
    /// The token, of a program.
    pub(super) token: Option<Token>,
    /// The account, of somebody with a password.
    pub(super) account: Option<String>,
}

impl Guard {
    /// Refuses a request that was made for another name: a page of another site can have its own name lead
    /// to this machine, but not change the name that the browser sends. Addresses cannot be taken that way.
    pub(super) fn check_host(&self, headers: &HeaderMap, authority: Option<&str>) -> Result<(), Problem> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (host, another) = (hosts.next(), hosts.next());
        // Whoever stands in between may go by the other one (RFC 9112, section 3.2).
        if another.is_some() {
            return Err(Problem::new(Kind::Malformed, "the request has more than one Host header"));
        }
        let host = host.map(|value| value.to_str().unwrap_or_default());
        let mut named = host.into_iter().chain(authority).peekable();
        if named.peek().is_none() {
            return Err(Problem::new(Kind::Malformed, "the request has no Host header"));
        }
        // A request line with a name of its own must not say another one than the header, that nobody looks at.
        if named.all(|name| self.is_known(without_port(name))) {
            return Ok(());
        }
        Err(Problem::new(
            Kind::WrongHost,
            "this server does not go by the name in the Host header; name it with `trunkline serve --host`",
        ))
    }

    fn is_known(&self, name: &str) -> bool {
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name.eq_ignore_ascii_case("localhost")
            || address.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
    }

    /// Whoever asks, if they may do what is needed. A token goes before a cookie: a program that sends both
    /// means the token.
    pub(super) async fn admit(&self, store: &Store, parts: &Parts, need: Need) -> Result<Visitor, Problem> {
        let visitor = if let Some(sent) = parts.headers.get(header::AUTHORIZATION) {
            self.by_token(store, sent.to_str().unwrap_or_default()).await?
        } else {
            let visitor = self.by_session(store, &parts.headers).await?.ok_or_else(|| {
                unknown(
                    "send a token: the header `authorization: Bearer trunkline_…`; people sign in at /sign-in",
                )
            })?;
            if parts.method != Method::GET && parts.method != Method::HEAD {
                check_page(&parts.headers, visitor.session.as_ref())?;
            }
            visitor
        };
        let Need { scope, everywhere } = need;
        let (actor, most) = (&visitor.actor, visitor.rights.most());
        if most.is_none_or(|most| most < scope) {
            let has = most.map_or("no scope", Scope::word);
            let detail = format!("`{actor}` has the scope `{has}`, and this needs `{scope}`");
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        if everywhere && !visitor.rights.hold_everywhere(scope) {
            let detail =
                format!("this concerns all folders, and `{actor}` has the scope `{scope}` in some only");
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        Ok(visitor)
    }

    /// Whoever has a token, shown as `Bearer …`.
    async fn by_token(&self, store: &Store, header: &str) -> Result<Visitor, Problem> {
        let text = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, text)) = text else {
            return Err(unknown("the header `authorization` must be `Bearer` and a token"));
        };
        let token = Token::read(text).map_err(|error| unknown(&error.to_string()))?;
        self.of_token(store, &token).await
    }

    /// Whoever has a token.
    pub(super) async fn of_token(&self, store: &Store, token: &Token) -> Result<Visitor, Problem> {
        let shown = Some(token.clone());
        if self.is_local(token) {
            return Ok(Visitor { token: shown, ..local() });
        }
        let known = store.good_token(token.id()).await?.filter(|known| token.is(&known.sha256));
        let known = known.ok_or_else(|| {
            unknown("this token is unknown, revoked or expired; make one with `trunkline token create`")
        })?;
        let visitor = named(&known.name, &known.scopes, known.folders, None)?;
        Ok(Visitor { token: shown, ..visitor })
    }

    /// Whoever asked a while ago and still listens, as they may now; none if they may nothing any more.
    pub(super) async fn still(&self, store: &Store, visitor: &Visitor) -> Result<Option<Visitor>, Problem> {
        match (&visitor.token, &visitor.session) {
            (Some(token), _) => match self.of_token(store, token).await {
                Err(problem) if problem.kind() == Kind::Unauthenticated => Ok(None),
                known => known.map(Some),
            },
            (None, Some(session)) => self.of_session(store, session.clone()).await,
            (None, None) => Ok(None),
        }
    }

    /// Whether it is the token of this project's folder.
    pub(super) fn is_local(&self, token: &Token) -> bool {
        self.local.as_ref().is_some_and(|local| local.is(&token.sha256()))
    }

    /// Whoever is signed in with the browser that asks; none if nobody is.
    pub(super) async fn by_session(
        &self,
        store: &Store,
        headers: &HeaderMap,
    ) -> Result<Option<Visitor>, Problem> {
        match self.cookie_of(headers) {
            Some(secret) => self.of_session(store, secret).await,
            None => Ok(None),
        }
    }

    async fn of_session(&self, store: &Store, secret: SessionSecret) -> Result<Option<Visitor>, Problem> {
        match store.good_session(&secret.sha256()).await? {
            Some(GoodSession::Token { name, scopes, folders }) => {
                named(&name, &scopes, folders, Some(secret)).map(Some)
            }
            Some(GoodSession::Account { name, roles }) => Ok(Some(Visitor {
                actor: format!("account:{name}"),
                rights: Rights::of_roles(&roles),
                session: Some(secret),
                token: None,
                account: Some(name),
            })),
            Some(GoodSession::Local { sha256 }) if self.local.as_ref().is_some_and(|own| own.is(&sha256)) => {
                Ok(Some(Visitor { session: Some(secret), ..local() }))
            }
            _ => Ok(None),
        }
    }

    /// What the browser's cookie holds.
    pub(super) fn cookie_of(&self, headers: &HeaderMap) -> Option<SessionSecret> {
        SessionSecret::read(&Self::cookie_named(headers, &self.cookie)?)
    }

    /// What a cookie of the browser holds.
    pub(super) fn cookie_named(headers: &HeaderMap, wanted: &str) -> Option<String> {
        let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
    }

    /// Whether somebody knows the password of an account. The same is said, after the same time, of a wrong
    /// password and of an account that there is not.
    pub(super) async fn check_password(
        &self,
        store: &Store,
        (name, password): (&str, Password),
        from: IpAddr,
        now: Timestamp,
    ) -> Result<bool, Problem> {
        let key = if self.hides_addresses { name.to_owned() } else { format!("{from} {name}") };
        let wait = self.throttle.lock().unwrap_or_else(PoisonError::into_inner).wait(&key, now);
        if let Some(wait) = wait {
            let seconds = wait.as_secs().saturating_add(1);
            let detail = format!("too many wrong passwords; try again in {seconds} s");
            return Err(Problem::new(Kind::TooMany, detail));
        }
        let kept = store.password_of(name).await?;
        let fits = self.hashed(move || password.is(kept.as_deref())).await?;
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        if fits {
            throttle.succeeded(&key);
        } else {
            throttle.failed(&key, now);
            tracing::warn!("a wrong password for `{}` from {from}", name.escape_debug());
        }
        Ok(fits)
    }

    /// Does what takes long and much memory, beside the threads that answer, and few at once.
    pub(super) async fn hashed<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let ended = || Problem::new(Kind::Internal, "the password could not be looked at; try again");
        let _place = self.hashing.acquire().await.map_err(|_| ended())?;
        tokio::task::spawn_blocking(work).await.map_err(|_| ended())
    }

    /// Takes a link that signs in; `false` where it is not good, or was used.
    pub(super) fn take_link(&self, text: &str, now: Timestamp) -> bool {
        let link = self.local.as_ref().and_then(|token| SignInLink::read(text, token, now));
        let Some((until, nonce)) = link.map(|link| link.once()) else { return false };
        let mut used = self.used_links.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, until| *until >= now.as_second());
        used.insert(nonce, until).is_none()
    }
}

fn unknown(detail: &str) -> Problem {
    Problem::new(Kind::Unauthenticated, detail)
}

fn local() -> Visitor {
    let rights = Rights::everywhere(Scope::Admin);
    Visitor { actor: LOCAL_ACTOR.to_owned(), rights, session: None, token: None, account: None }
}

fn named(
    name: &str,
    scopes: &[String],
    folders: Vec<String>,
    session: Option<SessionSecret>,
) -> Result<Visitor, Problem> {
    let scope = scopes.iter().filter_map(|word| Scope::from_word(word)).max();
    let scope = scope.ok_or_else(|| {
        Problem::new(Kind::Forbidden, format!("token `{name}` has no scope that this program knows"))
    })?;
    let rights = Rights::in_folders(scope, folders);
    Ok(Visitor { actor: format!("token:{name}"), rights, session, token: None, account: None })
}

/// Refuses a change that another site's page had the browser send: such a page can make the cookie go along,
/// but neither say that it is of this site, nor know what the session's own pages hold.
pub(super) fn check_page(headers: &HeaderMap, session: Option<&SessionSecret>) -> Result<(), Problem> {
    check_origin(headers)?;
    let sent = headers.get(CHANGE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if session.is_some_and(|session| session.is_change_token(sent)) {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Forbidden,
        format!("a browser's change needs the header `{CHANGE_HEADER}` of its own page; load the page again"),
    ))
}

/// Refuses what a page of another origin sends.
pub(super) fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    // What is there and cannot be read is another origin, not none.
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let same = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            let of = origin.split_once("://").map(|(_, authority)| authority);
            of.is_some_and(|of| !of.is_empty()) && of == text("host")
        }
        // No browser: it has no cookie that somebody else could make use of either.
        (None, None) => true,
    };
    if same {
        return Ok(());
    }
    Err(Problem::new(Kind::Forbidden, "this was sent by a page of another site; nothing was done"))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn guard(local: Option<Token>) -> Guard {
        Guard {
            hosts: vec!["trunkline.example.com".to_owned()],
            local,
            secure: false,
            hides_addresses: false,
            cookie: "trunkline-8377".to_owned(),
            used_links: Mutex::default(),
            throttle: Mutex::default(),
            hashing: Semaphore::new(HASHES_AT_ONCE),
        }
    }

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let secret = SessionSecret::of([3; 40]);
        let sent = format!("other=1; trunkline-9000=00; trunkline-8377={}; last=", secret.reveal());
        assert_eq!(guard(None).cookie_of(&headers(&[("cookie", &sent)])), Some(secret));
        for wrong in ["", "trunkline-8377", "trunkline-8377=", "trunkline-8377=zz", "xtrunkline-8377=00"] {
            assert_eq!(guard(None).cookie_of(&headers(&[("cookie", wrong)])), None, "{wrong}");
        }
    }

    #[test]
    fn a_link_is_taken_once() {
        let (token, now) = (Token::of([1; 40]), Timestamp::constant(1_800_000_000, 0));
        let guard = guard(Some(token.clone()));
        let text = SignInLink::new(now, [4; 40]).text(&token);
        assert!(!guard.take_link("nonsense", now));
        assert!(guard.take_link(&text, now));
        assert!(!guard.take_link(&text, now), "twice");
    }

    #[test]
    fn changes_come_from_pages_of_the_session() {
        let secret = SessionSecret::of([3; 40]);
        let token = secret.change_token();
        let allowed = |of: &[(&'static str, &str)]| check_page(&headers(of), Some(&secret)).is_ok();
        let own = ("trunkline-change", token.as_str());
        assert!(allowed(&[own, ("sec-fetch-site", "same-origin")]));
        assert!(allowed(&[own, ("origin", "http://127.0.0.1:8377"), ("host", "127.0.0.1:8377")]));
        for wrong in [
            &[("sec-fetch-site", "same-origin")][..],
            &[("trunkline-change", "00"), ("sec-fetch-site", "same-origin")],
            &[own, ("sec-fetch-site", "cross-site")],
            &[own, ("sec-fetch-site", "same-site")],
            &[own, ("origin", "http://127.0.0.1:9999"), ("host", "127.0.0.1:8377")],
            &[own, ("origin", "null"), ("host", "127.0.0.1:8377")],
        ] {
            assert!(!allowed(wrong), "{wrong:?}");
        }
        let odd = HeaderValue::from_bytes(b"http://ev\xeel").unwrap();
        assert!(check_origin(&HeaderMap::from_iter([(header::ORIGIN, odd)])).is_err());
    }

    #[test]
    fn only_its_own_names_are_answered() {
        let guard = guard(None);
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
        for bad in [
            "evil.example.com",
            "localhost.evil.com",
            "127.0.0.1.evil.com:80",
            "evil.com:x",
            "[127.0.0.1]]",
            "",
        ] {
            assert!(!asked(bad), "{bad}");
        }
        assert!(guard.check_host(&HeaderMap::new(), None).is_err());
        let mut twice = headers(&[("host", "localhost")]);
        assert!(guard.check_host(&twice, Some("127.0.0.1:80")).is_ok());
        assert!(guard.check_host(&twice, Some("evil.example.com")).is_err());
        twice.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(guard.check_host(&twice, None).is_err());
    }
}
