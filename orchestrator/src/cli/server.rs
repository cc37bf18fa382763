//! A server that commands ask over its API instead of opening the store themselves: where it is, the
//! token, one call, and pages of calls. What is asked stands with each command.

use std::time::Duration;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use trunkline_state::store::RunFilter;
use trunkline_tasks::{
    Clients,
    clients::is_loopback,
    http::exchange::{Answer, Outgoing, Silence, exchange},
};
use url::Url;

use super::exit::refuse;
use crate::{
    api::answers::{LIMIT_MAX, Page},
    service::views::{RunDetail, RunView, RunWithTasks, WhyView},
};

/// The longest that one answer may take: a clear of a thousand runs waits for every one of them.
const ANSWER_WAIT: Duration = Duration::from_secs(120);
/// The longest answer: a run of ten thousand elements with their outputs.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Rows of a list that are read, page by page.
const ROWS_MAX: usize = 10_000;
/// How often a request is sent again that may come twice, and how long after.
const TRIES: u32 = 3;
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// Why a server gave no answer that counts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// It cannot be reached, or is not ready.
    #[error("no server answers at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    /// It was told to do something, and whether it did is not known.
    #[error(
        "{url} was asked and did not answer ({reason}): it may have been done; look before you ask again"
    )]
    Unanswered { url: String, reason: String },
    /// It refused, in its own words.
    #[error("{0}")]
    Refused(String),
    /// Definitions that it was sent have mistakes: in the words and pictures of the loader.
    #[error("the definition is invalid")]
    Mistakes(String),
    /// Something answers that is no Trunkline.
    #[error("what answers at {url} is not Trunkline's API (HTTP {status}): is it the right address?")]
    Stranger { url: String, status: u16 },
}

impl ServerError {
    /// Whether nothing was said about what was asked: exit code 3.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unanswered { .. })
    }
}

/// A server.
pub(crate) struct Server {
    url: Url,
    headers: IndexMap<String, Value>,
    clients: Clients,
}

