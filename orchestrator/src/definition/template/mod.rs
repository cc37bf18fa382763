//! Templates: how they are rendered when a run needs their values.
//!
//! Strict (an unknown name is an error), fuelled, bounded in output, without access to files,
//! the clock or the environment. What a template may say is checked when the file is loaded,
//! by [`check`]; what a date can do stands in [`dates`].

pub mod check;
pub mod dates;
mod depth;
mod table;
pub mod vocabulary;

use std::{
    collections::{BTreeSet, HashSet},
    io,
    sync::{Arc, LazyLock},
};

use indexmap::IndexMap;
use jiff::{Timestamp, Zoned, tz::TimeZone};
use minijinja::{
    Environment, Error, ErrorKind, UndefinedBehavior,
    syntax::SyntaxConfig,
    value::{Object, Serde, Value as Template},
};
use serde_json::{Map, Value};
use trunkline_state::{elements::ITEMS_BYTES_MAX, pipeline::Pipeline};
use trunkline_tasks::secrets::mark::{Mark, neutralise};

/// Instructions that one template may use: a loop over ten thousand partitions fits.
const FUEL: u64 = 200_000;
/// The longest text of one template; Athena takes no longer query.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// The name under which a sole expression keeps its value.
const SOLE: &str = "trunkline_value";

/// What templates may read. Everything but the dates is optional.
#[derive(Clone, Debug)]
pub struct RenderContext {
    /// Start of the data interval, or the fire time, in the pipeline's zone.
    pub logical_date: Zoned,
    /// The data interval in the pipeline's zone; `None` for `data_interval: none`.
    pub interval: Option<(Zoned, Zoned)>,
    /// The run's parameters.
    pub params: Map<String, Value>,
    /// The environment's vars.
    pub vars: Arc<IndexMap<String, Value>>,
    /// `run.…`: [`vocabulary::RUN_FIELDS`]; in tasks [`vocabulary::TASK_RUN_FIELDS`].
    pub run: Map<String, Value>,
    /// Outputs by task name.
    pub outputs: Map<String, Value>,
    /// Of an element of a mapped task: its place in the list, and what it stands for.
    pub item: Option<(u32, Value)>,
    /// What triggered the run.
    pub trigger: Value,
    /// `error.…` in notices about failures: [`vocabulary::ERROR_FIELDS`].
    pub error: Option<Value>,
    /// `links.…` in notices: [`vocabulary::LINK_FIELDS`].
    pub links: Option<Value>,
}

impl RenderContext {
    /// Without anything in the run's own values that could pass for the mark of a secret: only
    /// the pipeline's author says where one goes.
    fn without_marks(mut self) -> Self {
        for value in self.params.values_mut().chain(self.outputs.values_mut()).chain(self.run.values_mut()) {
            neutralise(value);
        }
        neutralise(&mut self.trigger);
        if let Some((_, item)) = &mut self.item {
            neutralise(item);
        }
        for value in self.error.iter_mut().chain(self.links.iter_mut()) {
            neutralise(value);
        }
        self
    }
}

/// Why a value could not be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("setting `{path}`: {message}")]
pub struct RenderError {
    /// Where in the settings, e.g. `arguments.--date`.
    pub path: String,
    /// What went wrong, in the template's terms.
    pub message: String,
}

impl RenderError {
    /// The path in the words of such an error, as they were stored with an attempt; also in what the registry says
    /// of a value that does not fit, which begins alike.
    pub fn path_in(words: &str) -> Option<&str> {
        let (path, _) = words.strip_prefix("setting `")?.split_once('`')?;
        Some(path)
    }
}

/// The templates of one pipeline, compiled once.
pub struct Templates {
    environment: Environment<'static>,
    /// The names of the tasks.
    tasks: HashSet<String>,
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let compiled = self.environment.templates().count();
        f.debug_struct("Templates").field("compiled", &compiled).finish_non_exhaustive()
    }
}

