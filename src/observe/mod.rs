//! Flow records, summaries and counters made readable.
