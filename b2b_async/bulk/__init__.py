"""Many calls as one job: lazily pulled, bounded, journalled, resumable."""

from b2b_async.bulk._loader import Rereadable
from b2b_async.bulk.export import write_csv, write_jsonl
from b2b_async.bulk.html_report import write_page
from b2b_async.bulk.inputs.companies import customer_ids_of
from b2b_async.bulk.inputs.files import ORDER_COLUMNS, Row, SourceError, read_customer_ids, read_order_rows
from b2b_async.bulk.job import BulkJob, JobProgress
from b2b_async.bulk.journal.protocol import Counts, Entry, Journal, JournalError, JournalMismatchError, Opened, Task
from b2b_async.bulk.journal.reader import JournalStatus, read_outcomes, read_status
from b2b_async.bulk.journal.sqlite import SQLiteJournal
from b2b_async.bulk.kinds import ASSIGN, CREATE_ORDERS, JobKind, OrderRow
from b2b_async.bulk.outcome import Failure, Item, ItemOutcome, JobSummary, Skipped

__all__ = [
    "ASSIGN",
    "CREATE_ORDERS",
    "ORDER_COLUMNS",
    "BulkJob",
    "Counts",
    "Entry",
    "Failure",
    "Item",
    "ItemOutcome",
    "JobKind",
    "JobProgress",
    "JobSummary",
    "Journal",
    "JournalError",
    "JournalMismatchError",
    "JournalStatus",
    "Opened",
    "OrderRow",
    "Rereadable",
    "Row",
    "SQLiteJournal",
    "Skipped",
    "SourceError",
    "Task",
    "customer_ids_of",
    "read_customer_ids",
    "read_order_rows",
    "read_outcomes",
    "read_status",
    "write_csv",
    "write_jsonl",
    "write_page",
]
