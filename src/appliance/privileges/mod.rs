//! Giving away what the process no longer needs once its sockets are open: root, capabilities, the
//! file system, most system calls. A process that reads hostile bytes all day should own little.

mod sandbox;
mod user;

pub use sandbox::{Sandbox, enter};
pub use user::{User, UserError, become_user, is_root};
