//! The journal of a series: one line of JSON for each trial that was completed. A series of
//! thousands takes hours; what was done before an interruption counts, and is not done again.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::Path,
};

use anyhow::Context as _;

use super::TrialReport;

/// Where trials are written down, if anywhere.
pub(crate) struct Journal {
    file: Option<File>,
}

impl Journal {
    /// Opens the journal, and answers what stands in it. A last line that was cut off when the
    /// rig was killed is no trial, and is taken away.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<(Self, Vec<TrialReport>)> {
        let Some(path) = path else { return Ok((Self { file: None }, Vec::new())) };
        let place = || format!("{} cannot be used as a journal", path.display());
        let file = OpenOptions::new().create(true).append(true).open(path).with_context(place)?;
        let text = fs::read_to_string(path).with_context(place)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let reports = text[..whole].lines().enumerate().map(|(index, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}:{}: not a trial", path.display(), index + 1))
        });
        let reports = reports.collect::<anyhow::Result<_>>()?;
        file.set_len(whole as u64).with_context(place)?;
        Ok((Self { file: Some(file) }, reports))
    }

    /// Writes a trial down.
    pub(crate) fn write(&mut self, report: &TrialReport) -> anyhow::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let line = serde_json::to_string(report)? + "\n";
        file.write_all(line.as_bytes()).context("the journal cannot be written")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fault::Fault;

    fn report(seed: u64) -> TrialReport {
        TrialReport {
            fault: Fault::F4,
            seed,
            replicas: 1,
            seconds: 1.5,
            runs: 1,
            attempts: 2,
            starts: 2,
            reattached: 1,
            repeated_notices: 0,
            operations: BTreeMap::new(),
            hits: Vec::new(),
            violations: Vec::new(),
        }
    }

    #[test]
    fn an_interrupted_series_goes_on_after_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let seeds = |path: &Path| {
            let told = Journal::open(Some(path)).unwrap().1;
            told.iter().map(|report| report.seed).collect::<Vec<_>>()
        };
        let (mut journal, told) = Journal::open(Some(&path)).unwrap();
        assert!(told.is_empty());
        journal.write(&report(1)).unwrap();
        journal.write(&report(2)).unwrap();
        drop(journal);
        let torn = fs::read_to_string(&path).unwrap() + "{\"fault\":\"F4\",\"se";
        fs::write(&path, torn).unwrap();
        assert_eq!(seeds(&path), [1, 2]);
        Journal::open(Some(&path)).unwrap().0.write(&report(3)).unwrap();
        assert_eq!(seeds(&path), [1, 2, 3]);
        fs::write(&path, "a letter\n").unwrap();
        let error = format!("{:#}", Journal::open(Some(&path)).err().unwrap());
        assert!(error.contains("journal:1: not a trial"), "{error}");
    }
}
