//! The table that is printed, as Markdown.

use std::fmt;

/// Rows of measurement, budget and result.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
}

impl Table {
    /// Adds a row; `met` is `None` where there is no budget.
    pub fn add(&mut self, what: &str, measured: String, budget: &str, met: Option<bool>) {
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        };
        self.rows.push([what.to_owned(), measured, budget.to_owned(), verdict.to_owned()]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | measured | budget | |\n|---|---|---|---|")?;
        for [what, measured, budget, verdict] in &self.rows {
            writeln!(f, "| {what} | {measured} | {budget} | {verdict} |")?;
        }
        Ok(())
    }
}
