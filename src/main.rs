//! The `lockgate` binary: arguments in, exit code out.

use lockgate::bench::allocations::Counting;
use std::process::ExitCode;

// `lockgate bench` tells what a packet allocates.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    lockgate::cli::main()
}
