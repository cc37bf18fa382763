//! Files become local Parquet: each is brought once, a few ahead of those that read them.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use futures::StreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tokio::sync::mpsc::{self, Receiver};

use super::judge::{Law, Pending, Place};
use super::records::{Piece, Records};
use super::rejected::{Aside, Misfit};
use super::{Content, Input, InputFormat, Source, TransformError, with_place};
use crate::{parquet as files, write::write_parquet};

/// Files that are brought at the same time. One of a few hundred bytes takes S3 some 20 ms.
const FETCHES: usize = 32;
/// Threads that read records.
const READERS: usize = 4;
/// Records of one batch.
const BATCH_ROWS: usize = 8_192;
/// Text of one batch: records with large texts come in smaller batches.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// What is read of a large file at once.
const READ_BYTES: usize = 1024 * 1024;

/// One input on its way.
pub(super) struct Landing<'a> {
    pub(super) input: &'a Input,
    /// Which of the inputs.
    pub(super) at: usize,
    pub(super) schema: &'a SchemaRef,
    pub(super) folder: PathBuf,
    pub(super) aside: &'a Arc<Mutex<Aside>>,
}

/// One input that has landed.
pub(super) struct Whole {
    /// Records that fitted.
    pub(super) records: u64,
    /// Local files.
    pub(super) parts: Vec<PathBuf>,
}

type Fetched = (usize, Content);

impl Landing<'_> {
    pub(super) async fn run(&self, source: &Arc<dyn Source>) -> Result<Whole, TransformError> {
        std::fs::create_dir_all(&self.folder).map_err(TransformError::internal)?;
        let required = self.input.columns.iter().enumerate().filter(|(_, column)| column.required);
        let required = required.map(|(at, _)| at).collect();
        let law = Arc::new(Law::new(self.schema, required, self.input.files.clone()));
        let (tx, rx) = mpsc::channel::<Fetched>(FETCHES);
        let rx = Arc::new(Mutex::new(rx));
        let readers = (0..READERS.min(self.input.files.len())).map(|number| {
            let reader = Reader {
                input: self.input.name.clone(),
                format: self.input.format,
                law: Arc::clone(&law),
                aside: Arc::clone(self.aside),
                path: self.folder.join(format!("part-{number}.parquet")),
                part: None,
                records: 0,
            };
            let rx = Arc::clone(&rx);
            tokio::task::spawn_blocking(move || reader.run(&rx))
        });
        let readers: Vec<_> = readers.collect();
        // Only the readers hold it: when they are gone, sending fails.
        drop(rx);
        let mut fetched = futures::stream::iter(0..self.input.files.len())
            .map(|file| {
                let content = source.open(self.at, file);
                async move { (file, content.await) }
            })
            .buffer_unordered(FETCHES);
        let mut missing = None;
        while let Some((file, content)) = fetched.next().await {
            match content {
                Ok(content) => {
                    if tx.send((file, content)).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    missing = Some(TransformError::Source(error));
                    break;
                }
            }
        }
        drop(tx);
        let mut whole = Whole { records: 0, parts: Vec::new() };
        for reader in readers {
            let (records, part) = reader.await.map_err(TransformError::internal)??;
            whole.records += records;
            whole.parts.extend(part);
        }
        missing.map_or(Ok(whole), Err)
    }
}

/// The columns of an input's first file; of Parquet, whose files say what they hold.
pub(super) async fn schema_of_first(
    input: &Input,
    at: usize,
    source: &dyn Source,
) -> Result<SchemaRef, TransformError> {
    let wrong = |error| TransformError::Input { input: input.name.clone(), error };
    if input.files.is_empty() {
        let text = "there is no file to tell the columns: name them as `columns`".to_owned();
        return Err(wrong(crate::EngineError::Analysis(text)));
    }
    let content = source.open(at, 0).await.map_err(TransformError::Source)?;
    let schema = match content {
        Content::Memory(bytes) => files::schema(Bytes::from(bytes)),
        Content::Disk(file) => files::schema(file),
    };
    let schema = schema.map_err(|reason| TransformError::Record(format!("{}: {reason}", input.files[0])))?;
    let fields = schema.fields().iter();
    let fields = fields.map(|field| Field::new(field.name().to_lowercase(), field.data_type().clone(), true));
    with_place(fields.collect()).map_err(wrong)
}