impl Templates {
    /// Compiles every template of the pipeline's tasks and notices. Texts that do not compile
    /// are left out and reported by [`Templates::render`]: a loaded pipeline has none.
    pub fn for_pipeline(pipeline: &Pipeline) -> Self {
        let mut texts = BTreeSet::new();
        for task in &pipeline.tasks {
            collect(&task.settings, &mut texts);
            texts.extend(task.when.iter().filter(|text| is_template(text)).cloned());
            if let Some(for_each) = &task.for_each {
                collect(&for_each.items, &mut texts);
            }
        }
        for notice in pipeline.all_notices() {
            texts.extend(notice.texts().filter(|text| is_template(text)).cloned());
        }
        let mut environment = environment();
        for text in texts {
            let source = compiled_form(&text);
            // A text that does not compile fails again, with its reason, when it is rendered.
            let _ = environment.add_template_owned(text, source);
        }
        let tasks = pipeline.tasks.iter().map(|task| task.name.to_string()).collect();
        Self { environment, tasks }
    }

    /// The tasks whose outputs these settings may read: every one that a template names. An output
    /// can be a long list, and is carried along only where it is wanted.
    pub fn tasks_named(&self, settings: &Value) -> HashSet<&str> {
        let mut named = HashSet::new();
        self.note_named(settings, &mut named);
        named
    }

    fn note_named<'a>(&'a self, settings: &Value, named: &mut HashSet<&'a str>) {
        match settings {
            Value::String(text) if is_template(text) && text.contains("tasks") => {
                let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                named.extend(words.filter_map(|word| self.tasks.get(word)).map(String::as_str));
            }
            Value::Array(items) => items.iter().for_each(|item| self.note_named(item, named)),
            Value::Object(entries) => entries.values().for_each(|entry| self.note_named(entry, named)),
            _ => {}
        }
    }

    /// Renders every template inside `settings`. A text that is one sole `{{ … }}` becomes
    /// the value itself, of whatever type; any other template becomes text.
    pub fn render(&self, settings: &Value, cx: &RenderContext) -> Result<Value, RenderError> {
        self.render_with(settings, || cx.clone())
    }

    /// The same with a context that is made only if a template asks for it: settings without
    /// templates cost a copy and no more.
    pub fn render_with(
        &self,
        settings: &Value,
        cx: impl FnOnce() -> RenderContext,
    ) -> Result<Value, RenderError> {
        self.render_within(settings, OUTPUT_BYTES_MAX, cx)
    }

    /// The list of a mapped task, which may be longer than any other value.
    pub fn render_list(
        &self,
        items: &Value,
        cx: impl FnOnce() -> RenderContext,
    ) -> Result<Value, RenderError> {
        self.render_within(items, ITEMS_BYTES_MAX, cx)
    }

    fn render_within(
        &self,
        settings: &Value,
        bytes_max: usize,
        cx: impl FnOnce() -> RenderContext,
    ) -> Result<Value, RenderError> {
        if !holds_template(settings) {
            return Ok(settings.clone());
        }
        let root = Template::from_object(Root(cx().without_marks()));
        Rendering { templates: self, root, bytes_max, path: Vec::new() }.value(settings)
    }

    /// Renders one text, for a subject or a message.
    pub fn render_text(&self, text: &str, cx: &RenderContext) -> Result<String, RenderError> {
        match self.render(&Value::from(text), cx)? {
            Value::String(text) => Ok(text),
            other => Ok(other.to_string()),
        }
    }
}

/// Renders a text that names nothing but vars, when its file is loaded.
pub fn render_vars(text: &str, vars: &IndexMap<String, Value>) -> Result<String, RenderError> {
    let templates = Templates { environment: environment(), tasks: HashSet::new() };
    let cx = RenderContext {
        logical_date: Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC),
        interval: None,
        params: Map::new(),
        vars: Arc::new(vars.clone()),
        run: Map::new(),
        outputs: Map::new(),
        item: None,
        trigger: Value::Null,
        error: None,
        links: None,
    };
    templates.render_text(text, &cx)
}

