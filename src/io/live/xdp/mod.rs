//! The AF_XDP back end: a program in the driver gives GENEVE datagrams to sockets, one a queue, whose
//! frames lie in one memory shared by all workers. The network card spreads by the outer header; a
//! frame of another worker's flow is handed over where it lies and sent by that worker.

mod open;
mod port;
mod ring;
mod socket;
mod store;
mod umem;

pub(super) use open::{Opening, open};
