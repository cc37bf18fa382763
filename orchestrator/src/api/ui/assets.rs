//! Scripts and styles, inside the program. Their addresses name their contents: a browser keeps them for
//! good, and a new program has new ones.

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, Uri, header},
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};

use super::super::problem::Problem;

/// Name, type, contents.
const ASSETS: [(&str, &str, &str); 10] = [
    ("style.css", CSS, include_str!("assets/style.css")),
    ("theme.js", JAVASCRIPT, include_str!("assets/theme.js")),
    ("page.js", JAVASCRIPT, include_str!("assets/page.js")),
    ("grid.js", JAVASCRIPT, include_str!("assets/grid.js")),
    ("graph.js", JAVASCRIPT, include_str!("assets/graph.js")),
    ("log.js", JAVASCRIPT, include_str!("assets/log.js")),
    ("backfill.js", JAVASCRIPT, include_str!("assets/backfill.js")),
    ("form.js", JAVASCRIPT, include_str!("assets/form.js")),
    ("people.js", JAVASCRIPT, include_str!("assets/people.js")),
    ("start.js", JAVASCRIPT, include_str!("assets/start.js")),
];
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Digits of a hash that tell one program's assets from another's.
const DIGITS: usize = 16;

/// One hash of all, in the path: scripts import each other by name, and must get the very script that the page
/// has, not a second one.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for (_, _, contents) in ASSETS {
        hash.update(contents);
    }
    hex::encode(hash.finalize())[..DIGITS].to_owned()
});

/// The address of one.
pub(super) fn address(name: &str) -> String {
    format!("/assets/{}/{name}", *VERSION)
}

/// Sends one; to anybody: there is nothing in them that is not in the program. A page of an older program
/// gets what there is now.
pub(super) async fn serve(uri: Uri) -> Response {
    let mut parts = uri.path().rsplit('/');
    let (name, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Some((_, kind, contents)) = ASSETS.into_iter().find(|(known, _, _)| *known == name) else {
        return Problem::not_found("there is no such script or style").into_response();
    };
    let mut response = contents.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if version == *VERSION {
        let keep = HeaderValue::from_static("public, max-age=31536000, immutable");
        headers.insert(header::CACHE_CONTROL, keep);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What all pages together may weigh.
    const BYTES_MAX: usize = 100 * 1024;

    #[test]
    fn scripts_and_styles_are_small_and_write_no_html() {
        let all: usize = ASSETS.iter().map(|(_, _, contents)| contents.len()).sum();
        assert!(all < BYTES_MAX, "{all} bytes");
        for (name, _, contents) in ASSETS {
            for banned in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!contents.contains(banned), "{name} uses {banned}");
            }
        }
    }
}