/// Settings on their way to their values.
struct Rendering<'a> {
    templates: &'a Templates,
    root: Template,
    /// The longest value.
    bytes_max: usize,
    /// Where in the settings.
    path: Vec<String>,
}

impl Rendering<'_> {
    fn value(&mut self, value: &Value) -> Result<Value, RenderError> {
        match value {
            Value::String(text) if is_template(text) => {
                self.text(text).map_err(|message| RenderError { path: self.path.join("."), message })
            }
            Value::Array(items) => {
                let mut rendered = Vec::with_capacity(items.len());
                for (position, item) in items.iter().enumerate() {
                    self.path.push(position.to_string());
                    rendered.push(self.value(item)?);
                    self.path.pop();
                }
                Ok(Value::Array(rendered))
            }
            Value::Object(entries) => {
                let mut rendered = Map::with_capacity(entries.len());
                for (key, entry) in entries {
                    self.path.push(key.clone());
                    rendered.insert(key.clone(), self.value(entry)?);
                    self.path.pop();
                }
                Ok(Value::Object(rendered))
            }
            other => Ok(other.clone()),
        }
    }

    fn text(&self, text: &str) -> Result<Value, String> {
        let source;
        let (environment, root) = (&self.templates.environment, &self.root);
        let template = if let Ok(template) = environment.get_template(text) {
            template
        } else {
            // Whatever was stored by an earlier program was not looked at for this.
            if let Some((_, message)) = depth::too_deep(text) {
                return Err(message);
            }
            source = compiled_form(text);
            environment.template_from_str(&source).map_err(|error| explain(&error, text))?
        };
        if sole_expression(text).is_some() {
            let captured = template.render_captured(root.clone()).map_err(|error| explain(&error, text))?;
            let value = captured.state().lookup(SOLE).unwrap_or_default();
            return native(&value, text, self.bytes_max);
        }
        let mut output = Bounded(Vec::new());
        template.render_captured_to(root.clone(), &mut output).map_err(|error| explain(&error, text))?;
        Ok(Value::from(String::from_utf8_lossy(&output.0).into_owned()))
    }
}

/// Whether a text has to be rendered.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// Whether any text inside has to be rendered.
pub fn holds_template(value: &Value) -> bool {
    match value {
        Value::String(text) => is_template(text),
        Value::Array(items) => items.iter().any(holds_template),
        Value::Object(entries) => entries.values().any(holds_template),
        _ => false,
    }
}

/// The expression of a text that is one sole `{{ … }}`.
pub fn sole_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner);
    if depth::expression_too_deep(inner) {
        return None;
    }
    // `{{ a }}-{{ b }}` begins and ends alike; an expression on its own parses.
    minijinja::machinery::parse_expr(inner).ok().map(|_| inner)
}

/// The environment in which templates are compiled and rendered.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(syntax());
    environment.add_filter("table", table::table);
    environment.set_unknown_method_callback(|_, value, method, args| match value.as_str() {
        Some(text) => dates::text_method(text, method, args),
        None => Err(Error::from(ErrorKind::UnknownMethod)),
    });
    for name in ["debug", "pprint"] {
        environment.remove_global(name);
        environment.remove_filter(name);
    }
    environment
}

/// Jinja's delimiters; unlike Jinja's default, the last line break of a text is kept. Made
/// once: it holds a compiled search for the delimiters.
fn syntax() -> SyntaxConfig {
    static SYNTAX: LazyLock<SyntaxConfig> =
        LazyLock::new(|| SyntaxConfig::builder().keep_trailing_newline(true).build().unwrap_or_default());
    SYNTAX.clone()
}

fn compiled_form(text: &str) -> String {
    match sole_expression(text) {
        Some(expression) => format!("{{% set {SOLE} = ({expression}) %}}"),
        None => text.to_owned(),
    }
}

