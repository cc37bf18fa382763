//! The templates of a pipeline against the names that exist: parameters, vars of every
//! environment, tasks upstream.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use super::{
    diagnostic::{Diagnostic, Sources},
    graph::Graph,
    lower::EnvironmentNames,
    notices::{ReadNotices, place_of as place_of_list},
    place::in_file,
    reader::{Reader, shorten},
    settings::Site,
    suggest::did_you_mean,
    task::ReadTask,
    template::{
        check::{Fault, Names, TaskReference, check},
        vocabulary::Place,
    },
    triggers::{ReadTrigger, told_fields},
};

/// The names that a pipeline's templates may use.
pub(super) struct NameScope<'a> {
    /// Whether runs have a data interval.
    pub(crate) data_interval: bool,
    /// The declared parameters.
    pub(crate) params: &'a [&'a str],
    /// What each environment knows.
    pub(crate) environments: &'a [EnvironmentNames],
    /// The triggers.
    pub(crate) triggers: &'a [ReadTrigger],
    /// Tasks that exist but could not be read.
    pub(crate) lost: &'a HashSet<String>,
}

/// Checks every template of the triggers, the tasks and the notices.
pub(super) fn check_sites(
    reader: &mut Reader,
    sources: &Sources,
    scope: &NameScope<'_>,
    tasks: &[ReadTask],
    graph: &Graph,
    notices: &ReadNotices,
) {
    let environments: Vec<(&str, Vec<&str>)> = scope
        .environments
        .iter()
        .map(|one| (one.name.as_str(), one.vars.iter().map(String::as_str).collect()))
        .collect();
    let secrets: Vec<(&str, Vec<&str>)> = scope
        .environments
        .iter()
        .map(|one| (one.name.as_str(), one.secrets.iter().map(String::as_str).collect()))
        .collect();
    let told = told_fields(scope.triggers);
    let names = |place: Place, may_name_secrets: bool| Names {
        data_interval: scope.data_interval,
        params: scope.params,
        environments: &environments,
        secrets: may_name_secrets.then_some(secrets.as_slice()),
        place,
        links: &[],
        trigger: &told,
        shared: false,
    };
    for (site, place) in scope.triggers.iter().flat_map(|trigger| &trigger.sites) {
        let checked = check(&site.text, &names(*place, false));
        report_faults(reader, sources, site, checked.faults);
    }
    let of_task = [Place::Task, Place::Element].map(|place| [names(place, false), names(place, true)]);
    let mut upstreams = Upstreams { tasks, graph, lost: scope.lost, above: None, positions: None };
    for site in tasks.iter().flat_map(|task| &task.outlets.sites) {
        let checked = check(&site.text, &names(Place::Version, false));
        report_faults(reader, sources, site, checked.faults);
    }
    for (position, task) in tasks.iter().enumerate() {
        for site in &task.sites {
            let checked = check(&site.text, &of_task[usize::from(site.element)][usize::from(site.secrets)]);
            report_faults(reader, sources, site, checked.faults);
            for reference in checked.tasks {
                upstreams.check(reader, sources, (position, task), site, &reference);
            }
        }
    }
    for (outcome, read) in notices.iter() {
        for (one, site) in read.iter().flatten().flat_map(|one| one.sites.iter().map(move |site| (one, site)))
        {
            let links = one.link_names();
            let of_notice = Names { links: &links, ..names(place_of_list(outcome), site.secrets) };
            let checked = check(&site.text, &of_notice);
            report_faults(reader, sources, site, checked.faults);
            for reference in checked.tasks {
                upstreams.exists(reader, sources, site, &reference);
            }
        }
    }
}

/// Reports a template's faults in the file where they stand.
pub(crate) fn report_faults(reader: &mut Reader, sources: &Sources, site: &Site, faults: Vec<Fault>) {
    for fault in faults {
        let span = place_of(sources, site, &fault.span);
        let diagnostic =
            Diagnostic::error(site.source, span, fault.message).label(fault.label).help_maybe(fault.help);
        reader.report(diagnostic);
    }
}

fn place_of(sources: &Sources, site: &Site, within: &Range<usize>) -> Range<usize> {
    match &site.scalar {
        Some(scalar) => in_file(&sources.get(site.source).text, &site.span, scalar, within),
        None => within.clone(),
    }
}

/// Who lies upstream of whom; computed when the first template asks.
struct Upstreams<'a> {
    tasks: &'a [ReadTask],
    graph: &'a Graph,
    lost: &'a HashSet<String>,
    above: Option<super::graph::Ancestors>,
    positions: Option<HashMap<&'a str, usize>>,
}

impl Upstreams<'_> {
    fn position(&mut self, name: &str) -> Option<usize> {
        let tasks = self.tasks;
        let positions = self.positions.get_or_insert_with(|| {
            tasks.iter().enumerate().map(|(position, task)| (task.name.as_str(), position)).collect()
        });
        positions.get(name).copied()
    }

    fn exists(
        &mut self,
        reader: &mut Reader,
        sources: &Sources,
        site: &Site,
        reference: &TaskReference,
    ) -> Option<usize> {
        let found = self.position(&reference.task);
        // A file whose tasks cannot be read says that once, not for each template.
        if found.is_none() && !self.tasks.is_empty() && !self.lost.contains(&reference.task) {
            let names: Vec<&str> = self.tasks.iter().map(|task| task.name.as_str()).collect();
            let help = did_you_mean(&reference.task, names, "the tasks are");
            let message = format!("there is no task `{}`", shorten(&reference.task));
            let span = place_of(sources, site, &reference.span);
            let diagnostic =
                Diagnostic::error(site.source, span, message).label("unknown task").help_maybe(help);
            reader.report(diagnostic);
        }
        found
    }

    /// A mapped task leaves a list, which has no names.
    fn check_output(
        &self,
        reader: &mut Reader,
        sources: &Sources,
        site: &Site,
        found: usize,
        reference: &TaskReference,
    ) {
        let (true, Some((name, within))) = (self.tasks[found].for_each.is_some(), &reference.output) else {
            return;
        };
        let task = &reference.task;
        let message = format!("`{task}` runs over a list: its outputs are one too, and have no `{name}`");
        let help = format!(
            "write tasks.{task}.outputs[0].{name} for one element, tasks.{task}.outputs | map(attribute=\"{name}\") | list for all"
        );
        let span = place_of(sources, site, within);
        reader.report(Diagnostic::error(site.source, span, message).label("a list").help(help));
    }

    fn check(
        &mut self,
        reader: &mut Reader,
        sources: &Sources,
        (position, task): (usize, &ReadTask),
        site: &Site,
        reference: &TaskReference,
    ) {
        let Some(found) = self.exists(reader, sources, site, reference) else { return };
        let graph = self.graph;
        let above = self.above.get_or_insert_with(|| graph.ancestors());
        if graph.cyclic || above.contains(position, found) {
            return self.check_output(reader, sources, site, found, reference);
        }
        let span = place_of(sources, site, &reference.span);
        let (message, help) = if found == position {
            (
                format!("task `{}` reads its own outputs", task.name),
                "they exist only after it ended".to_owned(),
            )
        } else {
            let name = &reference.task;
            let message =
                format!("task `{}` reads outputs of `{name}`, which is not upstream of it", task.name);
            (message, format!("add `{name}` to its `depends_on`"))
        };
        let diagnostic = Diagnostic::error(site.source, span, message).label("not upstream").help(help);
        reader.report(diagnostic);
    }
}
