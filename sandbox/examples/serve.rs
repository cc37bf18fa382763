//! Runs a sandbox alone: `serve --root DIR --port-file FILE [--port N] [--time-scale X] [--signature-age-max-ms N]`.
//!
//! The port is written to the file when the sandbox answers; the sandbox ends on SIGTERM or Ctrl-C.

use std::path::PathBuf;
use std::time::Duration;

use trunkline_sandbox::{Options, start};

#[tokio::main]
#[expect(clippy::print_stderr, reason = "a program without a log says where it listens")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = Options::new("sandbox");
    let mut port_file: Option<PathBuf> = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--root" => options.root = PathBuf::from(value),
            "--port-file" => port_file = Some(PathBuf::from(value)),
            "--port" => options.port = Some(value.parse()?),
            "--time-scale" => options.time_scale = value.parse()?,
            "--signature-age-max-ms" => options.signature_age_max = Duration::from_millis(value.parse()?),
            _ => return Err(format!("unknown argument {name}").into()),
        }
    }
    let sandbox = start(options).await.map_err(|error| error.to_string())?;
    let endpoint = sandbox.endpoint();
    eprintln!("sandbox on {endpoint}, mail in {}", sandbox.mailbox().display());
    if let Some(path) = port_file {
        let port = endpoint.rsplit(':').next().unwrap_or_default();
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, port)?;
        std::fs::rename(&unfinished, &path)?;
    }
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminated.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    sandbox.shutdown().await;
    Ok(())
}
