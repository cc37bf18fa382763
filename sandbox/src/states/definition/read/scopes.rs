//! Which scope assigns to which variable. A branch or a map's inside has a scope of its own: it reads the variables
//! around it, and the service refuses a definition in which it assigns to one of them.

use std::collections::BTreeSet;

use super::Reader;
use crate::states::definition::{Kind, Machine};
use crate::states::location::Location;

impl Reader {
    /// Tells every variable of an outer scope that an inner one assigns to.
    pub(super) fn scopes(&mut self, machine: &Machine) {
        self.scope(machine, &Location::whole(), &BTreeSet::new());
    }

    fn scope(&mut self, machine: &Machine, at: &Location, outer: &BTreeSet<String>) {
        let mut assigned = outer.clone();
        for (state, assign) in machine.assignments() {
            for (name, _) in &assign.variables {
                if outer.contains(name) {
                    let text = format!(
                        "the variable {name} is assigned in an outer scope too: variables of an outer scope can only be read"
                    );
                    self.wrong(at.state(state).member("Assign").member(name), text);
                }
                assigned.insert(name.clone());
            }
        }
        for (name, state) in &machine.states {
            let at = at.state(name);
            match &state.kind {
                Kind::Parallel { branches } => {
                    for (index, branch) in branches.iter().enumerate() {
                        self.scope(branch, &at.member("Branches").item(index), &assigned);
                    }
                }
                Kind::Map(map) => self.scope(&map.processor, &at.member("ItemProcessor"), &assigned),
                _ => {}
            }
        }
    }
}
