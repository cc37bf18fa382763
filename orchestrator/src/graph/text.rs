//! The graph for a terminal: one row for each task, one rail for each task that others wait
//! for. A horizontal line on a task's row leads to the rails of its upstreams; `○` waits for
//! nothing.

use trunkline_state::pipeline::Pipeline;

use super::rule_word;

/// More rails than these do not fit a terminal; the upstreams are then listed by name.
const RAILS_MAX: usize = 24;

/// Up to so many tasks, a row between two of them shows the rails alone: easier to follow.
const SPACED_TASKS_MAX: usize = 30;

/// So many upstreams are named in a row before the rest is only counted.
const NAMES_SHOWN_MAX: usize = 8;

pub(super) fn render(pipeline: &Pipeline) -> String {
    let edges: usize = pipeline.tasks.iter().map(|task| task.depends_on.len()).sum();
    let title = format!(
        "{}: {} {}, {edges} {}\n\n",
        pipeline.name,
        pipeline.tasks.len(),
        if pipeline.tasks.len() == 1 { "task" } else { "tasks" },
        if edges == 1 { "edge" } else { "edges" },
    );
    let rows = rails(pipeline);
    let pictures = rows.as_deref();
    let left = pictures.map_or(0, |rows| rows.iter().map(|row| row.tasks.chars().count()).max().unwrap_or(0));
    let names = pipeline.tasks.iter().map(|task| task.name.as_str().len()).max().unwrap_or(0);
    let types = pipeline.tasks.iter().map(|task| task.operator.len()).max().unwrap_or(0);
    let mut text = title;
    for (position, task) in pipeline.tasks.iter().enumerate() {
        let picture = pictures.and_then(|rows| rows.get(position)).map_or("", |row| row.tasks.as_str());
        let rule = rule_word(task).map(|word| format!("when {word}")).unwrap_or_default();
        let upstreams = if pictures.is_some() { String::new() } else { upstream_names(pipeline, position) };
        let row = format!(
            "{picture:<left$}  {:<names$}  {:<types$}  {rule}{}{upstreams}",
            task.name.as_str(),
            task.operator,
            if rule.is_empty() || upstreams.is_empty() { "" } else { ", " },
        );
        text.push_str(row.trim_end());
        text.push('\n');
        if let Some(picture) = pictures.and_then(|rows| rows.get(position))
            && pipeline.tasks.len() <= SPACED_TASKS_MAX
            && position + 1 < pipeline.tasks.len()
        {
            text.push_str(&picture.below);
            text.push('\n');
        }
    }
    text
}

fn upstream_names(pipeline: &Pipeline, position: usize) -> String {
    let upstreams = &pipeline.tasks[position].depends_on;
    if upstreams.is_empty() {
        return String::new();
    }
    let named = upstreams.iter().filter_map(|&upstream| pipeline.tasks.get(upstream));
    let shown: Vec<&str> = named.take(NAMES_SHOWN_MAX).map(|task| task.name.as_str()).collect();
    let rest = match upstreams.len().saturating_sub(NAMES_SHOWN_MAX) {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    format!("after {}{rest}", shown.join(", "))
}

/// The picture of a task's row, and of the row below it.
struct Picture {
    tasks: String,
    below: String,
}

/// A rail: the task at its top, and how many rows still have to branch off.
#[derive(Clone, Copy)]
struct Rail {
    task: usize,
    left: usize,
}

/// The picture of each row; `None` if it takes more than [`RAILS_MAX`] rails.
fn rails(pipeline: &Pipeline) -> Option<Vec<Picture>> {
    let downstream = pipeline.downstream();
    let mut columns: Vec<Option<Rail>> = Vec::new();
    let mut rows = Vec::with_capacity(pipeline.tasks.len());
    // The column that the row above ends in; a task put below it would seem to follow from it.
    let mut ended: Option<usize> = None;
    for (position, task) in pipeline.tasks.iter().enumerate() {
        let mut joins = Vec::new();
        for (column, rail) in columns.iter_mut().enumerate() {
            if let Some(rail) = rail.as_mut().filter(|rail| task.depends_on.contains(&rail.task)) {
                rail.left -= 1;
                joins.push(column);
            }
        }
        let ends =
            |column: &usize| columns.get(*column).copied().flatten().is_some_and(|rail| rail.left == 0);
        let under = joins.iter().copied().find(ends);
        let is_free = |column: &usize| {
            columns.get(*column).is_none_or(Option::is_none) && (joins.is_empty() || ended != Some(*column))
        };
        let free = (0..=columns.len() + 1).find(is_free).unwrap_or(columns.len());
        let node = under.unwrap_or(free);
        if node >= columns.len() {
            columns.resize(node + 1, None);
        }
        if columns.len() > RAILS_MAX {
            return None;
        }
        let tasks = row(&columns, node, &joins);
        for column in &mut columns {
            *column = column.filter(|rail| rail.left > 0);
        }
        let left = downstream[position].len();
        columns[node] = (left > 0).then_some(Rail { task: position, left });
        ended = (left == 0).then_some(node);
        let below: String = columns.iter().map(|rail| if rail.is_some() { "│ " } else { "  " }).collect();
        rows.push(Picture { tasks, below: below.trim_end().to_owned() });
    }
    Some(rows)
}

/// One row: the task's node and the lines that lead to it.
fn row(columns: &[Option<Rail>], node: usize, joins: &[usize]) -> String {
    let first = joins.first().copied().unwrap_or(node).min(node);
    let last = joins.last().copied().unwrap_or(node).max(node);
    let mut text = String::new();
    for (column, rail) in columns.iter().enumerate() {
        let joined = joins.contains(&column);
        let goes_on = rail.is_some_and(|rail| rail.left > 0);
        text.push(match rail {
            _ if column == node && joins.is_empty() => '○',
            _ if column == node => '●',
            _ if joined => match (column == first, column == last, goes_on) {
                (true, _, true) => '├',
                (true, _, false) => '└',
                (_, true, true) => '┤',
                (_, true, false) => '┘',
                (_, _, true) => '┼',
                (_, _, false) => '┴',
            },
            Some(_) => '│',
            None if first < column && column < last => '─',
            None => ' ',
        });
        text.push(if first <= column && column < last { '─' } else { ' ' });
    }
    text.trim_end().to_owned()
}
