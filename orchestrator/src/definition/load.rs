//! Pipeline files from the disk: found, read, checked together.
//!
//! A mistake in one file never hides another file: every file is read to its end.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    fs,
    io::{self, Read as _},
    ops::Range,
    path::{Path, PathBuf},
};

use trunkline_state::{folders, pipeline::Pipeline};

use super::{
    calls::{self, Caller},
    diagnostic::{Diagnostic, Diagnostics, SourceId},
    lower::{Lowered, Place, Scope, lower},
    operators::Operators,
    sent::SentFiles,
    tree::{self, Node},
};

/// The name of a pipeline's file in its folder.
pub const PIPELINE_FILE: &str = "pipeline.yaml";
/// The other ending that people use.
const PIPELINE_FILE_SHORT: &str = "pipeline.yml";
/// How deep below the pipelines folder a pipeline may lie: groups of groups.
pub(super) const FOLDER_DEPTH_MAX: usize = 4;
/// The most pipeline files of a project.
pub(super) const FILES_MAX: usize = 5_000;

/// A pipeline and where it came from.
#[derive(Clone, Debug)]
pub struct LoadedPipeline {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Its folder, with `aws.yaml`, `sql/` and the rest.
    pub folder: PathBuf,
    /// That folder below the pipelines folder, with `/` between its parts: rights are given by it.
    pub below: String,
    /// Its file.
    pub file: PathBuf,
    /// Its file among [`Diagnostics::sources`].
    pub source: SourceId,
}

/// What a set of files gave.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The pipelines without errors, by name.
    pub pipelines: Vec<LoadedPipeline>,
    /// Everything that is wrong, in order.
    pub diagnostics: Diagnostics,
    /// Which pipelines run or wait for which.
    callers: Vec<Caller>,
}

impl Loaded {
    /// The same, with each pipeline's folder as it lies below the pipelines folder.
    #[must_use]
    pub fn below(mut self, pipelines: &Path) -> Self {
        for loaded in &mut self.pipelines {
            let inside = loaded.folder.strip_prefix(pipelines).unwrap_or(Path::new(""));
            let parts: Vec<_> = inside.iter().map(OsStr::to_string_lossy).collect();
            loaded.below = parts.join("/");
        }
        self.check_connections();
        self
    }

    /// A connection of some folders is for their pipelines only: whoever may deploy elsewhere must not reach
    /// its account.
    fn check_connections(&mut self) {
        for loaded in &self.pipelines {
            for (name, config) in &loaded.pipeline.connections {
                let Some(folders) = folders::closed_to(config, &loaded.below) else { continue };
                let message = format!(
                    "`{}` lies in `{}`, and the connection `{name}` is for {} only",
                    loaded.pipeline.name,
                    loaded.below,
                    folders.join(", ")
                );
                let help =
                    "use another connection, or add the folder to those of the connection in trunkline.yaml";
                self.diagnostics.items.push(Diagnostic::error(loaded.source, 0..0, message).help(help));
            }
        }
        self.diagnostics.sort();
    }

    /// The pipeline of this name.
    pub fn get(&self, name: &str) -> Option<&LoadedPipeline> {
        self.pipelines.iter().find(|loaded| loaded.pipeline.name.as_str() == name)
    }

    /// The pipelines that runs of these can lead to, these not among them: what tasks run, what
    /// those run, and so on. In the order in which they are met.
    pub fn run_by<'a>(&'a self, name: &'a str) -> Vec<&'a LoadedPipeline> {
        let mut met = vec![name];
        let mut next = 0;
        while let Some(current) = met.get(next).copied() {
            next += 1;
            let caller = self.callers.iter().find(|caller| caller.name == current);
            for other in caller.into_iter().flat_map(Caller::runs) {
                if !met.contains(&other) {
                    met.push(other);
                }
            }
        }
        met.into_iter().skip(1).filter_map(|name| self.get(name)).collect()
    }
}

