//! What is wrong with a definition, as rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::definition::{Diagnostics, Severity};

/// So many rows are given: whoever has more repairs the first ones first.
const ROWS_MAX: usize = 1_000;

/// One thing that is wrong with a definition.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DiagnosticView {
    /// The file, as the commands call it; none where no file is to blame.
    pub file: Option<String>,
    /// Its line, from 1.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// How to repair it.
    pub help: Option<String>,
}

impl DiagnosticView {
    /// The rows of what was found, bounded.
    pub fn rows(found: &Diagnostics) -> Vec<Self> {
        let rows = found.rows().take(ROWS_MAX);
        rows.map(|row| Self {
            file: row.file.map(str::to_owned),
            line: row.line,
            column: row.column,
            severity: row.severity,
            message: row.message.to_owned(),
            help: row.help.map(str::to_owned),
        })
        .collect()
    }
}