/// One thread that reads files, and the local file that it writes.
struct Reader {
    input: String,
    format: InputFormat,
    law: Arc<Law>,
    aside: Arc<Mutex<Aside>>,
    path: PathBuf,
    part: Option<ArrowWriter<File>>,
    records: u64,
}

impl Reader {
    fn run(mut self, rx: &Mutex<Receiver<Fetched>>) -> Result<(u64, Option<PathBuf>), TransformError> {
        let mut pending = Pending::default();
        loop {
            let next = rx.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            let Some((file, content)) = next else { break };
            match self.format {
                InputFormat::Json => self.json(file, content, &mut pending)?,
                InputFormat::Csv { delimiter } => self.csv(file, content, delimiter)?,
                InputFormat::Parquet => self.parquet(file, content)?,
            }
        }
        self.flush(&mut pending)?;
        let Some(part) = self.part.take() else { return Ok((0, None)) };
        part.close().map_err(TransformError::internal)?;
        Ok((self.records, Some(self.path)))
    }

    /// The records of many small files become one batch.
    fn json(&mut self, file: usize, content: Content, pending: &mut Pending) -> Result<(), TransformError> {
        let mut reader = Chunks::new(content);
        let (mut records, mut number) = (Records::default(), 0);
        loop {
            let (chunk, end) = reader.next().map_err(|error| self.unreadable(file, &error))?;
            let mut bad = Ok(());
            records.push(&chunk, end, &mut |piece| {
                number += 1;
                let place = Place { file, record: number };
                match piece {
                    Piece::Record(text, record) => pending.push(place, text, record),
                    Piece::Bad(text, reason) if bad.is_ok() => bad = self.reject(place, &reason, text),
                    Piece::Bad(..) => {}
                }
            });
            bad?;
            if pending.len() >= BATCH_ROWS || pending.bytes() >= BATCH_BYTES {
                self.flush(pending)?;
            }
            if end {
                return Ok(());
            }
        }
    }

    fn flush(&mut self, pending: &mut Pending) -> Result<(), TransformError> {
        if pending.len() == 0 {
            return Ok(());
        }
        let law = Arc::clone(&self.law);
        let batch = law.records(pending, &mut |place, reason, text| self.reject(place, reason, text))?;
        *pending = Pending::default();
        self.write(&batch)
    }

