//! Where `serve` offers its API: the address, who may know it by which name, and the token that whoever
//! can read this project's folder may use.

use std::{
    io::{ErrorKind, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use ipnet::IpNet;
use tokio::net::TcpListener;

use super::{
    context::{Context, LOCAL_FOLDER, Session, mailbox},
    exit::refuse,
    output::bold,
};
use crate::{
    api::{ApiOptions, ApiServer, Tls, TlsFiles, Way},
    config::variable,
    engine::{self, EngineHandle},
    project::{Environment, Project},
    service::{provider::Provider, receive::OwnProject, token::Token},
};

/// Where it listens where nobody says where.
const PORT: u16 = 8377;
/// The file of the project's own token.
pub(crate) const TOKEN_FILE: &str = "api-token";
/// The file that says where the project's newest server on this machine is reached.
pub(crate) const URL_FILE: &str = "api-url";

/// What `serve` takes about its API.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ListenArgs {
    /// Address of the API, or `off` [default: 127.0.0.1:8377, or another port if that is taken]
    #[arg(long, value_name = "ADDRESS", value_parser = bind)]
    bind: Option<Bind>,
    /// A name under which clients reach the API, as their Host header has it; may be repeated
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Speak TLS with the certificate (and what leads to its root) in this PEM file; it is read anew when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "behind_proxy")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// A proxy in front speaks TLS; with its networks, such as 10.0.0.0/16, only it can connect, and it is
    /// believed for whom it asks
    #[arg(long, value_name = "NETWORK,…", num_args = 0.., require_equals = true, value_delimiter = ',', value_parser = network)]
    behind_proxy: Option<Vec<IpNet>>,
}

impl ListenArgs {
    /// How clients come to the API.
    fn way(&self) -> anyhow::Result<Way> {
        Ok(match (&self.tls_certificate, &self.tls_key, &self.behind_proxy) {
            (Some(certificate), Some(key), _) => {
                let files = TlsFiles { certificate: certificate.clone(), key: key.clone() };
                Way::Tls(Arc::new(Tls::read(files)?))
            }
            (_, _, Some(networks)) => Way::Proxied { networks: networks.as_slice().into() },
            _ => Way::Plain,
        })
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| "write an address or a network such as 10.0.0.0/16".to_owned())
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bind {
    Off,
    Address(SocketAddr),
}

fn bind(text: &str) -> Result<Bind, String> {
    if text == "off" {
        return Ok(Bind::Off);
    }
    let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT)));
    address.map(Bind::Address).map_err(|_| format!("write an address such as 127.0.0.1:{PORT}, or off"))
}

/// The address that was taken, and how clients come to it.
pub(crate) struct Entrance {
    listener: TcpListener,
    way: Way,
}

/// Takes the address of the API, if it is wanted: before anything is begun that a refusal would leave.
pub(crate) async fn take_address(args: &ListenArgs) -> anyhow::Result<Option<Entrance>> {
    let listener = match args.bind {
        Some(Bind::Off) => return Ok(None),
        Some(Bind::Address(address)) => {
            check(address, args.tls_certificate.is_some() || args.behind_proxy.is_some())?;
            let listener = TcpListener::bind(address).await;
            listener.with_context(|| {
                format!("the API cannot listen on {address}; name another address with --bind")
            })?
        }
        None => anywhere().await?,
    };
    Ok(Some(Entrance { listener, way: args.way()? }))
}

/// Where people find the pages: by the server's name where there is TLS, else on this machine.
pub(crate) fn pages(entrance: &Entrance, args: &ListenArgs) -> Option<String> {
    let address = entrance.listener.local_addr().ok()?;
    match (&entrance.way, args.hosts.first()) {
        (Way::Proxied { .. }, host) => host.map(|host| format!("https://{host}")),
        (Way::Tls(_), Some(host)) => Some(format!("https://{host}:{}", address.port())),
        (Way::Tls(_), None) => address.ip().is_loopback().then(|| format!("https://{address}")),
        (Way::Plain, _) => address.ip().is_loopback().then(|| format!("http://{address}")),
    }
}

/// Begins to serve the API, and says where.
pub(crate) fn serve_api(
    cx: &Context,
    (project, session): (&Project, &Session),
    engine: EngineHandle,
    Entrance { listener, way }: Entrance,
    args: &ListenArgs,
) -> anyhow::Result<ApiServer> {
    let address = listener.local_addr()?;
    let folder = cx.root()?.join(LOCAL_FOLDER);
    let local_token = if address.ip().is_loopback() { own_token(cx, &folder) } else { None };
    let options = ApiOptions {
        store: session.store.apart(),
        engine,
        registry: Arc::clone(&session.registry),
        clock: Arc::clone(&cx.clock),
        ids: Arc::clone(&cx.ids),
        project: OwnProject {
            root: project.root.clone(),
            environment: project.environment.name.clone(),
            has_file: project.file.is_some(),
            lookup: variable,
        },
        hosts: args.hosts.clone(),
        local_token,
        way,
        provider: provider(project, session),
        mailbox: mailbox(project),
    };
    let local = options.local_token.is_some();
    let server = ApiServer::start(listener, options)?;
    let token = if local {
        format!("token in {}; `trunkline open` shows its pages", folder.join(TOKEN_FILE).display())
    } else {
        "tokens: `trunkline token create`".to_owned()
    };
    cx.output.note(&format!("API {}, {token}", bold(server.url())));
    if local && let Err(error) = std::fs::write(folder.join(URL_FILE), server.url()) {
        cx.output.warn(&format!("`trunkline open` will not find this server: {error}"));
    }
    Ok(server)
}

