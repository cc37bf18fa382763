//! What a template says, checked when the file is loaded: syntax, names, filters, methods.
//!
//! The walk goes over the template engine's own syntax tree, so every name has its place.
//! Whether a task lies upstream is not known here: references to tasks are returned.

use std::ops::Range;

use minijinja::{
    Error,
    machinery::{
        ast::{CallArg, Expr, Stmt},
        parse,
    },
};

use super::{
    dates, depth, is_template, syntax,
    vocabulary::{
        ERROR_FIELDS, FILTERS, FOREIGN, FUNCTIONS, LINK_FIELDS, MORE_FILTERS, MORE_TESTS, NAMES, Place,
        RUN_FIELDS, TASK_RUN_FIELDS, TESTS, TRIGGER_FIELDS,
    },
};
use crate::definition::suggest::{did_you_mean, nearest};

/// What a template may read at its place.
#[derive(Debug)]
pub struct Names<'a> {
    /// Whether the run has a data interval.
    pub data_interval: bool,
    /// The declared parameters.
    pub params: &'a [&'a str],
    /// Each environment with its vars.
    pub environments: &'a [(&'a str, Vec<&'a str>)],
    /// Each environment with its secrets; `None` where no secret may stand.
    pub secrets: Option<&'a [(&'a str, Vec<&'a str>)]>,
    /// What the template belongs to.
    pub place: Place,
    /// The names of the notice's own links.
    pub links: &'a [String],
    /// What `trigger` has beside its type.
    pub trigger: &'a [&'a str],
    /// Whether the template is shared by all pipelines, so that `params` and `tasks` mean nothing.
    pub shared: bool,
}

/// A mistake inside a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes of the template's text.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// The words under the text.
    pub label: String,
    /// How to repair it.
    pub help: Option<String>,
}

/// A use of `tasks.<task>…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskReference {
    /// The task.
    pub task: String,
    /// Bytes of the template's text that name it.
    pub span: Range<usize>,
    /// The output that is read, where it is written out.
    pub output: Option<(String, Range<usize>)>,
}

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The mistakes.
    pub faults: Vec<Fault>,
    /// The tasks that are read.
    pub tasks: Vec<TaskReference>,
}

/// Checks one text. Text without templates has no faults.
pub fn check(text: &str, names: &Names<'_>) -> Checked {
    if !is_template(text) {
        return Checked::default();
    }
    let mut walk = Walk { text, names, scopes: vec![Vec::new()], found: Checked::default() };
    if let Some((span, message)) = depth::too_deep(text) {
        let help = "take it apart with `{% set %}`, or compute it before".to_owned();
        walk.fault(span, message, "too deep", Some(help));
        return walk.found;
    }
    match parse(text, "template", syntax()) {
        Ok(tree) => walk.statement(&tree),
        Err(error) => walk.syntax_fault(&error),
    }
    walk.found
}

struct Walk<'a> {
    text: &'a str,
    names: &'a Names<'a>,
    /// Names bound inside the template (`set`, `for`, `with`).
    scopes: Vec<Vec<String>>,
    found: Checked,
}

impl<'a> Walk<'a> {
    fn syntax_fault(&mut self, error: &Error) {
        // A text that ends too early is blamed one byte behind its end.
        let length = self.text.len();
        let span = error.range().map_or(0..length, |range| range.start.min(length)..range.end.min(length));
        let detail = error.detail().unwrap_or("the template cannot be read");
        self.fault(span, format!("the template cannot be read: {detail}"), "read as far as here", None);
    }

    fn fault(&mut self, span: Range<usize>, message: String, label: &str, help: Option<String>) {
        let label = label.to_owned();
        self.found.faults.push(Fault { span, message, label, help });
    }

    fn body(&mut self, statements: &[Stmt<'a>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn scoped(&mut self, names: Vec<String>, statements: &[Stmt<'a>]) {
        self.scopes.push(names);
        self.body(statements);
        self.scopes.pop();
    }

