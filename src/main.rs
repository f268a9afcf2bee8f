//! The `lockgate` binary: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockgate::cli::main()
}
