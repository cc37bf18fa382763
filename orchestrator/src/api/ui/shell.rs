//! What is around every page: its head, the way to other pages, who is signed in. And the page that says why
//! there is none.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use maud::{DOCTYPE, Markup, html};

use super::{
    super::{Api, guard::Visitor, problem::Problem},
    assets, words,
};
use crate::service::token::Scope;

/// What a page may load and do. Everything comes from this server; nothing in a text becomes a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// Where in the way a page lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nav {
    None,
    Pipelines,
    Runs,
    Backfills,
    Triggers,
    Pools,
    Mails,
    Audit,
    Accounts,
}

/// A whole page. `events` is the stream that says when it is out of date.
pub(super) fn response(
    api: &Api,
    visitor: Option<&Visitor>,
    title: &str,
    nav: Nav,
    events: Option<&str>,
    body: &Markup,
) -> Response {
    let session = visitor.and_then(|visitor| visitor.session.as_ref());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Trunkline" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(assets::address("style.css"));
                script src=(assets::address("theme.js")) {}
                script type="module" src=(assets::address("page.js")) {}
                @if let Some(session) = session { meta name="change" content=(session.change_token()); }
                @if let Some(events) = events { meta name="events" content=(events); }
            }
            body {
                a.skip href="#main" { "Skip to content" }
                (bar(api, visitor, nav))
                main #main tabindex="-1" { (body) }
                div #told role="status" aria-live="polite" {}
            }
        }
    };
    let mut response = page.into_string().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn bar(api: &Api, visitor: Option<&Visitor>, nav: Nav) -> Markup {
    let way = [
        (Nav::Pipelines, "/pipelines", "Pipelines"),
        (Nav::Runs, "/runs", "Runs"),
        (Nav::Backfills, "/backfills", "Backfills"),
        (Nav::Triggers, "/triggers", "Triggers"),
        (Nav::Pools, "/pools", "Pools"),
        (Nav::Mails, "/mails", "Mails"),
        (Nav::Audit, "/audit", "Audit"),
        (Nav::Accounts, "/accounts", "Accounts"),
    ];
    let holds = |scope| visitor.is_some_and(|visitor| visitor.rights.hold_everywhere(scope));
    // What somebody would only be refused is not offered.
    let leads_somewhere = |nav| match nav {
        Nav::Accounts => holds(Scope::Admin),
        Nav::Mails => api.mailbox.is_some() && holds(Scope::Read),
        _ => true,
    };
    html! {
        header.bar {
            a.mark href="/" { "Trunkline" }
            span.environment title="Environment" { (api.environment) }
            @if let Some(visitor) = visitor {
                nav aria-label="Main" {
                    @for (here, path, name) in way.into_iter().filter(|way| leads_somewhere(way.0)) {
                        a href=(path) aria-current=[(here == nav).then_some("page")] { (name) }
                    }
                }
                span.space {}
                a.who href="/me" title="Signed in as" { (name_of(&visitor.actor)) }
                button.plain type="button" data-sign-out="" { "Sign out" }
            } @else {
                span.space {}
            }
            button.plain #theme type="button" title="Light or dark" aria-label="Light or dark" { "◐" }
        }
    }
}

/// An actor without the kind of it.
fn name_of(actor: &str) -> &str {
    actor.split_once(':').map_or(actor, |(_, name)| name)
}

/// The page that says why there is none.
pub(super) fn refused(api: &Api, visitor: Option<&Visitor>, problem: &Problem) -> Response {
    let (status, _, title) = problem.kind().parts();
    let body = html! {
        section.refused {
            p.code { (status.as_u16()) }
            h1 { (title) }
            p { (words::sentence(problem.detail())) }
            p { a href="/" { "Back to the pipelines" } }
        }
    };
    let mut page = response(api, visitor, title, Nav::None, None, &body);
    *page.status_mut() = status;
    page
}