    fn statement(&mut self, statement: &Stmt<'a>) {
        match statement {
            Stmt::Template(template) => self.body(&template.children),
            Stmt::EmitExpr(emit) => {
                if !self.secret(&emit.expr) {
                    self.expression(&emit.expr);
                }
            }
            Stmt::EmitRaw(_) => {}
            Stmt::ForLoop(each) => {
                self.expression(&each.iter);
                let mut names = targets(&each.target);
                names.push("loop".to_owned());
                self.scopes.push(names);
                if let Some(filter) = &each.filter_expr {
                    self.expression(filter);
                }
                self.body(&each.body);
                self.scopes.pop();
                self.body(&each.else_body);
            }
            Stmt::IfCond(condition) => {
                self.expression(&condition.expr);
                self.body(&condition.true_body);
                self.body(&condition.false_body);
            }
            Stmt::WithBlock(with) => {
                let mut names = Vec::new();
                for (target, value) in &with.assignments {
                    self.expression(value);
                    names.extend(targets(target));
                }
                self.scoped(names, &with.body);
            }
            Stmt::Set(set) => {
                self.expression(&set.expr);
                self.bind(&set.target);
            }
            Stmt::SetBlock(set) => {
                self.body(&set.body);
                if let Some(filter) = &set.filter {
                    self.expression(filter);
                }
                self.bind(&set.target);
            }
            Stmt::AutoEscape(escape) => self.body(&escape.body),
            Stmt::FilterBlock(block) => {
                self.expression(&block.filter);
                self.body(&block.body);
            }
            Stmt::Do(call) => {
                self.expression(&call.call.expr);
                self.arguments(&call.call.args);
            }
            Stmt::Macro(definition) => {
                let names = definition.args.iter().flat_map(targets).collect();
                if let Some(scope) = self.scopes.last_mut() {
                    scope.push(definition.name.to_owned());
                }
                self.scoped(names, &definition.body);
            }
            Stmt::Block(block) => self.alone(range(block.span())),
            Stmt::Import(import) => self.alone(range(import.span())),
            Stmt::FromImport(import) => self.alone(range(import.span())),
            Stmt::Extends(extends) => self.alone(range(extends.span())),
            Stmt::Include(include) => self.alone(range(include.span())),
            Stmt::CallBlock(call) => self.alone(range(call.span())),
        }
    }

    fn alone(&mut self, span: Range<usize>) {
        let help = "for SQL and long texts write `file:` and a path".to_owned();
        self.fault(
            span,
            "a template stands alone: it reads no other template".to_owned(),
            "here",
            Some(help),
        );
    }

    fn bind(&mut self, target: &Expr<'a>) {
        let names = targets(target);
        if let Some(scope) = self.scopes.last_mut() {
            scope.extend(names);
        }
    }

