"""Many calls as one job: lazily pulled, bounded, journalled, resumable."""

from b2b_async.bulk.job import ASSIGN, BulkJob, JobKind
from b2b_async.bulk.journal import Journal, JournalError
from b2b_async.bulk.outcome import Failure, Item, ItemOutcome, JobSummary, Skipped
from b2b_async.bulk.sources import Row, SourceError, read_customer_ids

__all__ = [
    "ASSIGN",
    "BulkJob",
    "Failure",
    "Item",
    "ItemOutcome",
    "JobKind",
    "JobSummary",
    "Journal",
    "JournalError",
    "Row",
    "Skipped",
    "SourceError",
    "read_customer_ids",
]
