//! Large and hostile files: bounded, and never a panic.

use std::fmt::Write as _;

use trunkline::definition::{Operators, load_text};

use crate::fixture;

fn messages(text: &[u8]) -> Vec<String> {
    let registry = fixture::registry();
    let loaded = load_text("pipeline.yaml", text, &fixture::scope(), &Operators::new(&registry));
    loaded.diagnostics.items.into_iter().map(|item| item.message).collect()
}

fn tasks(count: usize, upstreams: usize) -> String {
    let mut text = "name: wide\nparams: { n: { type: integer, default: 1 } }\ntasks:\n".to_owned();
    for task in 0..count {
        let from: Vec<String> = (task.saturating_sub(upstreams)..task).map(|one| format!("t{one}")).collect();
        let _ = writeln!(text, "  t{task}:\n    type: noop\n    depends_on: [{}]", from.join(", "));
        let _ = writeln!(text, "    outputs: {{ value: \"{{{{ params.n }}}}-{task}\" }}\n    retries: 2");
    }
    text
}

#[test]
fn five_thousand_tasks_are_read_and_one_more_is_refused() {
    let registry = fixture::registry();
    let loaded =
        load_text("p.yaml", tasks(5_000, 3).as_bytes(), &fixture::scope(), &Operators::new(&registry));
    assert_eq!(loaded.diagnostics.render(false), "");
    assert_eq!(loaded.pipelines[0].pipeline.tasks.len(), 5_000);
    assert_eq!(messages(tasks(5_001, 1).as_bytes()), ["the pipeline has more than 5000 tasks"]);
}

#[test]
fn edges_depth_size_and_encoding_are_bounded() {
    let many = messages(tasks(1_100, 50).as_bytes());
    assert_eq!(many, ["the pipeline has more than 50000 edges"]);
    let deep = format!("name: a\ntasks: {}x{}\n", "[".repeat(100), "]".repeat(100));
    assert!(messages(deep.as_bytes())[0].contains("deeper than 32"));
    let mut block = String::new();
    for level in 0..100 {
        let _ = writeln!(block, "{}a:", " ".repeat(level));
    }
    assert!(messages(block.as_bytes())[0].contains("deeper than 32"));
    let large = vec![b'#'; 1024 * 1024 + 1];
    assert!(messages(&large)[0].contains("at most 1048576"));
    assert!(messages(b"name: \xff\n")[0].contains("not UTF-8"));
    assert!(messages(b"name: a\x00b\n")[0].contains("cannot be read"));
    assert_eq!(messages(b""), ["the file is empty"]);
    assert_eq!(messages(b"# only a comment\n"), ["the file is empty"]);
}

#[test]
fn a_cycle_of_thousands_is_printed_short() {
    let mut text = "name: ring\ntasks:\n".to_owned();
    for task in 0..3_000 {
        let _ = writeln!(text, "  t{task}: {{ type: noop, depends_on: t{} }}", (task + 1) % 3_000);
    }
    let found = messages(text.as_bytes());
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("tasks wait for each other: t0 → t1") && found[0].ends_with("… → t0"),
        "{}",
        found[0]
    );
}

#[test]
fn more_than_a_hundred_mistakes_are_counted() {
    let mut text = "name: many\ntasks:\n".to_owned();
    for task in 0..150 {
        let _ = writeln!(text, "  t{task}: {{ type: nope }}");
    }
    let registry = fixture::registry();
    let loaded = load_text("p.yaml", text.as_bytes(), &fixture::scope(), &Operators::new(&registry));
    assert_eq!(loaded.diagnostics.items.len(), 150);
    assert!(loaded.diagnostics.render(false).ends_with("and 50 more\n"));
}

#[test]
fn a_key_that_json_takes_for_its_own_is_refused() {
    let text =
        "name: a\ntasks:\n  x: { type: noop, outputs: { v: { '$serde_json::private::RawValue': '[' } } }\n";
    assert_eq!(messages(text.as_bytes()), ["`$serde_json::private::RawValue` cannot be a key"]);
}