impl Server {
    /// The server at a URL, with a token; `of_project` reads the one that a server on this machine
    /// leaves in its project's folder, which is good for nothing else.
    pub(crate) fn new(
        text: &str,
        token: Option<String>,
        of_project: impl FnOnce() -> Option<String>,
    ) -> anyhow::Result<Self> {
        let url = match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            _ => {
                return refuse(format!("the server `{text}` is no URL; write https://trunkline.example.com"));
            }
        };
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return refuse("a server's URL has no user and no query; the token stands in TRUNKLINE_TOKEN");
        }
        let local = is_loopback(text);
        if url.scheme() == "http" && !local {
            return refuse(format!(
                "a token is not sent over plain http to another machine; write https://{}",
                url.host_str().unwrap_or_default()
            ));
        }
        let Some(token) = token.or_else(|| of_project().filter(|_| local)) else {
            return refuse(
                "a server wants a token: on its machine `trunkline token create NAME --scope operate` makes one, \
                 and TRUNKLINE_TOKEN holds it here",
            );
        };
        let headers = [
            ("authorization", format!("Bearer {token}")),
            ("content-type", "application/json".to_owned()),
            ("accept", "application/json".to_owned()),
        ];
        let headers =
            headers.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
        Ok(Self { url, headers, clients: Clients::default() })
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Asks for something that changes nothing.
    pub(crate) async fn get<A: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<A, ServerError> {
        self.insist("GET", path, query, None).await
    }

    /// Tells it to do something.
    pub(crate) async fn post<A: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Value,
    ) -> Result<A, ServerError> {
        self.call("POST", path, &[], Some(body)).await
    }

    /// The same with a request that does nothing more when it comes twice.
    pub(crate) async fn post_repeatable<A: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Value,
    ) -> Result<A, ServerError> {
        self.insist("POST", path, &[], Some(body)).await
    }

    async fn insist<A: DeserializeOwned>(
        &self,
        method: &str,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<A, ServerError> {
        let mut tries = 0;
        let mut turns = tokio::time::interval(TRY_PAUSE);
        loop {
            turns.tick().await;
            tries += 1;
            match self.call(method, path, query, body).await {
                Err(error) if error.is_unreachable() && tries < TRIES => {}
                answered => return answered,
            }
        }
    }

    /// A list, page by page, up to so many rows.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        most: usize,
    ) -> Result<Vec<T>, ServerError> {
        let page_size = usize::try_from(LIMIT_MAX).unwrap_or(most).min(most).to_string();
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", &page_size));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page: Page<T> = self.get(path, &query).await?;
            rows.extend(page.items);
            cursor = page.next;
            if cursor.is_none() || rows.len() >= most {
                rows.truncate(most);
                return Ok(rows);
            }
        }
    }

    /// Runs, newest first.
    pub(crate) async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunView>, ServerError> {
        let wanted = [("pipeline", filter.pipeline.as_deref()), ("state", filter.state.as_deref())];
        let query: Vec<_> =
            wanted.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
        self.list(&["runs"], &query, usize::try_from(filter.limit).unwrap_or(ROWS_MAX)).await
    }

    /// One run with all that belongs to it.
    pub(crate) async fn run(&self, name: &str) -> Result<RunDetail, ServerError> {
        let run: RunWithTasks = self.get(&["runs", name], &[]).await?;
        // By its id: `@latest` may be another one by now.
        let id = run.run.id.clone();
        let of_run = |what| ["runs", id.as_str(), what];
        Ok(RunDetail {
            attempt_list: self.list(&of_run("attempts"), &[], ROWS_MAX).await?,
            history: self.list(&of_run("history"), &[], ROWS_MAX).await?,
            notices: self.get::<Page<_>>(&of_run("notices"), &[]).await?.items,
            run,
        })
    }

    /// Why a run or a task of it is not further.
    pub(crate) async fn why(&self, run: &str, task: Option<&str>) -> Result<WhyView, ServerError> {
        let query: Vec<_> = task.map(|task| ("task", task)).into_iter().collect();
        self.get(&["runs", run, "why"], &query).await
    }

    async fn call<A: DeserializeOwned>(
        &self,
        method: &str,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<A, ServerError> {
        let url = self.url_of(path, query);
        let body = body.map(Value::to_string);
        let outgoing = Outgoing {
            method,
            url: url.as_str(),
            headers: &self.headers,
            body: body.as_deref().map(str::as_bytes),
            answer_max: ANSWER_BYTES_MAX,
        };
        match exchange(&self.clients, outgoing, ANSWER_WAIT).await {
            Ok(answer) => self.read(&answer),
            Err(silence) => Err(self.unheard(silence, method)),
        }
    }

    fn url_of(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn read<A: DeserializeOwned>(&self, answer: &Answer) -> Result<A, ServerError> {
        let stranger = || ServerError::Stranger { url: self.place().to_owned(), status: answer.status };
        if answer.is_success() {
            return serde_json::from_slice(&answer.body).map_err(|_| stranger());
        }
        let problem: Value = serde_json::from_slice(&answer.body).unwrap_or(json!({}));
        let ours = problem["type"].as_str().is_some_and(|kind| kind.starts_with("urn:trunkline:problem:"));
        let Some(detail) = problem["detail"].as_str().filter(|_| ours) else {
            // A gateway speaks for a server that is away.
            return Err(match answer.status {
                502..=504 => self.away(format!("HTTP {}", answer.status)),
                _ => stranger(),
            });
        };
        Err(match (answer.status, problem["rendered"].as_str()) {
            (503, _) => self.away(detail.to_owned()),
            (_, Some(rendered)) => ServerError::Mistakes(rendered.to_owned()),
            _ => ServerError::Refused(detail.to_owned()),
        })
    }

    fn unheard(&self, silence: Silence, method: &str) -> ServerError {
        let url = self.place().to_owned();
        match silence {
            Silence::NotSent(reason) | Silence::Wrong(reason) => self.away(reason),
            Silence::Unanswered(reason) if method == "GET" => self.away(reason),
            Silence::Unanswered(reason) => ServerError::Unanswered { url, reason },
            Silence::TooLong(status) => ServerError::Stranger { url, status },
        }
    }

    fn away(&self, reason: String) -> ServerError {
        ServerError::Unreachable { url: self.place().to_owned(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str, token: Option<&str>, of_project: Option<&str>) -> Result<Server, String> {
        Server::new(text, token.map(str::to_owned), || of_project.map(str::to_owned))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_leaves_this_machine_over_tls_only() {
        assert!(server("https://t.example.com", Some("t"), None).is_ok());
        assert!(server("http://127.0.0.1:8377", Some("t"), None).is_ok());
        let refused = server("http://t.example.com", Some("t"), None).err().unwrap();
        assert!(refused.contains("write https://t.example.com"), "{refused}");
    }

    #[test]
    fn the_project_s_own_token_is_for_this_machine() {
        assert!(server("http://localhost:8377", None, Some("t")).is_ok());
        for (url, of_project) in [("https://t.example.com", Some("t")), ("http://localhost:8377", None)] {
            let refused = server(url, None, of_project).err().unwrap();
            assert!(refused.contains("TRUNKLINE_TOKEN"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for wrong in ["", "t.example.com", "ftp://t", "https://user@t", "https://t?token=x"] {
            assert!(server(wrong, Some("t"), None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        let server = server("https://t.example.com/base/", Some("t"), None).unwrap();
        let url = server.url_of(&["runs", "p@2026-11-19", "tasks", "convert[1]/../x"], &[("state", "a&b")]);
        assert_eq!(
            url.as_str(),
            "https://t.example.com/base/api/v1/runs/p@2026-11-19/tasks/convert[1]%2F..%2Fx?state=a%26b"
        );
    }

    #[test]
    fn what_answers_is_told_apart() {
        let server = server("https://t.example.com", Some("t"), None).unwrap();
        let read = |status, body: &str| {
            let answer = Answer::new(status, body.as_bytes().to_vec(), server.url.clone());
            server.read::<Value>(&answer).map_err(|error| (error.is_unreachable(), error.to_string()))
        };
        assert_eq!(read(200, "{}"), Ok(json!({})));
        let problem = r#"{"type": "urn:trunkline:problem:refused", "detail": "it has ended"}"#;
        assert_eq!(read(409, problem), Err((false, "it has ended".to_owned())));
        assert!(read(503, problem).unwrap_err().0);
        assert!(read(502, "<html>").unwrap_err().0);
        assert!(read(404, "<html>").unwrap_err().1.contains("is it the right address?"));
        assert!(read(200, "<html>").unwrap_err().1.contains("not Trunkline's API"));
    }
}
