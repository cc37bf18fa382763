//! The graph in the notations of other programs.

use std::fmt::Write as _;

use trunkline_state::pipeline::Pipeline;

use super::rule_word;

/// A Mermaid flow chart. Nodes have numbers, because words such as `end` have a meaning there.
pub(super) fn mermaid(pipeline: &Pipeline) -> String {
    let mut text = format!("%% {}\nflowchart LR\n", pipeline.name);
    for (position, task) in pipeline.tasks.iter().enumerate() {
        let rule = rule_word(task).map(|word| format!(", {word}")).unwrap_or_default();
        let _ = writeln!(text, "  t{position}[\"{}<br/><small>{}{rule}</small>\"]", task.name, task.operator);
    }
    for (position, task) in pipeline.tasks.iter().enumerate() {
        for upstream in &task.depends_on {
            let _ = writeln!(text, "  t{upstream} --> t{position}");
        }
    }
    text
}

/// A Graphviz digraph.
pub(super) fn dot(pipeline: &Pipeline) -> String {
    let mut text = format!("digraph \"{}\" {{\n  rankdir=LR;\n", pipeline.name);
    text.push_str("  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n");
    for task in &pipeline.tasks {
        let rule = rule_word(task).map(|word| format!(", {word}")).unwrap_or_default();
        let _ = writeln!(text, "  \"{0}\" [label=\"{0}\\n{1}{rule}\"];", task.name, task.operator);
    }
    for task in &pipeline.tasks {
        for upstream in task.depends_on.iter().filter_map(|&upstream| pipeline.tasks.get(upstream)) {
            let _ = writeln!(text, "  \"{}\" -> \"{}\";", upstream.name, task.name);
        }
    }
    text.push_str("}\n");
    text
}
