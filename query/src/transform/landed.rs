//! What landed, as a table: local Parquet files, one stream each.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};

use crate::parquet;

/// Rows of one batch; DataFusion's own default.
const BATCH_ROWS: usize = 8_192;
/// Batches that wait between a reader and the query.
const BATCHES_AHEAD: usize = 2;

/// The table.
#[derive(Debug)]
pub(super) struct Landed {
    schema: SchemaRef,
    parts: Vec<PathBuf>,
}

impl Landed {
    /// A table of these files; of none it has no rows.
    pub(super) fn new(schema: SchemaRef, parts: Vec<PathBuf>) -> Self {
        Self { schema, parts }
    }
}

#[async_trait]
impl TableProvider for Landed {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(chosen) => Arc::new(self.schema.project(chosen)?),
            None => Arc::clone(&self.schema),
        };
        let part = |path: Option<PathBuf>| -> Arc<dyn PartitionStream> {
            Arc::new(Part { path, schema: Arc::clone(&schema) })
        };
        let mut streams: Vec<_> = self.parts.iter().map(|path| part(Some(path.clone()))).collect();
        if streams.is_empty() {
            streams.push(part(None));
        }
        Ok(Arc::new(StreamingTableExec::try_new(Arc::clone(&schema), streams, None, [], false, None)?))
    }
}

#[derive(Debug)]
struct Part {
    path: Option<PathBuf>,
    schema: SchemaRef,
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), BATCHES_AHEAD);
        if let Some(path) = self.path.clone() {
            let (schema, tx) = (Arc::clone(&self.schema), builder.tx());
            builder.spawn_blocking(move || {
                // A closed channel means that the query needs no more rows.
                let send = |batch| tx.blocking_send(Ok(batch)).is_ok();
                parquet::read(&path, &schema, BATCH_ROWS, send).map(drop).map_err(DataFusionError::Execution)
            });
        }
        builder.build()
    }
}
