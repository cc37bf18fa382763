//! Whether this program reads and writes Parquet: what does comes with the query engine, under the feature `transform`.

use crate::operator::{ErrorClass, Failure};

/// Refuses it where the program was built without. `setting` is named in the complaint.
pub(crate) fn is_known(setting: &str) -> Result<(), Failure> {
    if cfg!(feature = "transform") {
        return Ok(());
    }
    let text = format!(
        "{setting}: this program was built without Parquet, which comes with the feature `transform`: use one that has it, or `json`"
    );
    Err(Failure::new(ErrorClass::Config, text))
}
