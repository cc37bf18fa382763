//! The graph as a picture without scripts or outside fonts: a file of its own, whose colours follow the
//! reader's light or dark mode, or a part of a page, whose colours are the page's and whose boxes are links.

use std::fmt::Write as _;

use trunkline_state::pipeline::{Pipeline, Task};

use super::{
    GraphError, Mark,
    layers::{Layout, Point},
    rule_word,
};

/// The distance between two rows, in pixels as all lengths here.
const ROW: f64 = 64.0;
/// A box's height.
const BOX_HEIGHT: f64 = 44.0;
/// The space between two columns, in which edges curve.
const COLUMN_GAP: f64 = 56.0;
/// The space around the picture.
const MARGIN: f64 = 20.0;
/// The width of a character of a name at 13 px, rounded up for wide fonts.
const CHARACTER: f64 = 8.0;
/// The space left and right of a name in its box.
const PADDING: f64 = 14.0;
/// Longer names are cut in the box and complete in the tooltip.
const NAME_SHOWN_MAX: usize = 32;
/// Boxes are at least so wide, so that a column looks even.
const BOX_WIDTH_MIN: f64 = 96.0;
/// In a page a box also has room for the longest word of a state.
const MARKED_WIDTH_MIN: f64 = 136.0;

const STYLE: &str = "\
svg { font-family: ui-sans-serif, system-ui, sans-serif; background: #ffffff; }
.box { fill: #f6f8fa; stroke: #8c959f; stroke-width: 1; }
.name { fill: #1f2328; font-size: 13px; font-weight: 600; }
.type { fill: #59636e; font-size: 11px; }
.edge { fill: none; stroke: #8c959f; stroke-width: 1.5; }
.head { fill: #8c959f; }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117; }
.box { fill: #161b22; stroke: #6e7681; }
.name { fill: #e6edf3; }
.type { fill: #9198a1; }
.edge { stroke: #6e7681; }
.head { fill: #6e7681; }
}
";

pub(super) fn render(pipeline: &Pipeline) -> Result<String, GraphError> {
    let layout = Layout::of(pipeline)?;
    let page = Page::new(pipeline, &layout, BOX_WIDTH_MIN);
    let mut text = String::new();
    let (width, height) = (page.width(), Page::height(&layout));
    let _ = writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">"
    );
    let _ = writeln!(text, "<title>{}</title>", escaped(pipeline.name.as_str()));
    let _ = write!(text, "<style>\n{STYLE}</style>\n");
    page.edges(&layout, &mut text);
    for point in &layout.points {
        if let Some(task) = point.task.and_then(|task| pipeline.tasks.get(task)) {
            let _ = writeln!(text, "<g>{}</g>", page.task_box(point, task, &kind(task)));
        }
    }
    text.push_str("</svg>\n");
    Ok(text)
}

/// The picture as a part of a page, which has the styles.
pub(super) fn part(pipeline: &Pipeline, mark: impl Fn(usize) -> Mark) -> Result<String, GraphError> {
    let layout = Layout::of(pipeline)?;
    let page = Page::new(pipeline, &layout, MARKED_WIDTH_MIN);
    let mut text = String::new();
    let (width, height) = (page.width(), Page::height(&layout));
    let _ = writeln!(
        text,
        "<svg class=\"graph\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         role=\"group\" aria-label=\"Graph of {}\">",
        escaped(pipeline.name.as_str())
    );
    page.edges(&layout, &mut text);
    for point in &layout.points {
        let Some((position, task)) = point.task.and_then(|at| Some((at, pipeline.tasks.get(at)?))) else {
            continue;
        };
        let mark = mark(position);
        let line = if mark.note.is_empty() { kind(task) } else { format!("{} {}", mark.sign, mark.note) };
        let _ = writeln!(
            text,
            "<a href=\"{}\" data-state=\"{}\">{}</a>",
            escaped(&mark.link),
            escaped(&mark.state),
            page.task_box(point, task, &line)
        );
    }
    text.push_str("</svg>\n");
    Ok(text)
}

/// Where columns begin and how wide they are.
struct Page {
    columns: Vec<(f64, f64)>,
}

impl Page {
    fn new(pipeline: &Pipeline, layout: &Layout, width_min: f64) -> Self {
        let mut widths = vec![width_min; layout.columns];
        for point in &layout.points {
            if let Some(task) = point.task.and_then(|task| pipeline.tasks.get(task)) {
                let longest = shown_name(task).chars().count().max(kind(task).chars().count());
                let characters = f64::from(u32::try_from(longest).unwrap_or(u32::MAX));
                widths[point.column] = widths[point.column].max(characters * CHARACTER + 2.0 * PADDING);
            }
        }
        let mut left = MARGIN;
        let columns = widths.into_iter().map(|width| {
            let column = (left, width);
            left += width + COLUMN_GAP;
            column
        });
        Self { columns: columns.collect() }
    }

    fn width(&self) -> f64 {
        self.columns.last().map_or(0.0, |(left, width)| left + width) + MARGIN
    }

    fn height(layout: &Layout) -> f64 {
        let lowest = layout.points.iter().map(|point| point.height).fold(0.0, f64::max);
        lowest * ROW + BOX_HEIGHT + 2.0 * MARGIN
    }

    fn middle(point: &Point) -> f64 {
        MARGIN + point.height * ROW + BOX_HEIGHT / 2.0
    }

    /// A curve through the points; it crosses the columns that it passes as a straight line.
    fn path(&self, points: &[&Point]) -> String {
        let mut path = String::new();
        for pair in points.windows(2) {
            let ((from_left, from_width), (to_left, _)) =
                (self.columns[pair[0].column], self.columns[pair[1].column]);
            let (x1, y1, x2, y2) =
                (from_left + from_width, Self::middle(pair[0]), to_left, Self::middle(pair[1]));
            let bend = f64::midpoint(x1, x2);
            let start = if path.is_empty() { "M" } else { " L" };
            let _ =
                write!(path, "{start}{x1:.1} {y1:.1} C{bend:.1} {y1:.1} {bend:.1} {y2:.1} {x2:.1} {y2:.1}");
        }
        path
    }

    fn edges(&self, layout: &Layout, text: &mut String) {
        text.push_str(
            "<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
             orient=\"auto\"><path class=\"head\" d=\"M0 0 L8 4 L0 8 z\"/></marker></defs>\n",
        );
        for edge in &layout.edges {
            let points: Vec<&Point> = edge.iter().map(|&index| &layout.points[index]).collect();
            let path = self.path(&points);
            let _ = writeln!(text, "<path class=\"edge\" marker-end=\"url(#head)\" d=\"{path}\"/>");
        }
    }

    /// A task's box with its name and a line below it.
    fn task_box(&self, point: &Point, task: &Task, line: &str) -> String {
        let (left, width) = self.columns[point.column];
        let middle = Self::middle(point);
        let (top, centre) = (middle - BOX_HEIGHT / 2.0, left + width / 2.0);
        format!(
            "<title>{title}</title>\
             <rect class=\"box\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BOX_HEIGHT:.1}\" rx=\"6\"/>\
             <text class=\"name\" text-anchor=\"middle\" x=\"{centre:.1}\" y=\"{name_y:.1}\">{name}</text>\
             <text class=\"type\" text-anchor=\"middle\" x=\"{centre:.1}\" y=\"{type_y:.1}\">{kind}</text>",
            title = escaped(task.name.as_str()),
            name = escaped(&shown_name(task)),
            kind = escaped(line),
            name_y = middle - 2.0,
            type_y = middle + 14.0,
        )
    }
}

fn shown_name(task: &Task) -> String {
    let name = task.name.as_str();
    if name.chars().count() <= NAME_SHOWN_MAX {
        return name.to_owned();
    }
    name.chars().take(NAME_SHOWN_MAX - 1).chain(['…']).collect()
}

/// The type, and the trigger rule where it is not the default.
fn kind(task: &Task) -> String {
    match rule_word(task) {
        Some(rule) => format!("{} · {rule}", task.operator),
        None => task.operator.clone(),
    }
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
