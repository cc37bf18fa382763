//! `healthy`: asks a server on this machine whether it is ready, for health checks of containers, whose
//! images have no other program that could ask.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    context::Context,
    exit::{Exit, refuse},
};

/// How long the server may take.
const WAIT: Duration = Duration::from_secs(4);
/// As much of the answer as is looked at.
const ANSWER_MAX: u64 = 2_048;

/// What `healthy` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct HealthyArgs {
    /// Address of the server's API
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8377")]
    at: SocketAddr,
}

/// Ends with 0 if the server reaches its store and does its work.
pub(crate) async fn healthy(cx: &Context, args: &HealthyArgs) -> anyhow::Result<Exit> {
    let said = match tokio::time::timeout(WAIT, ask(args.at)).await {
        Ok(Ok(said)) => said,
        Ok(Err(error)) => return refuse(format!("no server answers on {}: {error}", args.at)),
        Err(_) => return refuse(format!("the server on {} says nothing", args.at)),
    };
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
    if head.starts_with("HTTP/1.1 200 ") {
        cx.output.data(body.trim());
        return Ok(Exit::Done);
    }
    refuse(format!("the server on {} is not ready: {}", args.at, body.trim()))
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
