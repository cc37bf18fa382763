//! From folders to tables: which folders belong together, what they are called, what their partitions are.

use std::collections::BTreeMap;

use super::formats::{Finding, Format};
use trunkline_query::folders::parse_folder;

/// How alike the columns of two folders must be to belong to one table, as Glue has it.
const LIKENESS: f64 = 0.7;

/// A folder with data somewhere below it.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Folders in it, by name.
    pub children: BTreeMap<String, Folder>,
    /// Number of objects directly in it.
    pub objects: usize,
    /// What was found in those objects that were looked at.
    pub finding: Option<Finding>,
}

/// A table that was found.
#[derive(Debug)]
pub(super) struct FoundTable {
    /// Folder names from the crawled path to the table's folder.
    pub path: Vec<String>,
    /// What its objects are.
    pub finding: Finding,
    /// Names of its partition keys.
    pub keys: Vec<String>,
    /// The folder names below the table's folder, for each partition.
    pub partitions: Vec<Vec<String>>,
}

impl Folder {
    /// The folder at a path below this one, made if needed.
    pub(super) fn at(&mut self, path: &[&str]) -> &mut Self {
        path.iter().fold(self, |folder, name| folder.children.entry((*name).to_owned()).or_default())
    }

    /// Takes in what was found in one more object of this folder.
    pub(super) fn found(&mut self, finding: Finding) {
        match &mut self.finding {
            None => self.finding = Some(finding),
            Some(known) if alike(known, &finding) => known.absorb(finding),
            // A stray object of another kind does not change what the folder is.
            Some(_) => {}
        }
    }

    /// The tables in this folder.
    pub(super) fn tables(&self) -> Vec<FoundTable> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect(&self, path: &mut Vec<String>, found: &mut Vec<FoundTable>) {
        if let Some(finding) = self.as_one() {
            found.push(self.table(path.clone(), finding));
            return;
        }
        for (name, child) in &self.children {
            path.push(name.clone());
            child.collect(path, found);
            path.pop();
        }
    }

    /// What everything below this folder is, if it is all alike.
    fn as_one(&self) -> Option<Finding> {
        let mut all: Option<Finding> = self.finding.clone();
        for child in self.children.values() {
            if child.is_unknown() {
                continue;
            }
            let one = child.as_one()?;
            match &mut all {
                None => all = Some(one),
                Some(known) if alike(known, &one) => known.absorb(one),
                Some(_) => return None,
            }
        }
        all
    }

    fn is_unknown(&self) -> bool {
        self.finding.is_none() && self.children.values().all(Self::is_unknown)
    }

    fn table(&self, path: Vec<String>, finding: Finding) -> FoundTable {
        let mut leaves = Vec::new();
        self.leaves(&mut Vec::new(), &mut leaves);
        let mut depths: BTreeMap<usize, usize> = BTreeMap::new();
        for leaf in &leaves {
            *depths.entry(leaf.len()).or_default() += 1;
        }
        // Objects at an odd depth belong to no partition; the depth of most folders is the table's.
        let depth =
            depths.iter().max_by_key(|(depth, count)| (**count, **depth)).map_or(0, |(depth, _)| *depth);
        let partitions: Vec<Vec<String>> = if depth == 0 {
            Vec::new()
        } else {
            leaves.into_iter().filter(|leaf| leaf.len() == depth).collect()
        };
        let keys = (0..depth).map(|level| key_name(&partitions, level, &finding)).collect();
        FoundTable { path, finding, keys, partitions }
    }

    fn leaves(&self, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        if self.objects > 0 {
            found.push(path.clone());
        }
        for (name, child) in &self.children {
            path.push(name.clone());
            child.leaves(path, found);
            path.pop();
        }
    }
}

/// The name of the partition key of a level: Hive's if all its folders agree on one, else Glue's numbering.
fn key_name(partitions: &[Vec<String>], level: usize, finding: &Finding) -> String {
    let mut names = partitions.iter().map(|path| parse_folder(&path[level]).map(|(key, _)| clean(&key)));
    let first = names.next().flatten();
    match first {
        Some(name)
            if names.all(|other| other.as_ref() == Some(&name))
                && finding.names().all(|column| column != name) =>
        {
            name
        }
        Some(_) | None => format!("partition_{level}"),
    }
}

