//! State per flow: the flow table, TCP tracking, fragments, timers. Knows no rules and no names.
