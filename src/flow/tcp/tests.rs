//! Tests of the TCP tracker, as conversations.
