//! The words that templates know: names, fields, filters, tests and functions, and what the
//! names of other orchestrators are called here. Lists only; [`super::check`] applies them.

/// The names that every template of a run may read.
pub const NAMES: [&str; 11] = [
    "ds",
    "ds_nodash",
    "ts",
    "logical_date",
    "data_interval_start",
    "data_interval_end",
    "params",
    "vars",
    "run",
    "tasks",
    "trigger",
];
/// What `run` has.
pub const RUN_FIELDS: [&str; 4] = ["id", "name", "key", "generation"];
/// What `run` has in a task.
pub const TASK_RUN_FIELDS: [&str; 5] = ["id", "name", "key", "generation", "attempt"];
/// What `trigger` has in every run.
pub const TRIGGER_FIELDS: [&str; 1] = ["type"];
/// What `error` has.
pub const ERROR_FIELDS: [&str; 5] = ["task", "message", "class", "code", "attempt"];
/// What `links` has; a link that a run does not have is empty text.
pub const LINK_FIELDS: [&str; 1] = ["console"];
/// Functions of the template engine.
pub(super) const FUNCTIONS: [&str; 3] = ["range", "dict", "namespace"];
/// Filters of the template engine that have a use here.
pub(super) const FILTERS: [&str; 43] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "escape",
    "e",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
];
/// The remaining ones, kept apart only for the length of a line.
pub(super) const MORE_FILTERS: [&str; 5] = ["unique", "upper", "zip", "safe", "table"];
/// Tests of the template engine (`x is defined`).
pub(super) const TESTS: [&str; 33] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "safe",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
];
/// The remaining ones, kept apart only for the length of a line.
pub(super) const MORE_TESTS: [&str; 3] = ["startingwith", "undefined", "upper"];
/// Names that other orchestrators use, and what they are called here.
pub(super) const FOREIGN: [(&str, &str); 9] = [
    ("execution_date", "logical_date"),
    ("next_ds", "data_interval_end.date()"),
    ("prev_ds", "ds.subtract(\"1d\")"),
    ("yesterday_ds", "ds.subtract(\"1d\")"),
    ("tomorrow_ds", "ds.add(\"1d\")"),
    ("dag_run", "run"),
    ("var", "vars"),
    ("macros", "ds.add(\"1d\"), .strftime(…), .in_tz(…)"),
    ("ti", "tasks.<task>.outputs"),
];

/// What a template belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A task's settings.
    Task,
    /// The settings of a mapped task, rendered for each of its elements.
    Element,
    /// A notice of `on_success`, `on_warning` or `on_recovery`.
    OnSuccess,
    /// A notice of `on_failure` or `on_retry`.
    OnFailure,
    /// A notice of `on_late`: there may be no run.
    OnLate,
    /// What a trigger listens to, and which datasets a task updates: rendered with the version.
    Version,
    /// The parameters of a trigger's runs: rendered before there is a run.
    TriggerParams,
}

impl Place {
    /// The names that are known here: [`NAMES`], where there is a run, and others.
    pub(super) fn names(self) -> [&'static [&'static str]; 2] {
        let own: &[&str] = match self {
            Self::Version => return [&[], &["vars"]],
            Self::TriggerParams => return [&[], &["vars", "trigger"]],
            Self::Task => &["secrets"],
            Self::Element => &["secrets", "item", "index"],
            Self::OnSuccess => &["links"],
            Self::OnFailure => &["error", "links"],
            Self::OnLate => &[],
        };
        [&NAMES, own]
    }

    /// Whether a name is known here.
    pub(super) fn knows(self, name: &str) -> bool {
        self.names().into_iter().flatten().any(|known| *known == name)
    }
}