fn collect(value: &Value, texts: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if is_template(text) => {
            texts.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(entries) => entries.values().for_each(|entry| collect(entry, texts)),
        _ => {}
    }
}

fn native(value: &Template, text: &str, bytes_max: usize) -> Result<Value, String> {
    if value.is_undefined() {
        return Err(format!("`{}` has no value", text.trim()));
    }
    let json = serde_json::to_value(value).map_err(|_| format!("`{}` is no plain value", text.trim()))?;
    let length = match &json {
        Value::String(text) => text.len(),
        Value::Array(_) | Value::Object(_) => json.to_string().len(),
        _ => 0,
    };
    if length > bytes_max {
        return Err(format!("the value has {length} bytes; at most {bytes_max} are kept"));
    }
    Ok(json)
}

/// The engine's error in one line, with the template that it belongs to.
fn explain(error: &Error, text: &str) -> String {
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(limit) = inner.downcast_ref::<io::Error>() {
            return limit.to_string();
        }
        source = inner.source();
    }
    let shown: String = text.trim().chars().take(80).collect();
    let detail = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
    match error.kind() {
        ErrorKind::OutOfFuel => format!("`{shown}` takes too many steps (at most {FUEL})"),
        ErrorKind::UndefinedError => format!("`{shown}` reads something that has no value: {detail}"),
        _ => format!("`{shown}`: {detail}"),
    }
}

/// A writer that refuses what is too long.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(io::Error::other(format!(
                "the rendered text is longer than {OUTPUT_BYTES_MAX} bytes"
            )));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The names that a template sees; each is made when it is read.
#[derive(Debug)]
struct Root(RenderContext);

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Template) -> Option<Template> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Template> {
        let cx = &self.0;
        let date = &cx.logical_date;
        Some(match key {
            "ds" => Template::from(date.date().to_string()),
            "ds_nodash" => Template::from(date.strftime("%Y%m%d").to_string()),
            "ts" => Template::from(dates::isoformat(date)),
            "logical_date" => dates::moment(date.clone()),
            "data_interval_start" => dates::moment(cx.interval.as_ref()?.0.clone()),
            "data_interval_end" => dates::moment(cx.interval.as_ref()?.1.clone()),
            "params" => Template::from(Serde(&cx.params)),
            "vars" => Template::from(Serde(&*cx.vars)),
            "run" => Template::from(Serde(&cx.run)),
            "tasks" => Template::from_object(Tasks(self.clone())),
            "item" => Template::from(Serde(&cx.item.as_ref()?.1)),
            "index" => Template::from(cx.item.as_ref()?.0),
            "trigger" => Template::from(Serde(&cx.trigger)),
            "secrets" => Template::from_object(Marks),
            "error" => Template::from(Serde(cx.error.as_ref()?)),
            "links" => Template::from(Serde(links(cx.links.as_ref()?))),
            _ => return None,
        })
    }
}

/// The links that a template may name: a console's page that the run does not have is empty text.
fn links(given: &Value) -> Value {
    let mut links = given.as_object().cloned().unwrap_or_default();
    links.entry("console").or_insert_with(|| Value::from(""));
    Value::Object(links)
}

/// `secrets.<name>`: the mark that stands for it until the call is made.
#[derive(Debug)]
struct Marks;

impl Object for Marks {
    fn get_value(self: &Arc<Self>, key: &Template) -> Option<Template> {
        Some(Template::from(Mark::of(key.as_str()?).to_string()))
    }
}

/// `tasks.<task>.outputs`.
#[derive(Debug)]
struct Tasks(Arc<Root>);

impl Object for Tasks {
    fn get_value(self: &Arc<Self>, key: &Template) -> Option<Template> {
        let outputs = self.0.0.outputs.get(key.as_str()?)?;
        Some(Template::from(Serde(serde_json::json!({ "outputs": outputs }))))
    }
}

#[cfg(test)]
mod tests;
