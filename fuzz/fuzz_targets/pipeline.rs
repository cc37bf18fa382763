//! A definition file, read as `validate` reads it: YAML to a pipeline with every mistake, and the mistakes as
//! people and programs see them.
//!
//! The last byte chooses what the file is: a pipeline, its tests, or the project's own file.
#![no_main]

use std::path::Path;

use libfuzzer_sys::{Corpus, fuzz_target};
use trunkline::{
    definition::{Diagnostics, Templates, cases::load_cases_text, load_text},
    project::Project,
};
use trunkline_fuzz::{OPERATORS, PIPELINE, SCOPE};
use trunkline_state::pipeline::Pipeline;

fuzz_target!(|data: &[u8]| -> Corpus {
    let [text @ .., what] = data else { return Corpus::Reject };
    match what {
        b'\0' => {
            let mut found = Diagnostics::default();
            load_cases_text(&PIPELINE, "tests.yaml", text, &mut found);
            found.sort();
            shown(&found);
        }
        b'\x01' => {
            let lookup = |name: &str| (name != "NONE").then(|| "value".to_owned());
            let (project, found) = Project::load_text(Path::new("/nonexistent"), text, "local", &lookup);
            assert_eq!(project.environment.name, "local");
            shown(&found);
        }
        // Also the line break at the end of any file.
        _ => pipeline(data),
    }
    Corpus::Keep
});

fn pipeline(text: &[u8]) {
    let loaded = load_text("pipeline.yaml", text, &SCOPE, &OPERATORS);
    assert_eq!(loaded.diagnostics.has_errors(), loaded.pipelines.is_empty(), "a pipeline or a reason");
    for entry in &loaded.pipelines {
        let pipeline = &entry.pipeline;
        let stored = serde_json::to_string(pipeline).expect("a pipeline is stored");
        let read: Pipeline = serde_json::from_str(&stored).expect("what was stored is read");
        assert_eq!(read.content_hash(), pipeline.content_hash(), "and is the same version");
        let _ = Templates::for_pipeline(pipeline);
    }
    shown(&loaded.diagnostics);
}

/// Every mistake has a place in the file and words, and is in the text that people read.
fn shown(found: &Diagnostics) {
    for item in &found.items {
        assert!(!item.message.is_empty());
        let Some((source, span)) = &item.place else { continue };
        let text = &found.sources.get(*source).text;
        assert!(
            span.start <= span.end && span.end <= text.len(),
            "{span:?} of {}: {}",
            text.len(),
            item.message
        );
    }
    assert_eq!(found.rows().count(), found.items.len());
    assert!(found.rows().all(|row| row.line != Some(0) && row.column != Some(0)));
    assert_eq!(found.render(false).is_empty(), found.items.is_empty());
    serde_json::to_string(&found.rows().collect::<Vec<_>>()).expect("rows are JSON");
}
