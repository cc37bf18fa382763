//! What a command prints, kept in pieces: the beginning and the end, never all of a flood.
//!
//! Positions are counted in bytes from the very first one, so they stay true when a middle
//! piece is thrown away.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use crate::operator::LogChunk;

/// Bytes of one piece.
const PIECE: u64 = 1024 * 1024;

/// Pieces kept from the beginning. With the last ones: 10 MiB for an attempt.
const HEAD_PIECES: u64 = 8;

/// Pieces kept from the end.
const TAIL_PIECES: u64 = 2;

/// The most that one read gives: a chunk travels through the store and to a browser.
const CHUNK: u64 = 256 * 1024;

/// Writes the output of one command.
pub(super) struct Writer {
    folder: PathBuf,
    position: u64,
    piece: Option<(u64, File)>,
}

impl Writer {
    pub(super) fn new(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, position: 0, piece: None })
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let number = self.position / PIECE;
            let room = PIECE - self.position % PIECE;
            let count = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let (now, later) = bytes.split_at(count);
            self.piece(number)?.write_all(now)?;
            self.position += count as u64;
            bytes = later;
        }
        Ok(())
    }

    fn piece(&mut self, number: u64) -> io::Result<&mut File> {
        let current = match self.piece.take() {
            Some((open, file)) if open == number => file,
            _ => {
                let outdated = number.saturating_sub(TAIL_PIECES);
                if outdated >= HEAD_PIECES {
                    let _ = fs::remove_file(piece_path(&self.folder, outdated));
                }
                OpenOptions::new().create(true).append(true).open(piece_path(&self.folder, number))?
            }
        };
        Ok(&mut self.piece.insert((number, current)).1)
    }
}

/// Output from `offset` on; `None` where there is none at all.
pub(super) fn read(folder: &Path, offset: u64) -> Option<LogChunk> {
    let number = offset / PIECE;
    if let Some(bytes) = read_piece(folder, number, offset % PIECE) {
        let next = offset + bytes.len() as u64;
        let (text, used) = decode(&bytes);
        let next_offset = if used == 0 { next } else { offset + used as u64 };
        return Some(LogChunk { text, next_offset });
    }
    // The piece was thrown away, or it was never written.
    let first = pieces(folder)?.into_iter().filter(|kept| *kept > number).min();
    Some(match first {
        Some(kept) => {
            let next_offset = kept * PIECE;
            let text = format!("\n[{} bytes were left out]\n", next_offset - offset);
            LogChunk { text, next_offset }
        }
        None => LogChunk { text: String::new(), next_offset: offset },
    })
}

/// The last `bytes_max` bytes, for error messages.
pub(super) fn tail(folder: &Path, bytes_max: usize) -> String {
    let Some(last) = pieces(folder).and_then(|pieces| pieces.into_iter().max()) else { return String::new() };
    let length = fs::metadata(piece_path(folder, last)).map_or(0, |meta| meta.len());
    let mut bytes = Vec::new();
    let missing = (bytes_max as u64).saturating_sub(length);
    if missing > 0 && last > 0 {
        bytes.extend(read_all(folder, last - 1, PIECE.saturating_sub(missing)).unwrap_or_default());
    }
    bytes.extend(read_all(folder, last, length.saturating_sub(bytes_max as u64)).unwrap_or_default());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn piece_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}"))
}

fn pieces(folder: &Path) -> Option<Vec<u64>> {
    let names = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Some(names.filter_map(|name| name.parse().ok()).collect())
}

fn read_piece(folder: &Path, number: u64, from: u64) -> Option<Vec<u8>> {
    let mut file = File::open(piece_path(folder, number)).ok()?;
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(CHUNK).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn read_all(folder: &Path, number: u64, from: u64) -> Option<Vec<u8>> {
    let mut file = File::open(piece_path(folder, number)).ok()?;
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// As much text as is whole: a character that is cut at the end is left for the next read,
/// bytes that are no text are marked.
pub(crate) fn decode(bytes: &[u8]) -> (String, usize) {
    let mut end = bytes.len();
    if let Err(error) = std::str::from_utf8(bytes) {
        let cut_short = error.error_len().is_none() && error.valid_up_to() > 0;
        if cut_short {
            end = error.valid_up_to();
        }
    }
    (String::from_utf8_lossy(&bytes[..end]).into_owned(), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_everything(folder: &Path) -> String {
        let mut text = String::new();
        let mut offset = 0;
        loop {
            let chunk = read(folder, offset).unwrap();
            if chunk.next_offset == offset {
                return text;
            }
            offset = chunk.next_offset;
            text += &chunk.text;
        }
    }

    #[test]
    fn a_short_output_is_kept_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(folder.path().to_owned()).unwrap();
        writer.write("caf\u{e9}\n".as_bytes()).unwrap();
        assert_eq!(read_everything(folder.path()), "caf\u{e9}\n");
        assert_eq!(tail(folder.path(), 3), "\u{e9}\n");
        assert_eq!(read(&folder.path().join("none"), 0), None);
    }

    #[test]
    fn a_flood_keeps_its_beginning_and_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(folder.path().to_owned()).unwrap();
        writer.write(b"first\n").unwrap();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        for _ in 0..20 * 1024 {
            writer.write(&line).unwrap();
        }
        writer.write(b"last\n").unwrap();
        let text = read_everything(folder.path());
        assert!(text.starts_with("first\n") && text.ends_with("last\n"));
        assert!(text.contains("bytes were left out"));
        assert!(text.len() as u64 <= (HEAD_PIECES + TAIL_PIECES + 1) * PIECE, "{} bytes", text.len());
        assert!(tail(folder.path(), 5000).ends_with("last\n"));
        assert_eq!(tail(folder.path(), 5000).len(), 5000);
    }
}
