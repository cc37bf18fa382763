//! Whether records fit the columns of their table; those that do become a batch.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, BooleanArray, Int64Array, StringArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::TransformError;
use crate::json::{Record, batch_of, named};

/// Where a record came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Which of the input's files.
    pub(super) file: usize,
    /// From 1 on.
    pub(super) record: u64,
}

/// Told of each record that does not fit: its place, the reason and its text.
pub(super) type Reject<'a> = dyn FnMut(Place, &str, &[u8]) -> Result<(), TransformError> + 'a;

/// What records are judged by.
#[derive(Debug)]
pub(super) struct Law {
    /// The table's columns, the last two say where a record came from.
    pub(super) schema: SchemaRef,
    /// Those of the records.
    declared: SchemaRef,
    /// Places of columns that must have a value.
    required: Vec<usize>,
    /// The input's files.
    files: Vec<String>,
}

impl Law {
    pub(super) fn new(schema: &SchemaRef, required: Vec<usize>, files: Vec<String>) -> Self {
        let own = schema.fields().len() - 2;
        let declared = Schema::new(schema.fields()[..own].to_vec());
        Self { schema: Arc::clone(schema), declared: Arc::new(declared), required, files }
    }

    /// The address of one of the input's files.
    pub(super) fn file(&self, at: usize) -> &str {
        &self.files[at]
    }

    /// The columns of the records.
    pub(super) fn declared(&self) -> &SchemaRef {
        &self.declared
    }

    /// JSON records with their texts and places; those that fit.
    pub(super) fn records(
        &self,
        pending: &mut Pending,
        reject: &mut Reject<'_>,
    ) -> Result<RecordBatch, TransformError> {
        let whole = batch_of(&pending.records, &self.declared, true);
        let batch = if let Ok(batch) = whole {
            batch
        } else {
            // Somewhere is one that does not fit: which is found by asking each.
            let mut fits = Vec::with_capacity(pending.records.len());
            for (at, record) in pending.records.iter().enumerate() {
                let judged = batch_of(std::slice::from_ref(record), &self.declared, true);
                if let Err(misfit) = &judged {
                    reject(pending.places[at], &plain(&misfit.0), pending.text(at))?;
                }
                fits.push(judged.is_ok());
            }
            pending.retain(&fits);
            batch_of(&pending.records, &self.declared, true).map_err(TransformError::internal)?
        };
        let batch = self.with_required(&batch, pending, reject)?;
        Ok(batch)
    }

    /// Columns of texts, as CSV has them.
    pub(super) fn cells(
        &self,
        columns: &[Vec<Option<String>>],
        pending: &mut Pending,
        reject: &mut Reject<'_>,
    ) -> Result<RecordBatch, TransformError> {
        let count = pending.places.len();
        let mut fits = vec![true; count];
        let mut arrays = Vec::with_capacity(columns.len());
        for (cells, field) in columns.iter().zip(self.declared.fields()) {
            let texts: ArrayRef = Arc::new(cells.iter().cloned().collect::<StringArray>());
            let array = typed(&texts, field.data_type())?;
            for at in 0..count {
                if fits[at] && array.is_null(at) && texts.is_valid(at) {
                    fits[at] = false;
                    let cell = cells[at].as_deref().unwrap_or_default();
                    let reason =
                        format!("column {}: {cell:?} is not {}", field.name(), named(field.data_type()));
                    reject(pending.places[at], &reason, pending.text(at))?;
                }
            }
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.declared), arrays, &options)
            .map_err(TransformError::internal)?;
        let batch = if fits.contains(&false) {
            let batch = filter_record_batch(&batch, &BooleanArray::from(fits.clone()));
            pending.retain(&fits);
            batch.map_err(TransformError::internal)?
        } else {
            batch
        };
        self.with_required(&batch, pending, reject)
    }

    /// Takes out records without a value that they must have, and adds where each came from.
    pub(super) fn with_required(
        &self,
        batch: &RecordBatch,
        pending: &Pending,
        reject: &mut Reject<'_>,
    ) -> Result<RecordBatch, TransformError> {
        let mut fits = vec![true; batch.num_rows()];
        for column in &self.required {
            let array = batch.column(*column);
            // An empty text is no name of anything either.
            let texts = array.as_any().downcast_ref::<StringArray>();
            let is_missing =
                |at: usize| array.is_null(at) || texts.is_some_and(|texts| texts.value(at).is_empty());
            for (at, fits) in fits.iter_mut().enumerate() {
                if *fits && is_missing(at) {
                    *fits = false;
                    let reason = format!("column {}: there is no value", self.declared.field(*column).name());
                    reject(pending.places[at], &reason, pending.text(at))?;
                }
            }
        }
        let files: StringArray =
            pending.places.iter().map(|place| Some(self.files[place.file].as_str())).collect();
        let numbers: Int64Array =
            pending.places.iter().map(|place| i64::try_from(place.record).ok()).collect();
        let mut arrays = batch.columns().to_vec();
        arrays.push(Arc::new(files));
        arrays.push(Arc::new(numbers));
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(TransformError::internal)?;
        if fits.contains(&false) {
            return filter_record_batch(&batch, &BooleanArray::from(fits)).map_err(TransformError::internal);
        }
        Ok(batch)
    }
}

/// Texts as values of a type; null where one does not fit.
fn typed(texts: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, TransformError> {
    if data_type == &DataType::Utf8 {
        return Ok(Arc::clone(texts));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    cast_with_options(texts, data_type, &options).map_err(TransformError::internal)
}

/// The reason without the word that Athena puts before it.
fn plain(reason: &str) -> String {
    reason.replace("HIVE_BAD_DATA: ", "")
}

/// Records that are not yet judged.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Only of JSON.
    records: Vec<Record>,
    places: Vec<Place>,
    /// The texts one after the other, and where each ends.
    texts: Vec<u8>,
    ends: Vec<usize>,
}

impl Pending {
    /// Adds a record of JSON.
    pub(super) fn push(&mut self, place: Place, text: &[u8], record: Record) {
        self.records.push(record);
        self.push_place(place, text);
    }

    /// Adds the place of a record whose values are elsewhere.
    pub(super) fn push_place(&mut self, place: Place, text: &[u8]) {
        self.places.push(place);
        self.texts.extend_from_slice(text);
        self.ends.push(self.texts.len());
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes of their texts.
    pub(super) fn bytes(&self) -> usize {
        self.texts.len()
    }

    fn text(&self, at: usize) -> &[u8] {
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.texts[from..self.ends[at]]
    }

    fn retain(&mut self, fits: &[bool]) {
        let mut kept = Self::default();
        let mut records = std::mem::take(&mut self.records).into_iter();
        for (at, fits) in fits.iter().enumerate() {
            let record = records.next();
            if *fits {
                kept.push_place(self.places[at], self.text(at));
                kept.records.extend(record);
            }
        }
        *self = kept;
    }
}
