//! Enumerates every pair of states and holds `docs/state-machine.md` to the table of legal
//! transitions. `UPDATE_DOCS=1` writes the page.

mod operations;

use std::{fmt::Write as _, fs, path::Path};

use trunkline_state::{
    machine::legal::{attempt_may, run_may, task_may},
    words::{AttemptState, RunState, TaskState},
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/state-machine.md");

fn chart<S: Copy + PartialEq>(
    states: &[S],
    word: impl Fn(S) -> &'static str,
    may: impl Fn(S, S) -> bool,
    begins: &[S],
    is_terminal: impl Fn(S) -> bool,
) -> String {
    let mut text = String::from("```mermaid\nstateDiagram-v2\n");
    for &state in begins {
        let _ = writeln!(text, "    [*] --> {}", word(state));
    }
    for &from in states {
        for &to in states {
            if from != to && may(from, to) && !is_terminal(from) {
                let _ = writeln!(text, "    {} --> {}", word(from), word(to));
            }
        }
    }
    for &state in states {
        if is_terminal(state) {
            let _ = writeln!(text, "    {} --> [*]", word(state));
        }
    }
    text + "```\n"
}

fn table<S: Copy + PartialEq>(
    states: &[S],
    word: impl Fn(S) -> &'static str,
    may: impl Fn(S, S) -> bool,
) -> String {
    let mut text = format!(
        "| from ╲ to | {} |\n",
        states.iter().map(|state| word(*state)).collect::<Vec<_>>().join(" | ")
    );
    let _ = writeln!(text, "|---|{}", "---|".repeat(states.len()));
    for &from in states {
        let cells: Vec<&str> = states.iter().map(|to| if may(from, *to) { "●" } else { "" }).collect();
        let _ = writeln!(text, "| **{}** | {} |", word(from), cells.join(" | "));
    }
    text
}

fn page() -> String {
    let mut text = String::from(
        "# The state machines\n\n\
         Written by `state/tests/state_machine_doc.rs` from the table in `state/src/machine/legal.rs`, which the\n\
         machine itself checks; do not edit. What leads from one state to another is decided in\n\
         `state/src/machine/`. Terminal states change only by a clear, which starts a new generation.\n",
    );
    text += "\n## Run\n\n";
    text += &chart(RunState::ALL, RunState::word, run_may, &[RunState::Queued], RunState::is_terminal);
    text += "\n";
    text += &table(RunState::ALL, RunState::word, run_may);
    text += "\n## Task run\n\n";
    text += &chart(TaskState::ALL, TaskState::word, task_may, &[TaskState::Waiting], TaskState::is_terminal);
    text += "\n";
    text += &table(TaskState::ALL, TaskState::word, task_may);
    text += "\n## Attempt\n\nPeople read `unknown` as \"start unconfirmed\" and `lost` as \"outcome unknown\".\n\n";
    let begins: Vec<AttemptState> =
        AttemptState::ALL.iter().copied().filter(|state| attempt_may(None, *state)).collect();
    let may = |from, to| attempt_may(Some(from), to);
    text += &chart(AttemptState::ALL, AttemptState::word, may, &begins, AttemptState::is_terminal);
    text += "\n";
    text += &table(AttemptState::ALL, AttemptState::word, may);
    text += "\n## What people may ask\n\nEach operation in each situation of a run and one of its tasks: the states \
             afterwards, `done` where they stay as\nthey are, and nothing where it is refused with the reason. Another \
             task beside it is ready, a third one follows it.\nIt does not matter which replica owns the run, or \
             whether any does.\n\n";
    text += &operations::table().0;
    text
}

#[test]
fn every_refusal_says_what_to_do() {
    assert_eq!(operations::missing(), Vec::<String>::new());
    insta::assert_snapshot!(operations::table().1);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the switch that rewrites a generated page")]
fn the_page_is_what_the_table_says() {
    let wanted = page();
    if std::env::var("UPDATE_DOCS").is_ok() {
        fs::write(PAGE, &wanted).expect("the page can be written");
    }
    let found = fs::read_to_string(Path::new(PAGE)).unwrap_or_default();
    assert_eq!(found, wanted, "run the tests with UPDATE_DOCS=1 to write docs/state-machine.md anew");
}

#[test]
fn ended_attempts_never_change() {
    for &from in AttemptState::ALL {
        for &to in AttemptState::ALL {
            if from.is_terminal() {
                assert!(!attempt_may(Some(from), to), "{from} to {to}");
            }
        }
    }
}

#[test]
fn ended_runs_and_tasks_only_reopen() {
    for &from in RunState::ALL {
        for &to in RunState::ALL {
            assert!(!from.is_terminal() || !run_may(from, to) || to == RunState::Queued);
        }
    }
    for &from in TaskState::ALL {
        for &to in TaskState::ALL {
            assert!(!from.is_terminal() || !task_may(from, to) || to == TaskState::Waiting);
        }
    }
}
