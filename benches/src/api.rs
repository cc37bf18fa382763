//! The API under fifty clients at once, each with a connection of its own that it keeps.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use trunkline_tasks::{
    Clients,
    http::exchange::{Outgoing, exchange},
};

use crate::{
    serve::{Project, end},
    stage::{Stage, now, tick},
    table::Table,
};

/// Clients at once.
const CLIENTS: usize = 50;
/// Times that each client asks for each thing.
const ROUNDS: usize = 20;
/// Runs that there are to look at.
const RUNS: usize = 200;
/// The longest that anything may take here at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer that is read.
const ANSWER_MAX: usize = 1024 * 1024;
/// Between two looks whether the server is there.
const LOOK: Duration = Duration::from_millis(20);

const PIPELINE: &str = "
name: api
data_interval: none
max_active_runs: 1000
tasks:
  extract: { type: noop }
  convert: { type: noop, depends_on: extract }
  load: { type: noop, depends_on: convert }
";

/// A server's API, seen by one client.
struct Client {
    url: String,
    headers: indexmap::IndexMap<String, Value>,
    clients: Clients,
}

/// Adds a row for looks and one for changes.
pub async fn measure(stage: &Stage, table: &mut Table) -> Result<()> {
    let project = Project::new(&stage.url, &[("api".to_owned(), PIPELINE.to_owned())])?;
    project.call(&["deploy"]).await?;
    let address = free_address()?;
    let server = project.serve_at(&address)?;
    let begin = now();
    let token = loop {
        if let Some(token) = project.token().filter(|token| !token.is_empty())
            && tokio::net::TcpStream::connect(&address).await.is_ok()
        {
            break token;
        }
        ensure!(Duration::try_from(now().duration_since(begin))? < PATIENCE, "the API does not come up");
        tick(LOOK).await;
    };
    let clients: Vec<Arc<Client>> = (0..CLIENTS).map(|_| Arc::new(Client::new(&address, &token))).collect();
    let runs = RUNS / CLIENTS;
    let made = all(&clients, runs, |client, round| {
        ("/pipelines/api/runs".to_owned(), Some(json!({ "request_id": format!("bench-{client}-{round}") })))
    });
    let made = made.await?;
    let lists = all(&clients, ROUNDS, |_, _| ("/runs?limit=50".to_owned(), None)).await?;
    let details = all(&clients, ROUNDS, |_, _| ("/runs/api@latest".to_owned(), None)).await?;
    let previews =
        all(&clients, ROUNDS, |_, _| ("/runs/api@latest/clear".to_owned(), Some(json!({ "dry_run": true }))));
    let previews = previews.await?;
    end(server).await?;
    let text = |name: &str, times: &[Duration]| {
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
        format!("{name} {:.0}/{:.0} ms", at(50), at(99))
    };
    let measured = [
        text("page of 50 runs", &lists),
        text("one run", &details),
        text("preview of a clear", &previews),
        text("make a run", &made),
    ];
    table.add("API, 50 clients at once: median/p99", measured.join(", "), "", None);
    Ok(())
}

/// Each client asks so many times, one after the other, and all clients beside each other: how long each
/// answer took, shortest first.
async fn all(
    clients: &[Arc<Client>],
    rounds: usize,
    ask: impl Fn(usize, usize) -> (String, Option<Value>),
) -> Result<Vec<Duration>> {
    let mut asking = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        let wishes: Vec<_> = (0..rounds).map(|round| ask(number, round)).collect();
        let client = Arc::clone(client);
        asking.push(async move {
            let mut times = Vec::with_capacity(wishes.len());
            for (path, body) in wishes {
                let begin = now();
                client.ask(&path, body.as_ref()).await?;
                times.push(Duration::try_from(now().duration_since(begin))?);
            }
            anyhow::Ok(times)
        });
    }
    let mut times: Vec<Duration> = try_join_all(asking).await?.into_iter().flatten().collect();
    times.sort_unstable();
    Ok(times)
}

impl Client {
    fn new(address: &str, token: &str) -> Self {
        let headers =
            [("authorization", format!("Bearer {token}")), ("content-type", "application/json".to_owned())];
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
        Self {
            url: format!("http://{address}/api/v1"),
            headers: headers.collect(),
            clients: Clients::default(),
        }
    }

    async fn ask(&self, path: &str, body: Option<&Value>) -> Result<()> {
        let (url, body) = (format!("{}{path}", self.url), body.map(Value::to_string));
        let outgoing = Outgoing {
            method: if body.is_some() { "POST" } else { "GET" },
            url: &url,
            headers: &self.headers,
            body: body.as_deref().map(str::as_bytes),
            answer_max: ANSWER_MAX,
        };
        let answer = exchange(&self.clients, outgoing, PATIENCE).await;
        let answer = answer.map_err(|silence| anyhow::anyhow!("{url}: {silence:?}"))?;
        let said = String::from_utf8_lossy(&answer.body);
        ensure!(answer.is_success(), "{url}: HTTP {}: {said}", answer.status);
        Ok(())
    }
}

fn free_address() -> Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    Ok(listener.local_addr()?.to_string())
}
