"""Many calls as one job: lazily pulled, bounded, journalled, resumable."""

from b2b_async.bulk._loader import Rereadable
from b2b_async.bulk.export import write_csv, write_jsonl
from b2b_async.bulk.html_report import write_html
from b2b_async.bulk.inputs._tables import SourceError
from b2b_async.bulk.inputs.companies import customer_ids_of
from b2b_async.bulk.inputs.files import ORDER_COLUMNS, Row, read_customer_ids, read_order_rows, read_values
from b2b_async.bulk.job import BulkJob, JobProgress
from b2b_async.bulk.journal.protocol import (
    Counts,
    Journal,
    JournalError,
    JournalFigures,
    JournalItem,
    JournalLostError,
    JournalMismatchError,
    JournalReader,
    JournalStatus,
    Opened,
    PendingItem,
)
from b2b_async.bulk.journal.reader import SQLiteReader
from b2b_async.bulk.journal.sqlite import SQLiteJournal
from b2b_async.bulk.kinds import ASSIGN, CREATE_ORDERS, JobKind, OrderRow
from b2b_async.bulk.outcome import Failure, Item, ItemOutcome, JobSummary, Skipped

__all__ = [
    "ASSIGN",
    "CREATE_ORDERS",
    "ORDER_COLUMNS",
    "BulkJob",
    "Counts",
    "Failure",
    "Item",
    "ItemOutcome",
    "JobKind",
    "JobProgress",
    "JobSummary",
    "Journal",
    "JournalError",
    "JournalFigures",
    "JournalItem",
    "JournalLostError",
    "JournalMismatchError",
    "JournalReader",
    "JournalStatus",
    "Opened",
    "OrderRow",
    "PendingItem",
    "Rereadable",
    "Row",
    "SQLiteJournal",
    "SQLiteReader",
    "Skipped",
    "SourceError",
    "customer_ids_of",
    "read_customer_ids",
    "read_order_rows",
    "read_values",
    "write_csv",
    "write_html",
    "write_jsonl",
]
