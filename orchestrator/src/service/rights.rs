//! What somebody may do, and where: grades by folder of pipelines. A grade of a folder holds for everything in it,
//! and the highest one that holds for a pipeline counts.
//!
//! Pure. Who somebody is, and that a refusal is one, is told elsewhere.

use std::collections::BTreeMap;

use trunkline_state::folders::contains;

use super::token::Scope;

/// Folders of one account or token.
pub const FOLDERS_MAX: usize = 200;

/// What somebody may do, by folder; `""` is the pipelines folder itself, with everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights(BTreeMap<String, Scope>);

impl Rights {
    /// The same everywhere.
    pub fn everywhere(scope: Scope) -> Self {
        Self(BTreeMap::from([(String::new(), scope)]))
    }

    /// The same in some folders.
    pub fn in_folders(scope: Scope, folders: impl IntoIterator<Item = String>) -> Self {
        Self(folders.into_iter().map(|folder| (folder, scope)).collect())
    }

    /// What roles give; words of later programs give nothing.
    pub fn of_roles(roles: &BTreeMap<String, String>) -> Self {
        let known = |(folder, role): (&String, &String)| Some((folder.clone(), Scope::from_role(role)?));
        Self(roles.iter().filter_map(known).collect())
    }

    /// The most that may be done anywhere.
    pub fn most(&self) -> Option<Scope> {
        self.0.values().max().copied()
    }

    /// Whether so much may be done everywhere.
    pub fn hold_everywhere(&self, scope: Scope) -> bool {
        self.hold_in("", scope)
    }

    /// Whether so much may be done in a folder.
    pub fn hold_in(&self, folder: &str, scope: Scope) -> bool {
        self.0.iter().any(|(of, has)| *has >= scope && contains(of, folder))
    }

    /// Where so much may be done, as the store takes it: `None` is everywhere.
    pub fn folders(&self, scope: Scope) -> Option<Vec<String>> {
        if self.hold_everywhere(scope) {
            return None;
        }
        Some(self.0.iter().filter(|(_, has)| **has >= scope).map(|(folder, _)| folder.clone()).collect())
    }

    /// Folder by folder, for people.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Scope)> {
        self.0.iter().map(|(folder, scope)| (folder.as_str(), *scope))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_grade_holds_in_its_folder_and_below() {
        let rights = Rights(BTreeMap::from([
            ("finance".to_owned(), Scope::Operate),
            ("finance/daily".to_owned(), Scope::Deploy),
            ("sales".to_owned(), Scope::Read),
        ]));
        assert!(rights.hold_in("finance/eu", Scope::Operate) && !rights.hold_in("finance/eu", Scope::Deploy));
        assert!(
            rights.hold_in("finance/daily", Scope::Deploy)
                && rights.hold_in("finance/daily/x", Scope::Deploy)
        );
        assert!(rights.hold_in("sales", Scope::Read) && !rights.hold_in("sales", Scope::Operate));
        for other in ["", "finances", "financ", "other/finance", "Finance"] {
            assert!(!rights.hold_in(other, Scope::Read), "{other}");
        }
        assert_eq!(
            rights.folders(Scope::Operate),
            Some(vec!["finance".to_owned(), "finance/daily".to_owned()])
        );
        assert_eq!(rights.folders(Scope::Admin), Some(vec![]));
        assert_eq!(rights.most(), Some(Scope::Deploy));
        assert_eq!(Rights::everywhere(Scope::Read).folders(Scope::Read), None);
        assert_eq!(Rights::everywhere(Scope::Read).folders(Scope::Operate), Some(vec![]));
    }

    proptest! {
        /// What is listed for the store and what is said of one folder never differ.
        #[test]
        fn lists_and_answers_agree(
            grades in prop::collection::btree_map("(|a|b|a/b|a/b/c|ab)", 0_usize..4, 0..5),
            asked in "(|a|b|a/b|a/b/c|ab|a/bc|c)",
        ) {
            let rights = Rights(grades.into_iter().map(|(of, grade)| (of, Scope::ALL[grade])).collect());
            for scope in Scope::ALL {
                let listed = rights.folders(scope).is_none_or(|all| all.iter().any(|of| contains(of, &asked)));
                prop_assert_eq!(rights.hold_in(&asked, scope), listed);
            }
        }
    }
}
