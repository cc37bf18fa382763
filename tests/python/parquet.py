"""Reads what the daily CDR pipeline wrote, with pyarrow, as anybody else would."""

import pathlib
import urllib.parse

import pyarrow.parquet

from expected import PARTITIONS


def files_of(target, date):
    """The Parquet files of one date below `processed_cdrs/`, as {folder: [path]}."""
    year, month, day = date.split("-")
    found = {}
    for path in sorted(pathlib.Path(target).rglob("*.parquet")):
        folder = path.parent.relative_to(target).as_posix()
        if f"year={year}/month={month}/day={day}/" in folder + "/":
            found.setdefault(folder, []).append(path)
    return found


def rows_of(target, date):
    """(rows by transaction id, the schema as {column: type}) of one date. Every file must
    have the same schema, every partition one file, no transaction two rows."""
    rows, schemas = {}, set()
    for folder, paths in files_of(target, date).items():
        assert len(paths) == 1, f"{folder} has {len(paths)} files"
        parts = dict(part.split("=", 1) for part in folder.split("/"))
        assert list(parts) == PARTITIONS, folder
        parts = {name: urllib.parse.unquote(value) for name, value in parts.items()}
        table = pyarrow.parquet.ParquetFile(paths[0]).read()
        schemas.add(tuple((field.name, str(field.type)) for field in table.schema))
        for row in table.to_pylist():
            assert row["transactionid"] not in rows, f"{row['transactionid']} stands there twice"
            rows[row["transactionid"]] = row | parts
    assert len(schemas) <= 1, f"files differ in schema: {schemas}"
    return rows, dict(schemas.pop()) if schemas else {}