/// The value of a partition in a folder's name.
pub(super) fn partition_value(segment: &str, key: &str) -> String {
    match parse_folder(segment) {
        Some((name, value)) if clean(&name) == key || key.starts_with("partition_") => {
            value.unwrap_or_else(|| trunkline_query::folders::NULL_VALUE.to_owned())
        }
        _ => segment.to_owned(),
    }
}

/// A name as Glue makes it from a folder's: lower case, with `_` for everything but letters and digits.
pub(super) fn clean(name: &str) -> String {
    name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn alike(one: &Finding, other: &Finding) -> bool {
    let same_kind = match (one.format, other.format) {
        (Format::Csv { delimiter: a, .. }, Format::Csv { delimiter: b, .. }) => a == b,
        (a, b) => a == b,
    };
    if !same_kind {
        return false;
    }
    let common = one.names().filter(|name| other.names().any(|known| known == *name)).count();
    let larger = one.columns.len().max(other.columns.len());
    #[expect(clippy::cast_precision_loss, reason = "numbers of columns are small")]
    let share = common as f64 / larger as f64;
    share >= LIKENESS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Column;

    fn json(columns: &[&str]) -> Finding {
        let columns = columns.iter().map(|name| Column::new(*name, "string")).collect();
        Finding { format: Format::Json, shape: None, columns }
    }

    fn tree(objects: &[(&str, &[&str])]) -> Folder {
        let mut root = Folder::default();
        for (path, columns) in objects {
            let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
            let folder = root.at(&segments);
            folder.objects += 1;
            if !columns.is_empty() {
                folder.found(json(columns));
            }
        }
        root
    }

    fn shown(root: &Folder) -> String {
        let tables: Vec<_> = root
            .tables()
            .iter()
            .map(|table| {
                let partitions: Vec<_> = table.partitions.iter().map(|path| path.join("/")).collect();
                format!("{} by ({}): {}", table.path.join("/"), table.keys.join(", "), partitions.join(" "))
            })
            .collect();
        tables.join("\n")
    }

    #[test]
    fn plain_folders_are_numbered_partitions() {
        let cdrs = tree(&[
            ("json/vc1/2026/11/19", &["a", "b"]),
            ("json/vc2/2026/11/20", &["a", "b"]),
            ("json/vc2/2026/11/21", &[]),
        ]);
        assert_eq!(
            shown(&cdrs),
            " by (partition_0, partition_1, partition_2, partition_3, partition_4): \
             json/vc1/2026/11/19 json/vc2/2026/11/20 json/vc2/2026/11/21"
        );
    }

    #[test]
    fn hive_folders_name_their_partitions() {
        let hive = tree(&[("year=2026/month=11", &["a"]), ("year=2025/month=12", &["a"])]);
        assert_eq!(shown(&hive), " by (year, month): year=2025/month=12 year=2026/month=11");
        let mixed = tree(&[("Year=2026/x", &["a"]), ("Year=2025/y", &["a"])]);
        assert_eq!(shown(&mixed), " by (year, partition_1): Year=2025/y Year=2026/x");
        assert_eq!(partition_value("Year=2026", "year"), "2026");
        assert_eq!(partition_value("x", "partition_1"), "x");
    }

    #[test]
    fn unlike_folders_are_tables_of_their_own() {
        let sources =
            tree(&[("source_1", &["a", "b"]), ("source_2", &["x", "y"]), ("source_3/1", &["x", "z"])]);
        assert_eq!(shown(&sources), "source_1 by (): \nsource_2 by (): \nsource_3 by (partition_0): 1");
    }

    #[test]
    fn an_odd_object_does_not_spoil_a_table() {
        let odd = tree(&[("2026/01", &["a"]), ("2026/02", &["a"]), ("readme", &[]), ("", &["a"])]);
        assert_eq!(shown(&odd), " by (partition_0, partition_1): 2026/01 2026/02");
        assert_eq!(clean("Amazon-Chime-Voice-Connector-CDRs"), "amazon_chime_voice_connector_cdrs");
        assert!(tree(&[]).tables().is_empty());
    }
}