    fn expression(&mut self, expression: &Expr<'a>) {
        match expression {
            Expr::Const(_) => {}
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.path(expression),
            Expr::Slice(slice) => {
                self.expression(&slice.expr);
                for part in [&slice.start, &slice.stop, &slice.step].into_iter().flatten() {
                    self.expression(part);
                }
            }
            Expr::UnaryOp(operation) => self.expression(&operation.expr),
            Expr::BinOp(operation) => {
                self.expression(&operation.left);
                self.expression(&operation.right);
            }
            Expr::Compare(compare) => {
                self.expression(&compare.expr);
                compare.ops.iter().for_each(|op| self.expression(&op.expr));
            }
            Expr::IfExpr(choice) => {
                self.expression(&choice.test_expr);
                self.expression(&choice.true_expr);
                if let Some(other) = &choice.false_expr {
                    self.expression(other);
                }
            }
            Expr::Filter(filter) => {
                if let Some(value) = &filter.expr {
                    self.expression(value);
                }
                self.arguments(&filter.args);
                self.known(filter.name, range(filter.span()), "filter", &[&FILTERS, &MORE_FILTERS]);
            }
            Expr::Test(test) => {
                self.expression(&test.expr);
                self.arguments(&test.args);
                self.known(test.name, range(test.span()), "test", &[&TESTS, &MORE_TESTS]);
            }
            Expr::Call(call) => {
                self.callee(&call.expr);
                self.arguments(&call.args);
            }
            Expr::List(list) => list.items.iter().for_each(|item| self.expression(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.expression(item)),
            Expr::Map(map) => {
                map.keys.iter().chain(&map.values).for_each(|part| self.expression(part));
            }
        }
    }

    fn arguments(&mut self, arguments: &[CallArg<'a>]) {
        for argument in arguments {
            match argument {
                CallArg::Pos(value)
                | CallArg::Kwarg(_, value)
                | CallArg::PosSplat(value)
                | CallArg::KwargSplat(value) => {
                    self.expression(value);
                }
            }
        }
    }

    fn callee(&mut self, callee: &Expr<'a>) {
        match callee {
            Expr::Var(function) if self.bound(function.id) => {}
            Expr::Var(function) => self.known(function.id, range(function.span()), "function", &[&FUNCTIONS]),
            Expr::GetAttr(attribute) => {
                self.expression(&attribute.expr);
                let Expr::Var(root) = &attribute.expr else { return };
                if is_date(root.id) && !self.bound(root.id) && !dates::METHODS.contains(&attribute.name) {
                    let span = self.last(range(attribute.span()), attribute.name);
                    let message = format!("a date has no method `{}`", attribute.name);
                    let help = did_you_mean(attribute.name, dates::METHODS, "a date has");
                    self.fault(span, message, "no such method", help);
                }
            }
            other => self.expression(other),
        }
    }

    fn known(&mut self, name: &str, span: Range<usize>, kind: &str, lists: &[&[&'static str]]) {
        let all: Vec<&str> = lists.iter().flat_map(|list| list.iter().copied()).collect();
        if all.contains(&name) {
            return;
        }
        let span = self.find(&span, name);
        let help = did_you_mean(name, all, &format!("there are the {kind}s"));
        self.fault(span, format!("there is no {kind} `{name}`"), "unknown", help);
    }

    fn bound(&self, name: &str) -> bool {
        self.scopes.iter().flatten().any(|bound| bound == name)
    }

    /// `a.b["c"]`: the root and the names below it, each with its place.
    fn path(&mut self, expression: &Expr<'a>) {
        let mut steps: Vec<(String, Range<usize>)> = Vec::new();
        let mut current = expression;
        let mut literal = true;
        let root = loop {
            match current {
                Expr::GetAttr(attribute) => {
                    let span = self.last(range(attribute.span()), attribute.name);
                    steps.push((attribute.name.to_owned(), span));
                    current = &attribute.expr;
                }
                Expr::GetItem(item) => {
                    let key = item.subscript_expr.as_const();
                    if let Some(key) = key.as_ref().and_then(|key| key.as_str()) {
                        steps.push((key.to_owned(), range(item.subscript_expr.span())));
                    } else {
                        // `vars[name]`, `list[0]`: known only when it runs.
                        self.expression(&item.subscript_expr);
                        steps.clear();
                        literal = false;
                    }
                    current = &item.expr;
                }
                Expr::Var(root) => break root,
                other => return self.expression(other),
            }
        };
        steps.reverse();
        if self.bound(root.id) {
            return;
        }
        self.name(root.id, &range(root.span()), &steps, literal);
    }

    fn name(&mut self, root: &str, span: &Range<usize>, steps: &[(String, Range<usize>)], literal: bool) {
        if !self.names.place.knows(root) {
            return self.unknown(root, span.clone());
        }
        if self.names.shared && matches!(root, "params" | "tasks") {
            let message = format!("`{root}` belongs to one pipeline; this text is shared by all");
            return self.fault(span.clone(), message, "not known here", None);
        }
        let first = steps.first();
        match root {
            "params" => self.member(first, self.names.params, "param", "declare it under `params`"),
            "vars" => self.var(first),
            "run" if matches!(self.names.place, Place::Task | Place::Element) => {
                self.member(first, &TASK_RUN_FIELDS, "field of `run`", "");
            }
            "run" => self.member(first, &RUN_FIELDS, "field of `run`", ""),
            "trigger" => {
                let fields: Vec<&str> = TRIGGER_FIELDS.iter().chain(self.names.trigger).copied().collect();
                self.member(first, &fields, "field of `trigger`", "");
            }
            "error" => self.member(first, &ERROR_FIELDS, "field of `error`", ""),
            "links" => {
                let own = self.names.links.iter().map(String::as_str);
                let fields: Vec<&str> = LINK_FIELDS.into_iter().chain(own).collect();
                self.member(first, &fields, "field of `links`", "");
            }
            "tasks" => self.task(span, steps, literal),
            "secrets" => self.misused_secret(span),
            "data_interval_start" | "data_interval_end" if !self.names.data_interval => {
                let help = "set `data_interval` (e.g. day), or use `logical_date`".to_owned();
                let message = format!("`{root}` has no value: the pipeline has `data_interval: none`");
                self.fault(span.clone(), message, "no interval", Some(help));
            }
            "ds" | "ds_nodash" | "ts" => {
                if let Some((name, place)) = first {
                    let message = format!("`{root}` is text and has no `{name}`");
                    let help = "use `logical_date`, or a method such as .strftime(\"%Y\")".to_owned();
                    self.fault(place.clone(), message, "no such part", Some(help));
                }
            }
            _ if is_date(root) => self.member(first, &dates::PARTS, "part of a date", ""),
            _ => {}
        }
    }

    fn member(&mut self, step: Option<&(String, Range<usize>)>, known: &[&str], kind: &str, otherwise: &str) {
        let Some((name, span)) = step else { return };
        if known.contains(&name.as_str()) {
            return;
        }
        let listed = format!("there is: {}", if known.is_empty() { "none" } else { "" });
        let help = did_you_mean(name, known.iter().copied(), listed.trim_end_matches(": ").trim_end());
        let help = help.or_else(|| (!otherwise.is_empty()).then(|| otherwise.to_owned()));
        self.fault(span.clone(), format!("there is no {kind} `{name}`"), "unknown", help);
    }

    fn var(&mut self, step: Option<&(String, Range<usize>)>) {
        let Some((name, span)) = step else { return };
        let environments = self.names.environments;
        let lacking = || environments.iter().filter(|(_, vars)| !vars.contains(&name.as_str()));
        let everywhere = environments.len() > 1 && lacking().count() == environments.len();
        for (environment, vars) in lacking().take(if everywhere { 1 } else { usize::MAX }) {
            let help = nearest(name, vars.iter().copied()).map(|var| format!("did you mean `{var}`?"));
            let add = format!("add it under `environments.{environment}.vars` in trunkline.yaml");
            let message = if everywhere {
                format!("no environment has a var `{name}`")
            } else {
                format!("environment `{environment}` has no var `{name}`")
            };
            self.fault(span.clone(), message, "unknown", Some(help.unwrap_or(add)));
        }
    }

    /// `{{ secrets.name }}`, the one form in which a secret may stand; `false` for anything else.
    fn secret(&mut self, expression: &Expr<'a>) -> bool {
        let (base, name, span) = match expression {
            Expr::GetAttr(attribute) => (
                &attribute.expr,
                attribute.name.to_owned(),
                self.last(range(attribute.span()), attribute.name),
            ),
            Expr::GetItem(item) => {
                let key = item.subscript_expr.as_const();
                let Some(key) = key.as_ref().and_then(|key| key.as_str()) else { return false };
                (&item.expr, key.to_owned(), range(item.subscript_expr.span()))
            }
            _ => return false,
        };
        let Some(environments) = self.names.secrets else { return false };
        if !matches!(base, Expr::Var(root) if root.id == "secrets") || self.bound("secrets") {
            return false;
        }
        for (environment, secrets) in environments.iter().filter(|(_, all)| !all.contains(&name.as_str())) {
            let help =
                nearest(&name, secrets.iter().copied()).map(|secret| format!("did you mean `{secret}`?"));
            let add = format!("add it under `environments.{environment}.secrets` in trunkline.yaml");
            let message = format!("environment `{environment}` has no secret `{name}`");
            self.fault(span.clone(), message, "unknown", Some(help.unwrap_or(add)));
        }
        true
    }

    fn misused_secret(&mut self, span: &Range<usize>) {
        let (message, help) = match (self.names.secrets, self.names.place) {
            (Some(_), _) => (
                "a secret stands alone, as {{ secrets.<name> }}: its value is put in when the call is made",
                "write text before or behind it: Bearer {{ secrets.token }}",
            ),
            (None, Place::Task | Place::Element) => (
                "no secret may stand in this setting: the service, or Trunkline, would write it down",
                "docs/secrets.md lists the settings for secrets; or let the job read its secret itself",
            ),
            (None, _) => ("no secret may stand in a notice: mails are read by many", "leave it out"),
        };
        self.fault(span.clone(), message.to_owned(), "not here", Some(help.to_owned()));
    }

    fn task(&mut self, root: &Range<usize>, steps: &[(String, Range<usize>)], literal: bool) {
        let form = "write tasks.<task>.outputs.<name>".to_owned();
        let Some((task, span)) = steps.first() else {
            let message = "`tasks` needs the name of a task, written out".to_owned();
            return self.fault(root.clone(), message, "which task?", Some(form));
        };
        let output = steps.get(2).cloned();
        self.found.tasks.push(TaskReference { task: task.clone(), span: span.clone(), output });
        match steps.get(1) {
            Some((name, _)) if name == "outputs" => {}
            Some((name, place)) => {
                let message = format!("a task has `outputs`, not `{name}`");
                self.fault(place.clone(), message, "unknown", Some(form));
            }
            None if literal => self.fault(span.clone(), "a task is no value".to_owned(), "here", Some(form)),
            None => {}
        }
    }

    fn unknown(&mut self, name: &str, span: Range<usize>) {
        let foreign = FOREIGN.iter().find(|(theirs, _)| *theirs == name);
        if name == "secrets" {
            return self.misused_secret(&span);
        }
        let elsewhere = match name {
            "error" => Some("`error` is known only in `on_failure` and `on_retry`"),
            "links" => Some("`links` is known only in notices about runs"),
            "item" | "index" => {
                Some("`item` and `index` are known only in the settings of a task with `for_each`")
            }
            _ if NAMES.contains(&name) && self.names.place == Place::Version => {
                Some("only `vars` are known here: this is fixed with the version, before there is a run")
            }
            _ if NAMES.contains(&name) => Some(
                "only `trigger` and `vars` are known here: the params of a run are made before it is there",
            ),
            _ => None,
        };
        if let Some(message) = elsewhere {
            return self.fault(span, message.to_owned(), "not known here", None);
        }
        let help = foreign.map(|(_, ours)| format!("here it is `{ours}`"));
        let all: Vec<&str> = self.names.place.names().concat();
        let param = self.names.params.contains(&name).then(|| format!("did you mean `params.{name}`?"));
        let var = self.names.environments.iter().any(|(_, vars)| vars.contains(&name));
        let var = var.then(|| format!("did you mean `vars.{name}`?"));
        let help = help.or(param).or(var).or_else(|| did_you_mean(name, all, "templates know"));
        self.fault(span, format!("templates know no name `{name}`"), "unknown name", help);
    }

    /// The last `name` inside `span`: where an attribute is written.
    fn last(&self, span: Range<usize>, name: &str) -> Range<usize> {
        let piece = self.text.get(span.clone()).unwrap_or_default();
        match piece.rfind(name) {
            Some(found) => span.start + found..span.start + found + name.len(),
            None => span,
        }
    }

    fn find(&self, span: &Range<usize>, name: &str) -> Range<usize> {
        self.last(span.clone(), name)
    }
}

/// Names that an assignment binds.
fn targets(target: &Expr<'_>) -> Vec<String> {
    match target {
        Expr::Var(variable) => vec![variable.id.to_owned()],
        Expr::List(list) => list.items.iter().flat_map(targets).collect(),
        Expr::Tuple(tuple) => tuple.items.iter().flat_map(targets).collect(),
        _ => Vec::new(),
    }
}

fn is_date(name: &str) -> bool {
    matches!(name, "logical_date" | "data_interval_start" | "data_interval_end")
}

fn range(span: minijinja::machinery::Span) -> Range<usize> {
    span.start_offset as usize..span.end_offset as usize
}

#[cfg(test)]
mod tests;