/// Reads pipeline files. `root` is what their names are shown relative to.
pub fn load_files(files: &[PathBuf], root: &Path, scope: &Scope, operators: &Operators<'_>) -> Loaded {
    load_from(None, files, root, scope, operators)
}

/// The same for a whole pipelines folder that a client sent.
pub fn load_sent(
    sent: &SentFiles,
    others: &BTreeSet<String>,
    root: &Path,
    scope: &Scope,
    operators: &Operators<'_>,
) -> io::Result<Loaded> {
    Ok(named(load_from(Some(sent), &sent.find()?, root, scope, operators), others))
}

fn load_from(
    sent: Option<&SentFiles>,
    files: &[PathBuf],
    root: &Path,
    scope: &Scope,
    operators: &Operators<'_>,
) -> Loaded {
    let mut loaded = Loaded::default();
    let mut names: HashMap<String, (SourceId, Range<usize>)> = HashMap::new();
    for file in files {
        let before = loaded.diagnostics.items.len();
        let read = match sent {
            // What was sent is never looked for on this disk.
            Some(sent) => {
                let text = sent.text(file).unwrap_or_default();
                parse_text(&shown(file, root), file, text.as_bytes(), &mut loaded.diagnostics)
            }
            None => read_tree(file, root, &mut loaded.diagnostics),
        };
        let Some((source, node)) = read else { continue };
        let folder = file.parent().unwrap_or(root);
        let folder_name = shown(folder, root);
        let place = Place { source, folder: Some(folder), folder_name: &folder_name, sent };
        let lowered = lower_once(&node, place, scope, operators, (&mut loaded.diagnostics, before));
        let Some(Lowered { pipeline, name_span, links }) = lowered else { continue };
        let name = pipeline.name.to_string();
        if let Some((first, span)) = names.get(&name) {
            let message = format!("there are two pipelines named `{name}`");
            let diagnostic = Diagnostic::error(source, name_span, message)
                .label("second one")
                .help("give one of them another name")
                .related(*first, span.clone(), "first one");
            loaded.diagnostics.items.push(diagnostic);
            continue;
        }
        let group = pipeline.concurrency_group.clone();
        loaded.callers.push(Caller { name: name.clone(), source, group, links });
        names.insert(name, (source, name_span));
        let (folder, file) = (folder.to_owned(), file.clone());
        loaded.pipelines.push(LoadedPipeline { pipeline, folder, below: String::new(), file, source });
    }
    loaded.pipelines.sort_by(|one, other| one.pipeline.name.cmp(&other.pipeline.name));
    loaded.diagnostics.items.extend(calls::check(&loaded.callers));
    loaded.diagnostics.sort();
    loaded
}

/// The same for all files of a project: what names another pipeline must then name one of them.
pub fn load_all(files: &[PathBuf], root: &Path, scope: &Scope, operators: &Operators<'_>) -> Loaded {
    named(load_files(files, root, scope, operators), &BTreeSet::new())
}

/// Blames names of pipelines that are neither among all that were read nor among the others that there are.
fn named(mut loaded: Loaded, others: &BTreeSet<String>) -> Loaded {
    if !loaded.diagnostics.has_errors() {
        loaded.diagnostics.items.extend(calls::check_names(&loaded.callers, others));
        loaded.diagnostics.sort();
    }
    loaded
}

/// Reads a pipeline from text that was never a file: tests, an editor's buffer.
pub fn load_text(name: &str, text: &[u8], scope: &Scope, operators: &Operators<'_>) -> Loaded {
    let mut loaded = Loaded::default();
    if let Some((source, node)) = parse_text(name, Path::new(name), text, &mut loaded.diagnostics) {
        let place = Place { source, folder: None, folder_name: "", sent: None };
        let lowered = lower_once(&node, place, scope, operators, (&mut loaded.diagnostics, 0));
        if let Some(lowered) = lowered {
            let (folder, file) = (PathBuf::new(), PathBuf::from(name));
            loaded.pipelines.push(LoadedPipeline {
                pipeline: lowered.pipeline,
                folder,
                below: String::new(),
                file,
                source,
            });
        }
    }
    loaded.diagnostics.sort();
    loaded
}

