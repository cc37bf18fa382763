//! Signing in and out: the page, the cookie. Who may is the guard's to say.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use trunkline_state::store::{SESSION_AGE, SessionOwner};

use super::{
    super::{
        Api, body,
        guard::{check_origin, check_page},
        problem::{Kind, Problem},
        server::Peer,
    },
    shell::{self, Nav, refused},
};
use crate::service::{password::Password, sign_in::SessionSecret, token::Token};

/// The longest body of the form: a token and a path.
const FORM_MAX: usize = 8 * 1024;
/// The longest path that somebody is led back to.
const BACK_MAX: usize = 2_000;

/// The page that asks for a token; or whoever comes by a link is signed in.
pub(super) async fn ask(State(api): State<Arc<Api>>, parts: Parts) -> Response {
    let field = |wanted: &str| query_field(&parts, wanted);
    let back = field("to");
    let Some(link) = field("link") else {
        return page(&api, back.as_deref(), None);
    };
    let Some(local) = api.guard.local.as_ref().filter(|_| api.guard.take_link(&link, api.clock.now())) else {
        let why = "This link was used already, or is too old. `trunkline open` makes another one.";
        return page(&api, back.as_deref(), Some(why));
    };
    begin(&api, SessionOwner::Local { sha256: local.sha256() }, back.as_deref()).await
}

/// Signs in whoever shows a good token.
pub(super) async fn enter(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(problem) = check_origin(&parts.headers) {
        return refused(&api, None, &problem);
    }
    let form = match form(body).await {
        Ok(form) => form,
        Err(problem) => return refused(&api, None, &problem),
    };
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let back = field("to");
    if let Some(account) = field("account").filter(|name| !name.is_empty()) {
        let password = Password::typed(field("password").unwrap_or_default().to_owned());
        return with_password(&api, &parts, (account, password), back).await;
    }
    let Ok(token) = Token::read(field("token").unwrap_or_default()) else {
        return page(&api, back, Some("That is no token. A token looks like trunkline_…_…"));
    };
    match api.guard.of_token(&api.whole, &token).await {
        Ok(_) if api.guard.is_local(&token) => {
            begin(&api, SessionOwner::Local { sha256: token.sha256() }, back).await
        }
        Ok(_) => begin(&api, SessionOwner::Token { id: token.id().to_owned() }, back).await,
        Err(problem) if problem.kind() == Kind::Unauthenticated => {
            page(&api, back, Some("This token is unknown, revoked or expired."))
        }
        Err(problem) => refused(&api, None, &problem),
    }
}

/// Signs in whoever knows the password of an account.
async fn with_password(
    api: &Api,
    parts: &Parts,
    (account, password): (&str, Password),
    back: Option<&str>,
) -> Response {
    let from = parts.extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
    let now = api.clock.now();
    match api.guard.check_password(&api.whole, (account, password), from, now).await {
        Ok(true) => begin(api, SessionOwner::Account { name: account.to_owned() }, back).await,
        Ok(false) => page(api, back, Some("There is no such account, or that is not its password.")),
        Err(problem) if problem.kind() == Kind::TooMany => {
            let mut shown = page(api, back, Some(problem.detail()));
            *shown.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            shown
        }
        Err(problem) => refused(api, None, &problem),
    }
}

/// Ends the session.
pub(super) async fn leave(State(api): State<Arc<Api>>, parts: Parts) -> Response {
    let session = api.guard.cookie_of(&parts.headers);
    if let Err(problem) = check_page(&parts.headers, session.as_ref()) {
        return problem.into_response();
    }
    if let Some(session) = session
        && let Err(error) = api.whole.end_session(&session.sha256()).await
    {
        return Problem::from(error).into_response();
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&api, response.headers_mut(), (&api.guard.cookie, ""), 0);
    response
}

/// A path of this site, where somebody wanted to go before they signed in; never another site.
pub(super) fn own_path(back: Option<&str>) -> &str {
    let fits = |path: &&str| {
        path.len() <= BACK_MAX
            && path.starts_with('/')
            && !path.starts_with("//")
            && path.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b'\\')
    };
    back.filter(fits).unwrap_or("/")
}