/// Who signs people in, beside passwords.
fn provider(project: &Project, session: &Session) -> Option<Provider> {
    let Environment { sign_in, connections, secrets, .. } = &project.environment;
    let sign_in = sign_in.clone()?;
    let clients = engine::clients_with(connections, secrets, session.sandbox_endpoint().as_deref());
    Some(Provider::new(sign_in, clients))
}

/// Forgets where a server was reached, unless another one has come since.
pub(crate) fn forget_address(cx: &Context, server: &ApiServer) {
    let Ok(root) = cx.root() else { return };
    let path = root.join(LOCAL_FOLDER).join(URL_FILE);
    if std::fs::read_to_string(&path).is_ok_and(|url| url == server.url()) {
        let _ = std::fs::remove_file(path);
    }
}

/// Refuses an address where secrets would travel in the clear.
fn check(address: SocketAddr, has_tls: bool) -> anyhow::Result<()> {
    if address.ip().is_loopback() || has_tls {
        return Ok(());
    }
    refuse(format!(
        "--bind {address} lets other machines connect, and tokens would travel in the clear: give the server \
         --tls-certificate and --tls-key, or put a proxy that speaks TLS in front and say --behind-proxy, or bind \
         to 127.0.0.1:{PORT}"
    ))
}

/// The usual port of this machine, or any other if it is taken: several servers work side by side.
async fn anywhere() -> anyhow::Result<TcpListener> {
    let usual = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT);
    match TcpListener::bind(usual).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
            TcpListener::bind(any).await.context("the API cannot listen on 127.0.0.1")
        }
        other => other.with_context(|| format!("the API cannot listen on {usual}; name another with --bind")),
    }
}

/// The project's own token. A folder that cannot be written is no reason not to serve.
fn own_token(cx: &Context, folder: &Path) -> Option<Token> {
    match kept_token(folder, cx.ids.secret()) {
        Ok(token) => Some(token),
        Err(error) => {
            cx.output.warn(&format!(
                "{} cannot be written ({error}): the API takes only tokens of `trunkline token create`",
                folder.join(TOKEN_FILE).display()
            ));
            None
        }
    }
}

/// The token in the folder, made if there is none that nobody else can read. Servers that start at the same
/// moment end up with the same one.
fn kept_token(folder: &Path, drawn: [u8; 40]) -> std::io::Result<Token> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(TOKEN_FILE);
    if let Some(token) = read_token(&path)? {
        return Ok(token);
    }
    let token = Token::of(drawn);
    let fresh = folder.join(format!("{TOKEN_FILE}.{}", token.id()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    writeln!(file, "{}", token.reveal())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&fresh, &path);
    std::fs::remove_file(&fresh)?;
    match linked {
        Ok(()) => Ok(token),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read_token(&path)?.ok_or_else(|| std::io::Error::other("somebody changes it at this moment"))
        }
        Err(error) => Err(error),
    }
}

/// The token of a file; one that others can read, or that holds no token, is thrown away.
fn read_token(path: &Path) -> std::io::Result<Option<Token>> {
    let about = match std::fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let private = about.is_file() && about.permissions().mode().trailing_zeros() >= 6;
    let token = if private { Token::read(&std::fs::read_to_string(path)?).ok() } else { None };
    if token.is_none() {
        std::fs::remove_file(path)?;
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_a_folder_is_kept_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = kept_token(folder.path(), [1; 40]).unwrap();
        assert_eq!(kept_token(folder.path(), [2; 40]).unwrap(), first);
        let path = folder.path().join(TOKEN_FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_ne!(kept_token(folder.path(), [2; 40]).unwrap(), first, "others could read it");
        std::fs::write(&path, "nonsense").unwrap();
        assert_eq!(kept_token(folder.path(), [3; 40]).unwrap(), Token::of([3; 40]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left lying about");
    }

    #[test]
    fn other_machines_need_tls() {
        let open: SocketAddr = "0.0.0.0:8377".parse().unwrap();
        assert!(check(open, false).unwrap_err().to_string().contains("--behind-proxy"));
        assert!(check(open, true).is_ok());
        assert!(check("[::1]:80".parse().unwrap(), false).is_ok());
        assert_eq!(bind("off"), Ok(Bind::Off));
        assert_eq!(bind("127.0.0.1"), bind("127.0.0.1:8377"));
        assert!(bind("everywhere").is_err());
    }
}
