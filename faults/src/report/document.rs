//! `docs/faults.md` and `docs/faults-people.md`: the fault matrix with counts, written by the rig.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use super::{Carried, Summary, TrialReport};
use crate::fault::Fault;

/// Seeds that are named for one line; each repeats it.
const SEEDS_SHOWN: usize = 3;
/// Violations that are quoted for one fault.
const VIOLATIONS_SHOWN: usize = 5;

const INTRODUCTION: &str = "\
# Faults

What is left of Trunkline's promises when things break. A trial runs real `trunkline serve` processes
(1 to 5) on a real Postgres against the sandbox, with a proxy on every link, lets one fault of the
matrix happen, waits until everything is at rest, and then compares the store with the sandbox's
ledger of accepted starts. What is checked after each trial (I10 also all the time):

| | promise |
|---|---|
| I1 | each attempt has at most one accepted start, sent as it was stored |
| I2 | each accepted start belongs to an attempt, and no job runs on after its attempt ended |
| I3 | each accepted trigger has exactly one run |
| I4 | every run ends as it must once faults stop |
| I5 | only legal transitions, without gaps |
| I6 | at most one attempt of a task is live |
| I7 | a task starts only after its upstreams ended |
| I8 | an ended attempt never changes |
| I9 | every end of a run has its notice, and it was published; twice only if a sender died or an answer was lost |
| I10 | places of pipelines and groups, and slots of pools, are never overbooked |
| I11 | counters equal recounts |
| I12 | a planted secret is found in no table and no log |
| I13 | every action of a person has one line of history |
| I14 | no stop is sent to a job that is not ours |

All durations of the program and of the sandbox are scaled by one ratio. The same fault and seed
choose the same runs, points and blows; when threads run is the machine's choice, so a line is
repeated by its command, not replayed instruction by instruction.
";

/// The document of a series of trials, for the file `path`.
pub fn document(summary: &Summary, path: &Path) -> String {
    let mut text = format!(
        "<!-- Written by `trunkline-faults --report {}`; do not edit. -->\n\n{INTRODUCTION}",
        path.display()
    );
    let _ = writeln!(
        text,
        "\n**{} trials, {} violations**; {} of the trials ({}) were hit between an intent and the commit of \
         its handle. {} processes were killed, {} starts were accepted, {} of them were found again after \
         their answer was lost. Ratio {}.\n",
        summary.trials,
        summary.violations,
        summary.trials_inside_start,
        percent(summary.trials_inside_start, summary.trials),
        summary.kills,
        summary.starts,
        summary.reattached,
        summary.time_ratio,
    );
    text.push_str(
        "| # | fault | trials | seeds | hits | inside a start | violations |\n|---|---|---:|---|---:|---:|---:|\n",
    );
    let faults: BTreeMap<Fault, Vec<&TrialReport>> =
        summary.reports.iter().fold(BTreeMap::new(), |mut faults, report| {
            faults.entry(report.fault).or_insert_with(Vec::new).push(report);
            faults
        });
    for (fault, reports) in &faults {
        let hits: usize = reports.iter().map(|report| report.hits.len()).sum();
        let violations: usize = reports.iter().map(|report| report.violations.len()).sum();
        let _ = writeln!(
            text,
            "| [{0}](#{1}) | {2} | {3} | {4} | {hits} | {5} | {violations} |",
            fault.word(),
            fault.word().to_lowercase(),
            fault.title(),
            reports.len(),
            seeds(reports),
            percent(inside(reports), reports.len()),
        );
    }
    let first = faults.keys().next().map_or("F1", |fault| fault.word());
    let _ = write!(
        text,
        "\nAny line below is repeated with its fault and one of its seeds:\n\n```sh\n\
         cargo build --locked -p trunkline -p trunkline-faults\n\
         cargo run --locked -p trunkline-faults -- --fault {first} --seed 1 --trials 1\n```\n",
    );
    for (fault, reports) in &faults {
        section(&mut text, *fault, reports);
    }
    text
}

fn section(text: &mut String, fault: Fault, reports: &[&TrialReport]) {
    let _ = writeln!(text, "\n## {}\n\n{}.\n", fault.word(), fault.title());
    text.push_str("| what | where | state hit | times | seeds |\n|---|---|---|---:|---|\n");
    let mut lines: BTreeMap<(String, String, String), (usize, Vec<u64>)> = BTreeMap::new();
    for report in reports {
        for hit in &report.hits {
            let what = format!("{} {}", kind(&hit.process), hit.how);
            let state = if hit.inside_start { "inside a start" } else { states(&hit.attempts) };
            let line = lines.entry((what, hit.at.clone(), state.to_owned())).or_default();
            line.0 += 1;
            line.1.push(report.seed);
        }
        if report.hits.is_empty() {
            let line = lines.entry(("nothing hit".to_owned(), String::new(), String::new())).or_default();
            line.0 += 1;
            line.1.push(report.seed);
        }
    }
    for ((what, place, state), (times, mut seeds)) in lines {
        seeds.dedup();
        let more = if seeds.len() > SEEDS_SHOWN { ", …" } else { "" };
        let shown: Vec<String> = seeds.iter().take(SEEDS_SHOWN).map(u64::to_string).collect();
        let _ = writeln!(text, "| {what} | {place} | {state} | {times} | {}{more} |", shown.join(", "));
    }
    operations(text, reports);
    let bad = reports.iter().flat_map(|report| report.violations.iter().map(|text| (report.seed, text)));
    for (seed, violation) in bad.take(VIOLATIONS_SHOWN) {
        let _ = writeln!(text, "\nSeed {seed}: {violation}");
    }
}

/// What people asked for, and what became of it.
fn operations(text: &mut String, reports: &[&TrialReport]) {
    let mut sums: BTreeMap<&str, Carried> = BTreeMap::new();
    for (operation, carried) in reports.iter().flat_map(|report| &report.operations) {
        let sum = sums.entry(operation).or_default();
        sum.done += carried.done;
        sum.refused += carried.refused;
        sum.cut_off += carried.cut_off;
    }
    if sums.is_empty() {
        return;
    }
    text.push_str("\n| asked for | done | refused | killed before it did anything |\n|---|---:|---:|---:|\n");
    for (operation, Carried { done, refused, cut_off }) in sums {
        let _ = writeln!(text, "| `{operation}` | {done} | {refused} | {cut_off} |");
    }
}

fn seeds(reports: &[&TrialReport]) -> String {
    let least = reports.iter().map(|report| report.seed).min().unwrap_or(0);
    let most = reports.iter().map(|report| report.seed).max().unwrap_or(0);
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

fn inside(reports: &[&TrialReport]) -> usize {
    reports.iter().filter(|report| report.hits.iter().any(|hit| hit.inside_start)).count()
}

/// Numbers of processes say nothing to a reader.
fn kind(process: &str) -> &str {
    if process.contains("link to Postgres") {
        "link to Postgres"
    } else if process.starts_with("serve") {
        "serve"
    } else {
        process
    }
}

fn states(attempts: &str) -> &'static str {
    match attempts {
        "" => "",
        text if text.contains("unknown") => "an unconfirmed start",
        text if text.contains("cancelling") => "a job being stopped",
        text if text.contains("starting") => "somebody else's start",
        _ => "jobs running",
    }
}

fn percent(part: usize, whole: usize) -> String {
    format!("{} %", (part * 100).checked_div(whole).unwrap_or(0))
}
