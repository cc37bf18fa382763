//! Where tasks and edges lie in a picture: columns by the longest way from a source, edges
//! that pass columns bent around their tasks, order and height by what a task is connected to.

use trunkline_state::pipeline::Pipeline;

use super::GraphError;

/// More boxes than these cannot be read in one picture.
pub(super) const TASKS_MAX: usize = 1_000;

/// More bends than these make the file heavy and the picture a carpet.
pub(super) const BENDS_MAX: usize = 20_000;

/// Orders settle after a few sweeps; more change little.
const ORDER_SWEEPS: usize = 8;

/// Heights settle more slowly than orders.
const HEIGHT_SWEEPS: usize = 24;

/// A point of the layout: a task, or a bend of an edge.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// The task; `None` for a bend.
    pub(super) task: Option<usize>,
    /// The column, from 0.
    pub(super) column: usize,
    /// The height in rows, from 0.
    pub(super) height: f64,
    left: Vec<usize>,
    right: Vec<usize>,
}

/// A layout.
#[derive(Debug)]
pub(super) struct Layout {
    /// First the tasks in the pipeline's order, then the bends.
    pub(super) points: Vec<Point>,
    /// Each edge as the points that it passes, from upstream to downstream.
    pub(super) edges: Vec<Vec<usize>>,
    /// How many columns there are.
    pub(super) columns: usize,
}

impl Layout {
    pub(super) fn of(pipeline: &Pipeline) -> Result<Self, GraphError> {
        let mut layout = Self::columns_of(pipeline)?;
        let mut columns = vec![Vec::new(); layout.columns];
        for (index, point) in layout.points.iter().enumerate() {
            columns[point.column].push(index);
        }
        layout.order(&mut columns);
        layout.settle(&columns);
        Ok(layout)
    }

    /// Gives each task its column, and each edge a bend in every column that it passes.
    fn columns_of(pipeline: &Pipeline) -> Result<Self, GraphError> {
        let mut column = vec![0_usize; pipeline.tasks.len()];
        for (position, task) in pipeline.tasks.iter().enumerate() {
            column[position] =
                task.depends_on.iter().map(|&upstream| column[upstream] + 1).max().unwrap_or(0);
        }
        let passed = |upstream: usize, position: usize| column[position].saturating_sub(column[upstream] + 1);
        let all = pipeline.tasks.iter().enumerate();
        let bends = all
            .flat_map(|(position, task)| task.depends_on.iter().map(move |&up| passed(up, position)))
            .sum();
        if pipeline.tasks.len() > TASKS_MAX || bends > BENDS_MAX {
            return Err(GraphError::TooLarge { tasks: pipeline.tasks.len(), bends });
        }
        let point = |task, column| Point { task, column, height: 0.0, left: Vec::new(), right: Vec::new() };
        let mut points: Vec<Point> =
            column.iter().enumerate().map(|(task, column)| point(Some(task), *column)).collect();
        let mut edges = Vec::new();
        for (position, task) in pipeline.tasks.iter().enumerate() {
            for &upstream in &task.depends_on {
                let mut way = vec![upstream];
                for between in column[upstream] + 1..column[position] {
                    way.push(points.len());
                    points.push(point(None, between));
                }
                way.push(position);
                for pair in way.windows(2) {
                    points[pair[0]].right.push(pair[1]);
                    points[pair[1]].left.push(pair[0]);
                }
                edges.push(way);
            }
        }
        let columns = column.iter().max().map_or(0, |last| last + 1);
        Ok(Self { points, edges, columns })
    }

    /// Orders each column by the average place of what its points are connected to.
    fn order(&self, columns: &mut [Vec<usize>]) {
        let mut place = vec![0.0; self.points.len()];
        let number = |place: &mut Vec<f64>, column: &[usize]| {
            for (row, &index) in column.iter().enumerate() {
                place[index] = as_height(row);
            }
        };
        for column in columns.iter() {
            number(&mut place, column);
        }
        for sweep in 0..ORDER_SWEEPS {
            let rightwards = sweep % 2 == 0;
            for step in 0..columns.len() {
                let at = if rightwards { step } else { columns.len() - 1 - step };
                let key = |index: &usize| {
                    let point = &self.points[*index];
                    mean(if rightwards { &point.left } else { &point.right }, &place).unwrap_or(place[*index])
                };
                let mut ordered = columns[at].clone();
                ordered.sort_by(|one, other| key(one).total_cmp(&key(other)));
                number(&mut place, &ordered);
                columns[at] = ordered;
            }
        }
    }

    /// Moves each column's points towards what they are connected to, one row apart at least.
    fn settle(&mut self, columns: &[Vec<usize>]) {
        let mut height = vec![0.0; self.points.len()];
        for column in columns {
            for (row, &index) in column.iter().enumerate() {
                height[index] = as_height(row);
            }
        }
        for sweep in 0..HEIGHT_SWEEPS {
            for step in 0..columns.len() {
                let column = &columns[if sweep % 2 == 0 { step } else { columns.len() - 1 - step }];
                let wanted: Vec<f64> = column
                    .iter()
                    .map(|&index| {
                        let point = &self.points[index];
                        let sides = [mean(&point.left, &height), mean(&point.right, &height)];
                        let (sum, count) =
                            sides.iter().flatten().fold((0.0, 0.0), |(s, n), side| (s + side, n + 1.0));
                        if count > 0.0 { sum / count } else { height[index] }
                    })
                    .collect();
                for (&index, settled) in column.iter().zip(one_apart(&wanted)) {
                    height[index] = settled;
                }
            }
        }
        let lowest = height.iter().copied().fold(f64::INFINITY, f64::min);
        for (point, height) in self.points.iter_mut().zip(height) {
            point.height = height - lowest;
        }
    }
}

/// Heights near the wanted ones, in the same order, at least 1 apart: halfway between pushing
/// everything down and pushing everything up.
fn one_apart(wanted: &[f64]) -> Vec<f64> {
    let mut down = wanted.to_vec();
    for index in 1..down.len() {
        down[index] = down[index].max(down[index - 1] + 1.0);
    }
    let mut up = wanted.to_vec();
    for index in (1..up.len()).rev() {
        up[index - 1] = up[index - 1].min(up[index] - 1.0);
    }
    down.into_iter().zip(up).map(|(down, up)| f64::midpoint(down, up)).collect()
}

fn mean(indices: &[usize], values: &[f64]) -> Option<f64> {
    let sum: f64 = indices.iter().map(|&index| values[index]).sum();
    (!indices.is_empty()).then(|| sum / as_height(indices.len()))
}

/// Rows are counted far below 2³².
fn as_height(row: usize) -> f64 {
    f64::from(u32::try_from(row).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::{line, web};

    #[test]
    fn a_line_is_straight() {
        let layout = Layout::of(&line()).unwrap();
        assert_eq!(layout.columns, 3);
        assert!(layout.points.iter().all(|point| point.height.abs() < 0.01), "{:?}", layout.points);
    }

    #[test]
    fn nothing_overlaps_and_edges_lead_rightwards() {
        let layout = Layout::of(&web()).unwrap();
        for (index, point) in layout.points.iter().enumerate() {
            for other in &layout.points[index + 1..] {
                let apart = (point.height - other.height).abs();
                assert!(point.column != other.column || apart > 0.99, "{point:?} {other:?}");
            }
        }
        for edge in &layout.edges {
            let columns: Vec<usize> = edge.iter().map(|&index| layout.points[index].column).collect();
            assert!(columns.windows(2).all(|pair| pair[1] == pair[0] + 1), "{columns:?}");
        }
    }
}
