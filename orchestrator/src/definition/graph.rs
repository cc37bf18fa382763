//! Tasks and their edges: names resolved, cycles found and printed, upstream before downstream.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    ops::Range,
};

use petgraph::{
    algo::tarjan_scc,
    graph::{DiGraph, NodeIndex},
};

use super::{reader::Reader, reader::shorten, suggest::did_you_mean};

/// More edges say that the tasks should be grouped.
pub(crate) const EDGES_MAX: usize = 50_000;
/// So many names of a cycle are printed.
const CYCLE_SHOWN_MAX: usize = 20;

/// A task as the graph sees it.
#[derive(Debug)]
pub(super) struct GraphTask<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Where its name stands.
    pub(super) span: &'a Range<usize>,
    /// What `depends_on` names, with places.
    pub(super) depends_on: &'a [(String, Range<usize>)],
}

/// The edges of a sound graph.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// For each task in file order, its upstreams.
    pub(super) upstreams: Vec<Vec<usize>>,
    /// The tasks in an order with upstream before downstream, otherwise as in the file.
    pub(super) order: Vec<usize>,
    /// Whether it has a cycle; then `order` is the order of the file.
    pub(super) cyclic: bool,
}

/// Resolves the edges and orders the tasks.
pub(super) fn graph(reader: &mut Reader, tasks: &[GraphTask<'_>]) -> Graph {
    let positions: HashMap<&str, usize> =
        tasks.iter().enumerate().map(|(position, task)| (task.name, position)).collect();
    let mut upstreams = vec![Vec::new(); tasks.len()];
    let mut edges = 0;
    for (position, task) in tasks.iter().enumerate() {
        for (name, span) in task.depends_on {
            edges += 1;
            if edges == EDGES_MAX + 1 {
                let diagnostic = reader
                    .error(span, format!("the pipeline has more than {EDGES_MAX} edges"))
                    .label("one too many")
                    .help("put a `noop` task between two groups: n + m edges instead of n × m");
                reader.report(diagnostic);
            }
            if edges <= EDGES_MAX {
                edge(reader, (position, task), (name, span), &positions, &mut upstreams[position]);
            }
        }
    }
    let cyclic = cycles(reader, tasks, &upstreams);
    let order = if cyclic { (0..tasks.len()).collect() } else { order(&upstreams) };
    Graph { upstreams, order, cyclic }
}

fn edge(
    reader: &mut Reader,
    (position, task): (usize, &GraphTask<'_>),
    (name, span): (&str, &Range<usize>),
    positions: &HashMap<&str, usize>,
    upstreams: &mut Vec<usize>,
) {
    let Some(&upstream) = positions.get(name) else {
        let names = positions.keys().copied().filter(|other| *other != task.name);
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        let help = did_you_mean(name, names, "the tasks are");
        let message = format!("task `{}` depends on unknown task `{}`", task.name, shorten(name));
        let diagnostic = reader.error(span, message).label("no task with this name").help_maybe(help);
        return reader.report(diagnostic);
    };
    if upstream == position {
        let message = format!("task `{}` depends on itself", task.name);
        let diagnostic = reader.error(span, message).label("itself").help("leave it out");
        return reader.report(diagnostic);
    }
    if upstreams.contains(&upstream) {
        let message = format!("task `{}` names `{name}` twice in `depends_on`", task.name);
        let diagnostic = reader.error(span, message).label("second time").help("leave it out");
        return reader.report(diagnostic);
    }
    upstreams.push(upstream);
}

/// Reports each cycle once, whole and with every step's place.
fn cycles(reader: &mut Reader, tasks: &[GraphTask<'_>], upstreams: &[Vec<usize>]) -> bool {
    let mut graph: DiGraph<(), (), usize> = DiGraph::default();
    for _ in tasks {
        graph.add_node(());
    }
    for (position, from) in upstreams.iter().enumerate() {
        for &upstream in from {
            graph.add_edge(NodeIndex::new(upstream), NodeIndex::new(position), ());
        }
    }
    let mut found: Vec<Vec<usize>> = tarjan_scc(&graph)
        .into_iter()
        .filter(|part| part.len() > 1)
        .map(|part| {
            let mut members: Vec<usize> = part.into_iter().map(NodeIndex::index).collect();
            members.sort_unstable();
            shortest_cycle(members[0], &members, upstreams)
        })
        .collect();
    found.sort();
    for cycle in &found {
        report_cycle(reader, tasks, cycle);
    }
    !found.is_empty()
}

/// The shortest way from `first` over upstreams back to itself, in the order of depending.
fn shortest_cycle(first: usize, members: &[usize], upstreams: &[Vec<usize>]) -> Vec<usize> {
    let mut came_from: HashMap<usize, usize> = HashMap::new();
    let mut queue = std::collections::VecDeque::from([first]);
    while let Some(current) = queue.pop_front() {
        for &upstream in &upstreams[current] {
            if upstream == first {
                let mut cycle = vec![current];
                let mut step = current;
                while let Some(&before) = came_from.get(&step) {
                    cycle.push(before);
                    step = before;
                }
                cycle.reverse();
                return cycle;
            }
            if members.binary_search(&upstream).is_ok() && !came_from.contains_key(&upstream) {
                came_from.insert(upstream, current);
                queue.push_back(upstream);
            }
        }
    }
    members.to_vec()
}

fn report_cycle(reader: &mut Reader, tasks: &[GraphTask<'_>], cycle: &[usize]) {
    let mut names: Vec<&str> =
        cycle.iter().take(CYCLE_SHOWN_MAX).map(|&position| tasks[position].name).collect();
    if cycle.len() > CYCLE_SHOWN_MAX {
        names.push("…");
    }
    names.push(tasks[cycle[0]].name);
    let place = |step: usize| {
        let task = &tasks[cycle[step]];
        let next = tasks[cycle[(step + 1) % cycle.len()]].name;
        let named = task.depends_on.iter().find(|(name, _)| name == next);
        (named.map_or_else(|| task.span.clone(), |(_, span)| span.clone()), task.name, next)
    };
    let (span, task, next) = place(0);
    let mut diagnostic = reader
        .error(&span, format!("tasks wait for each other: {}", names.join(" → ")))
        .label(format!("`{task}` waits for `{next}`"))
        .help("remove one of these dependencies");
    for step in 1..cycle.len().min(CYCLE_SHOWN_MAX) {
        let (span, task, next) = place(step);
        diagnostic = diagnostic.related(reader.source, span, format!("`{task}` waits for `{next}`"));
    }
    reader.report(diagnostic);
}

/// Kahn's order; of several tasks that are ready, the one that stands first in the file.
fn order(upstreams: &[Vec<usize>]) -> Vec<usize> {
    let mut waiting: Vec<usize> = upstreams.iter().map(Vec::len).collect();
    let mut downstream = vec![Vec::new(); upstreams.len()];
    for (position, from) in upstreams.iter().enumerate() {
        for &upstream in from {
            downstream[upstream].push(position);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = waiting
        .iter()
        .enumerate()
        .filter(|(_, count)| **count == 0)
        .map(|(position, _)| Reverse(position))
        .collect();
    let mut order = Vec::with_capacity(upstreams.len());
    while let Some(Reverse(next)) = ready.pop() {
        order.push(next);
        for &after in &downstream[next] {
            waiting[after] -= 1;
            if waiting[after] == 0 {
                ready.push(Reverse(after));
            }
        }
    }
    order
}

impl Graph {
    /// For each task in file order, the set of all tasks above it. In a graph with a cycle,
    /// only the direct upstreams: a wrong edge is wrong once.
    pub(super) fn ancestors(&self) -> Ancestors {
        let words = self.upstreams.len().div_ceil(64);
        let mut rows = vec![0_u64; words * self.upstreams.len()];
        for &task in &self.order {
            for &upstream in &self.upstreams[task] {
                for word in 0..words {
                    let above = rows[upstream * words + word];
                    rows[task * words + word] |= above;
                }
                rows[task * words + upstream / 64] |= 1 << (upstream % 64);
            }
        }
        Ancestors { words, rows }
    }
}

/// Who lies above whom.
#[derive(Debug)]
pub(super) struct Ancestors {
    words: usize,
    rows: Vec<u64>,
}

impl Ancestors {
    /// Whether `above` must end before `task` starts.
    pub(super) fn contains(&self, task: usize, above: usize) -> bool {
        self.rows[task * self.words + above / 64] & (1 << (above % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_file_where_edges_allow_it() {
        assert_eq!(order(&[vec![2], vec![], vec![]]), [1, 2, 0]);
        assert_eq!(order(&[vec![], vec![0], vec![0], vec![2, 1]]), [0, 1, 2, 3]);
        assert_eq!(order(&[]), Vec::<usize>::new());
    }

    #[test]
    fn ancestors_are_transitive() {
        let graph = Graph {
            upstreams: vec![vec![], vec![0], vec![1], vec![]],
            order: vec![0, 1, 2, 3],
            cyclic: false,
        };
        let above = graph.ancestors();
        assert!(
            above.contains(2, 0) && above.contains(2, 1) && !above.contains(0, 2) && !above.contains(2, 3)
        );
    }

    #[test]
    fn the_shortest_cycle_is_found() {
        let upstreams = [vec![2], vec![0], vec![1], vec![0]];
        assert_eq!(shortest_cycle(0, &[0, 1, 2], &upstreams), [0, 2, 1]);
    }
}
