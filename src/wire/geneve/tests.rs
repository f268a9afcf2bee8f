//! GENEVE options one by one: order, repetition, length, the critical bit.
