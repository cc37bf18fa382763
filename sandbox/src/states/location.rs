//! Where something stands in a definition, in the two forms in which the service tells it.

/// A place in a definition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Location {
    path: String,
    field: String,
}

impl Location {
    /// The whole definition.
    pub(super) fn whole() -> Self {
        Self { path: String::new(), field: String::new() }
    }

    /// A member of what stands here.
    pub(super) fn member(&self, name: &str) -> Self {
        let separator = if self.field.is_empty() { "" } else { "/" };
        Self { path: format!("{}/{name}", self.path), field: format!("{}{separator}{name}", self.field) }
    }

    /// An item of the list that stands here.
    pub(super) fn item(&self, index: usize) -> Self {
        Self { path: format!("{}/{index}", self.path), field: format!("{}[{index}]", self.field) }
    }

    /// A state of the machine that stands here.
    pub(super) fn state(&self, name: &str) -> Self {
        Self { path: format!("{}/States/{name}", self.path), field: String::new() }
    }

    /// From the beginning of the definition, as its problems are told: `/States/A/Choices/1/Condition`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// From its state on, as failed evaluations are told: `Choices[1]/Condition`.
    pub(super) fn field(&self) -> &str {
        &self.field
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.path
    }
}

impl From<&Location> for String {
    fn from(location: &Location) -> Self {
        location.path.clone()
    }
}
