//! Signing in at an OpenID provider: the way there, the way back, the account of whoever came. Whom the provider
//! vouches for is told by [`crate::service::provider`].

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use trunkline_state::store::{SessionOwner, Vouched, Welcome};

use super::{
    super::{Api, guard::Guard, problem::Problem},
    shell::refused,
    sign_in::{self, own_path, query_field},
};
use crate::service::{
    account::check_name,
    provider::{Provider, ProviderError},
    sign_in::Errand,
};

/// Where the provider sends browsers back to; it has to know this address.
const RETURN: &str = "/sign-in/return";
/// How long somebody may take at the provider, in seconds.
const ERRAND_AGE: u64 = 600;
/// The longest code, and word of a refusal, that is looked at.
const FIELD_MAX: usize = 4_096;
/// How much of a provider's own words is shown.
const SHOWN_MAX: usize = 200;
/// How much of what went wrong is told, with the words of whoever was asked.
const TOLD_MAX: usize = 1_000;

/// Sends a browser to the provider.
pub(super) async fn go(State(api): State<Arc<Api>>, parts: Parts) -> Response {
    let Some(provider) = &api.provider else { return none(&api) };
    let back = query_field(&parts, "to");
    let errand = Errand::new(api.ids.secret(), own_path(back.as_deref()));
    let place = provider.place(&errand, &redirect(&api, &parts), api.clock.now()).await;
    let place = place.map(|place| HeaderValue::from_str(&place));
    let to = match place {
        Ok(Ok(to)) => to,
        Ok(Err(_)) => return failed(&api, &ProviderError::Statement("its address is none".to_owned())),
        Err(error) => return failed(&api, &error),
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, to);
    set_cookie(&api, &mut response, &errand.reveal(), ERRAND_AGE);
    response
}

/// Signs in whoever comes back with what the provider gave them.
pub(super) async fn come_back(State(api): State<Arc<Api>>, parts: Parts) -> Response {
    let Some(provider) = &api.provider else { return none(&api) };
    let mut response = welcome(&api, provider, &parts).await;
    // A code is good once, and so is what was sent along.
    set_cookie(&api, &mut response, "", 0);
    response
}

async fn welcome(api: &Api, provider: &Provider, parts: &Parts) -> Response {
    let cookie = Guard::cookie_named(&parts.headers, &cookie(api));
    let errand = cookie.and_then(|text| Errand::read(&text));
    let state = query_field(parts, "state").unwrap_or_default();
    let Some(errand) = errand.filter(|errand| errand.is_state(&state)) else {
        return again(api, None, "This browser began no such sign-in, or too long ago.");
    };
    let back = Some(errand.back.as_str());
    let field = |name: &str| query_field(parts, name).filter(|text| text.len() <= FIELD_MAX);
    if let Some(error) = field("error") {
        let said: String = field("error_description").unwrap_or(error).chars().take(SHOWN_MAX).collect();
        return again(api, back, &format!("{} did not sign you in: {said}", provider.label()));
    }
    let code = field("code").unwrap_or_default();
    let identity = match provider.identity(&errand, &code, &redirect(api, parts), api.clock.now()).await {
        Ok(identity) => identity,
        Err(error) => return failed(api, &error),
    };
    if identity.roles.is_empty() {
        let why = format!("{} knows you, but none of your groups may do anything here.", provider.label());
        return again(api, back, &why);
    }
    let name = match check_name(&identity.name) {
        Ok(name) => name,
        Err(error) => {
            let called: String = identity.name.chars().take(SHOWN_MAX).collect();
            return again(api, back, &format!("{} calls you “{called}”: {error}.", provider.label()));
        }
    };
    let who = Vouched {
        issuer: provider.issuer(),
        subject: &identity.subject,
        name: &name,
        roles: &identity.roles,
    };
    match api.whole.welcome(&who).await {
        Ok(Welcome::Known { name, disabled: false }) => {
            sign_in::begin(api, SessionOwner::Account { name }, back).await
        }
        Ok(Welcome::Known { disabled: true, .. }) => again(api, back, "This account is shut."),
        Ok(Welcome::NameTaken) => {
            let why = format!(
                "Somebody else’s account is called {name} already; an admin can shut it, or name you otherwise at the provider."
            );
            again(api, back, &why)
        }
        Err(error) => refused(api, None, &Problem::from(error)),
    }
}

/// Where the provider sends the browser back: to the name that it knows this server by.
fn redirect(api: &Api, parts: &Parts) -> String {
    let scheme = if api.guard.secure { "https" } else { "http" };
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("{scheme}://{host}{RETURN}")
}

fn cookie(api: &Api) -> String {
    format!("{}-errand", api.guard.cookie)
}

fn set_cookie(api: &Api, response: &mut Response, value: &str, seconds: u64) {
    sign_in::set_cookie(api, response.headers_mut(), (&cookie(api), value), seconds);
}

fn none(api: &Api) -> Response {
    refused(api, None, &Problem::not_found("no provider signs people in here"))
}

/// Told to whoever keeps the server; whoever wants in can do little about it.
fn failed(api: &Api, error: &ProviderError) -> Response {
    // Its own words may be as long as its answer.
    let told: String = error.to_string().chars().take(TOLD_MAX).collect();
    tracing::warn!("nobody can sign in at the provider: {}", told.escape_debug());
    let mut shown = again(api, None, &format!("That did not work: {told}"));
    if matches!(error, ProviderError::Unreachable(..) | ProviderError::Settings(_)) {
        *shown.status_mut() = StatusCode::BAD_GATEWAY;
    }
    shown
}

fn again(api: &Api, back: Option<&str>, why: &str) -> Response {
    sign_in::page(api, back, Some(why))
}