    fn csv(&mut self, file: usize, content: Content, delimiter: u8) -> Result<(), TransformError> {
        let bytes: Box<dyn Read> = match content {
            Content::Memory(bytes) => Box::new(std::io::Cursor::new(bytes)),
            Content::Disk(file) => Box::new(BufReader::new(file)),
        };
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
        let names = reader.byte_headers().map_err(|error| self.unreadable(file, &error))?.clone();
        if names.is_empty() {
            return Ok(());
        }
        let law = Arc::clone(&self.law);
        let place_of = |name: &str| {
            names.iter().position(|own| String::from_utf8_lossy(own).trim().eq_ignore_ascii_case(name))
        };
        let places: Vec<Option<usize>> =
            law.declared().fields().iter().map(|field| place_of(field.name())).collect();
        let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); places.len()];
        let mut pending = Pending::default();
        let (mut row, mut number) = (csv::ByteRecord::new(), 0);
        loop {
            let more = reader.read_byte_record(&mut row).map_err(|error| self.unreadable(file, &error))?;
            if more {
                number += 1;
                let place = Place { file, record: number };
                let text = joined(&row, delimiter);
                if row.len() != names.len() {
                    let reason = format!("it has {} cells, and there are {} names", row.len(), names.len());
                    self.reject(place, &reason, text.as_bytes())?;
                    continue;
                }
                let cells: Result<Vec<&str>, _> = places
                    .iter()
                    .map(|at| std::str::from_utf8(at.and_then(|at| row.get(at)).unwrap_or_default()))
                    .collect();
                let Ok(cells) = cells else {
                    self.reject(place, "it is not UTF-8", text.as_bytes())?;
                    continue;
                };
                for (column, cell) in columns.iter_mut().zip(cells) {
                    column.push((!cell.is_empty()).then(|| cell.to_owned()));
                }
                pending.push_place(place, text.as_bytes());
            }
            if pending.len() >= BATCH_ROWS || pending.bytes() >= BATCH_BYTES || !more {
                let batch = law.cells(&columns, &mut pending, &mut |place, reason, text| {
                    self.reject(place, reason, text)
                })?;
                self.write(&batch)?;
                pending = Pending::default();
                columns.iter_mut().for_each(Vec::clear);
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn parquet(&mut self, file: usize, content: Content) -> Result<(), TransformError> {
        let law = Arc::clone(&self.law);
        let mut number = 0;
        let mut failed = Ok(());
        let mut send = |batch: RecordBatch| {
            let mut pending = Pending::default();
            for _ in 0..batch.num_rows() {
                number += 1;
                pending.push_place(Place { file, record: number }, b"");
            }
            let judged = law
                .with_required(&batch, &pending, &mut |place, reason, text| self.reject(place, reason, text));
            failed = judged.and_then(|batch| self.write(&batch));
            failed.is_ok()
        };
        let read = match content {
            Content::Memory(bytes) => {
                files::read_from(Bytes::from(bytes), law.declared(), BATCH_ROWS, &mut send)
            }
            Content::Disk(file) => files::read_from(file, law.declared(), BATCH_ROWS, &mut send),
        };
        failed?;
        match read {
            Ok(_) => Ok(()),
            Err(reason) => {
                let place = Place { file, record: if number == 0 { 0 } else { number + 1 } };
                self.reject(place, reason.trim_start_matches("HIVE_BAD_DATA: "), b"")
            }
        }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), TransformError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let part = if let Some(part) = &mut self.part {
            part
        } else {
            let file = File::create(&self.path).map_err(TransformError::internal)?;
            let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
            let schema = Arc::clone(&self.law.schema);
            let part = ArrowWriter::try_new(file, schema, Some(properties));
            self.part.insert(part.map_err(TransformError::internal)?)
        };
        self.records += batch.num_rows() as u64;
        write_parquet(part, batch).map_err(TransformError::internal)
    }

    fn reject(&self, place: Place, reason: &str, text: &[u8]) -> Result<(), TransformError> {
        let misfit = Misfit {
            input: &self.input,
            file: self.law.file(place.file),
            record: place.record,
            reason,
            text,
        };
        self.aside.lock().unwrap_or_else(PoisonError::into_inner).take(&misfit)
    }

    fn unreadable(&self, file: usize, error: &dyn std::fmt::Display) -> TransformError {
        TransformError::Internal(format!("{}: {error}", self.law.file(file)))
    }
}

/// A row as it may have been written.
fn joined(row: &csv::ByteRecord, delimiter: u8) -> String {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).flexible(true).from_writer(Vec::new());
    // Writing into memory cannot fail.
    let written = writer.write_byte_record(row).ok().and_then(|()| writer.into_inner().ok());
    String::from_utf8_lossy(&written.unwrap_or_default()).trim_end().to_owned()
}

/// The bytes of a file, a piece at a time.
enum Chunks {
    Memory(Option<Vec<u8>>),
    Disk(File),
}

impl Chunks {
    fn new(content: Content) -> Self {
        match content {
            Content::Memory(bytes) => Self::Memory(Some(bytes)),
            Content::Disk(file) => Self::Disk(file),
        }
    }

    /// Some bytes, and whether they are the last ones.
    fn next(&mut self) -> std::io::Result<(Vec<u8>, bool)> {
        match self {
            Self::Memory(bytes) => Ok((bytes.take().unwrap_or_default(), true)),
            Self::Disk(file) => {
                let mut chunk = Vec::with_capacity(READ_BYTES);
                let count = file.take(READ_BYTES as u64).read_to_end(&mut chunk)?;
                Ok((chunk, count < READ_BYTES))
            }
        }
    }
}
