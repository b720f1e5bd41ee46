"""Saved files: whole or not there, one writer at a time, and checked when they are read.

Every file is written under a temporary name, flushed to the disk and renamed into place. What a
run needs again, a *stored* file or folder, also has its SHA-256 in the ``digests.json`` beside it;
what is not named there was never finished, and what differs from it is damaged.
"""

from pladapt.storage.stored import (
    FORMAT,
    check_stored,
    is_stored,
    read_json,
    read_sealed,
    stored_file,
    stored_folder,
    stored_names,
    to_json,
    write_sealed,
)
from pladapt.storage.tables import (
    parquet_errors,
    read_stored_table,
    read_table,
    stored_columns,
    stored_rows,
    write_stored_table,
    write_stored_tables,
    write_table,
    write_tables,
)
from pladapt.storage.whole import READ_ONLY, atomic_write, locked, sweep

__all__ = [
    "FORMAT",
    "READ_ONLY",
    "atomic_write",
    "check_stored",
    "is_stored",
    "locked",
    "parquet_errors",
    "read_json",
    "read_sealed",
    "read_stored_table",
    "read_table",
    "stored_columns",
    "stored_file",
    "stored_folder",
    "stored_names",
    "stored_rows",
    "sweep",
    "to_json",
    "write_sealed",
    "write_stored_table",
    "write_stored_tables",
    "write_table",
    "write_tables",
]