/// Lowers a tree whose YAML may have mistakes of its own (those from `before` on): a value that
/// the YAML spoilt is not blamed a second time, and no pipeline comes out.
fn lower_once(
    node: &Node,
    place: Place<'_>,
    scope: &Scope,
    operators: &Operators<'_>,
    (out, before): (&mut Diagnostics, usize),
) -> Option<Lowered> {
    let own: Vec<Range<usize>> =
        out.items[before..].iter().filter_map(|item| Some(item.place.as_ref()?.1.clone())).collect();
    let from = out.items.len();
    let lowered = lower(node, place, scope, operators, out);
    if own.is_empty() {
        return lowered;
    }
    let meant = out.items.split_off(from).into_iter().filter(|item| {
        let Some((source, span)) = &item.place else { return true };
        *source != place.source
            || !own.iter().any(|spoilt| spoilt.start < span.end && span.start < spoilt.end)
    });
    out.items.extend(meant);
    None
}

/// The pipeline files below a folder, in the order of their names. Links are not followed.
pub fn find_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((next, depth)) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let name = entry.file_name();
            if kind.is_file() && is_pipeline_file(&name) {
                files.push(entry.path());
            } else if kind.is_dir() && depth < FOLDER_DEPTH_MAX && !name.to_string_lossy().starts_with('.') {
                folders.push((entry.path(), depth + 1));
            }
            if files.len() > FILES_MAX {
                return Err(io::Error::other(format!("there are more than {FILES_MAX} pipeline files")));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file of this name is a pipeline.
pub(super) fn is_pipeline_file(name: &OsStr) -> bool {
    name == PIPELINE_FILE || name == PIPELINE_FILE_SHORT
}

/// Reads a YAML file into its tree; what is wrong goes to `out`.
pub fn read_tree(file: &Path, root: &Path, out: &mut Diagnostics) -> Option<(SourceId, Node)> {
    let name = shown(file, root);
    let bytes = match read_bounded(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            let reason = match error.kind() {
                io::ErrorKind::NotFound => "it does not exist".to_owned(),
                io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
                io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
                _ => error.to_string(),
            };
            out.items.push(Diagnostic::general(format!("{name} cannot be read: {reason}")));
            return None;
        }
    };
    parse_text(&name, file, &bytes, out)
}

/// Reads YAML into its tree; what is wrong goes to `out`.
pub fn parse_text(name: &str, path: &Path, bytes: &[u8], out: &mut Diagnostics) -> Option<(SourceId, Node)> {
    let source = out.sources.add(name, path, String::from_utf8_lossy(bytes).as_ref());
    parse_into(bytes, source, out).map(|node| (source, node))
}

/// One byte more than is allowed, so that the reader can tell.
pub(super) fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(tree::FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    fs::File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse_into(bytes: &[u8], source: SourceId, out: &mut Diagnostics) -> Option<Node> {
    let parsed = tree::parse(bytes);
    if parsed.root.is_none() && parsed.problems.is_empty() {
        let help = "begin with name: my_pipeline";
        out.items.push(Diagnostic::error(source, 0..0, "the file is empty").label("nothing here").help(help));
    }
    for problem in parsed.problems {
        let mut diagnostic = Diagnostic::error(source, problem.span, problem.message)
            .label(problem.label)
            .help_maybe(problem.help);
        if let Some((span, label)) = problem.related {
            diagnostic = diagnostic.related(source, span, label);
        }
        out.items.push(diagnostic);
    }
    parsed.root
}

/// A path as people know it: relative to the root where it lies inside.
pub fn shown(path: &Path, root: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path);
    let text = relative.to_string_lossy();
    if text.is_empty() { ".".to_owned() } else { text.into_owned() }
}
