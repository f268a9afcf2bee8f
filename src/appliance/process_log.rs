//! The process log on standard error: what the instance does, never what single packets meet.

use super::config::{LogFormat, LogLevel};
use tracing_subscriber::filter::LevelFilter;

/// Starts it; a second start changes nothing.
pub fn start(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        // It would be told of by eprintln!, which stops the program where nobody reads any more.
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(terminal);
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
