//! A deployment's files as a client sends them: paths and texts, in memory.
//!
//! The body is the JSON of the API, within the limits of the product. Nothing of it lies on a disk, so the paths
//! that are refused must be all those that lead elsewhere.
#![no_main]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};

use libfuzzer_sys::{Corpus, fuzz_target};
use trunkline::{
    definition::{load::load_sent, sent::SentFiles},
    fuzzing::api,
};
use trunkline_fuzz::{OPERATORS, SCOPE};

const ROOT: &str = "/nonexistent";

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some(files) = files(data) else { return Corpus::Keep };
    let paths: Vec<String> = files.keys().cloned().collect();
    let folder = Path::new(ROOT).join("pipelines");
    let sent = match SentFiles::below(&folder, files) {
        Ok(sent) => sent,
        // The reason is shown on a terminal.
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
            return Corpus::Keep;
        }
    };
    for path in &paths {
        let parts: Vec<Component<'_>> = Path::new(path).components().collect();
        assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))), "{path:?} stays below");
        assert!(!path.contains(['\\', '\0']) && parts.len() <= 12 && path.len() <= 512);
    }
    if sent.has_no_pipeline() {
        return Corpus::Keep;
    }
    let loaded = load_sent(&sent, &BTreeSet::new(), Path::new(ROOT), &SCOPE, &OPERATORS).expect("few files");
    let text = loaded.diagnostics.render(false);
    assert_eq!(text.is_empty(), loaded.diagnostics.items.is_empty());
    for entry in &loaded.pipelines {
        assert!(entry.file.starts_with(&folder), "{}", entry.file.display());
    }
    Corpus::Keep
});

/// The files of a body; or, without JSON around them, blocks that begin with `= path`.
fn files(data: &[u8]) -> Option<BTreeMap<String, String>> {
    if let Some(body) = api::body(data) {
        api::taken_by(data);
        return serde_json::from_value(body.get("files")?.clone()).ok();
    }
    let text = std::str::from_utf8(data).ok()?;
    let blocks = text.strip_prefix("= ")?.split("\n= ");
    Some(
        blocks
            .map(|block| block.split_once('\n').unwrap_or((block, "")))
            .map(|(path, text)| (path.into(), text.into()))
            .collect(),
    )
}
