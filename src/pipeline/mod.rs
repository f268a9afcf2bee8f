//! Threads: sharding by flow, workers, backpressure, ordered output.
