//! `open`: the pages of this project's server in a browser, signed in. Whoever can read the project's folder
//! may: the link is made with the token there, and names neither it nor anything else of use later.

use std::{io::ErrorKind, net::TcpStream, path::Path, time::Duration};

use anyhow::Context as _;
use url::Url;

use super::{
    context::{Context, LOCAL_FOLDER},
    exit::{Exit, refuse},
    listen::{TOKEN_FILE, URL_FILE},
};
use crate::service::{sign_in::SignInLink, token::Token};

/// How long a server of this machine may take to be reached.
const WAIT: Duration = Duration::from_secs(2);

/// What `open` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct OpenArgs {
    /// Only print the link
    #[arg(long)]
    print: bool,
}

/// Opens the pages, or prints the link to them.
pub(crate) fn open(cx: &Context, args: &OpenArgs) -> anyhow::Result<Exit> {
    let folder = cx.root()?.join(LOCAL_FOLDER);
    let Some(address) = read(&folder.join(URL_FILE))? else {
        return refuse("no server of this project runs on this machine; begin one with `trunkline serve`");
    };
    let Some(token) = read(&folder.join(TOKEN_FILE))?.and_then(|text| Token::read(&text).ok()) else {
        return refuse(format!(
            "{} holds no token; `trunkline serve` makes one when it begins",
            folder.join(TOKEN_FILE).display()
        ));
    };
    let mut link =
        Url::parse(&address).with_context(|| format!("`{address}` in {URL_FILE} is no address"))?;
    if !answers(&link) {
        return refuse(format!("no server answers at {address} any more; begin one with `trunkline serve`"));
    }
    link.set_path("/sign-in");
    let secret = SignInLink::new(cx.now(), cx.ids.secret()).text(&token);
    link.query_pairs_mut().append_pair("link", &secret);
    cx.output.data(link.as_str());
    if args.print {
        return Ok(Exit::Done);
    }
    match open::that_detached(link.as_str()) {
        Ok(()) => cx.output.note("opening it in a browser; the link is good once, for ten minutes"),
        Err(error) => cx.output.note(&format!(
            "no browser could be opened ({error}): open the link yourself; it is good once, for ten minutes"
        )),
    }
    Ok(Exit::Done)
}

/// Whether somebody listens there: a server that was killed leaves its address behind.
fn answers(link: &Url) -> bool {
    let found = link.socket_addrs(|| None).unwrap_or_default();
    found.iter().any(|address| TcpStream::connect_timeout(address, WAIT).is_ok())
}

/// What stands in a file of the folder; none if it is not there.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}
