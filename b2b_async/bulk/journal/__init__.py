"""The journal of a job's items and outcomes: a protocol for writing, one for reading, and SQLite behind both."""