pub(super) async fn begin(api: &Api, owner: SessionOwner, back: Option<&str>) -> Response {
    let secret = SessionSecret::of(api.ids.secret());
    if let Err(error) = api.whole.begin_session(&secret.sha256(), &owner).await {
        return refused(api, None, &error.into());
    }
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    if let Ok(to) = HeaderValue::from_str(own_path(back)) {
        headers.insert(header::LOCATION, to);
    }
    set_cookie(api, headers, (&api.guard.cookie, &secret.reveal()), SESSION_AGE.as_secs());
    response
}

pub(super) fn set_cookie(api: &Api, headers: &mut HeaderMap, (name, value): (&str, &str), seconds: u64) {
    let secure = if api.guard.secure { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        headers.append(header::SET_COOKIE, cookie);
    }
}

async fn form(body: axum::body::Body) -> Result<Vec<(String, String)>, Problem> {
    let bytes = body::bytes(body, FORM_MAX).await?;
    Ok(url::form_urlencoded::parse(&bytes).into_owned().collect())
}

pub(super) fn query_field(parts: &Parts, wanted: &str) -> Option<String> {
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
}

pub(super) fn page(api: &Api, back: Option<&str>, wrong: Option<&str>) -> Response {
    let body = html! {
        section.sign-in {
            h1 { "Sign in" }
            p.muted { "Environment " strong { (api.environment) } }
            @if let Some(wrong) = wrong { p.wrong role="alert" { (wrong) } }
            @if let Some(provider) = &api.provider {
                // A link: a form may send nobody to another site.
                a.button.primary href=(there(back)) { "Sign in with " (provider.label()) }
                details open[wrong.is_some()] { summary { "With a password" } (password_form(back, false)) }
            } @else {
                (password_form(back, true))
            }
            details {
                summary { "With a token" }
                form method="post" action="/sign-in" {
                    label for="token" { "Token" }
                    input #token name="token" type="password" autocomplete="off" required spellcheck="false";
                    input type="hidden" name="to" value=(own_path(back));
                    button type="submit" { "Sign in" }
                }
            }
            (how(api))
        }
    };
    let mut response = shell::response(api, None, "Sign in", Nav::None, None, &body);
    if wrong.is_some() {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    response
}

fn password_form(back: Option<&str>, begins_here: bool) -> Markup {
    html! {
        form method="post" action="/sign-in" {
            label for="account" { "Account" }
            input #account name="account" autocomplete="username" required autofocus[begins_here] autocapitalize="none" spellcheck="false";
            label for="password" { "Password" }
            input #password name="password" type="password" autocomplete="current-password" required;
            input type="hidden" name="to" value=(own_path(back));
            button.primary type="submit" { "Sign in" }
        }
    }
}

/// The way to the provider, and from there to where somebody wanted to go.
fn there(back: Option<&str>) -> String {
    let query =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("to", own_path(back)).finish();
    format!("/sign-in/provider?{query}")
}

/// Where a token comes from.
fn how(api: &Api) -> Markup {
    html! {
        @if api.guard.local.is_some() {
            p.muted { "On the machine of the project’s folder, " code { "trunkline open" } " signs you in." }
        }
        p.muted { code { "trunkline account create NAME --role viewer" } " makes an account." }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_led_back_to_this_site_only() {
        for good in ["/", "/runs/a@2026-11-19?task=b", "/pipelines"] {
            assert_eq!(own_path(Some(good)), good);
        }
        for wrong in [
            "",
            "runs",
            "//evil.example.com",
            "/\\evil.example.com",
            "https://evil.example.com",
            "/a b",
            "/\n",
        ] {
            assert_eq!(own_path(Some(wrong)), "/", "{wrong}");
        }
        assert_eq!(own_path(Some(&format!("/{}", "a".repeat(BACK_MAX)))), "/");
    }
}
