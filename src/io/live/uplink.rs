//! The interface under open ports: whether it is still there, up and running, and why a socket on it
//! failed. Frames tell nothing of it: an interface that is down or gone is as quiet as an idle one.

use super::{PortError, sys};
use rustix::net::sockopt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The interface ports were opened on, whatever has its name now.
#[derive(Clone, Debug)]
pub(super) struct Uplink {
    name: String,
    index: u32,
    /// Any socket of the interface's network namespace that answers questions about interfaces; one of
    /// AF_XDP does not.
    asked: Arc<OwnedFd>,
}

impl Uplink {
    /// The interface of this number, to be asked about by a socket.
    pub(super) fn new(name: &str, index: u32, asked: OwnedFd) -> Self {
        Self { name: name.to_owned(), index, asked: Arc::new(asked) }
    }

    /// Whether frames can come and go.
    ///
    /// # Errors
    /// `Down` while it is not up or has no carrier, `Gone` once it was removed: one that is made anew
    /// under the same name has another number, and no socket of ours is on it.
    pub(super) fn state(&self) -> Result<(), PortError> {
        match sys::interface_runs(&*self.asked, self.index) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.down()),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                Err(PortError::Gone { name: self.name.clone() })
            }
            Err(error) => {
                Err(PortError::System { what: "asking for the interface's state", error })
            }
        }
    }

    /// The interface is down, as far as a socket on it tells.
    pub(super) fn down(&self) -> PortError {
        PortError::Down { name: self.name.clone() }
    }

    /// Why a packet socket is at fault. Asking clears it, so that a link that comes back is used again:
    /// from then on only [`Self::state`] tells.
    #[cold]
    pub(super) fn fault(&self, socket: impl AsFd) -> PortError {
        let error = match sockopt::socket_error(socket) {
            Ok(Err(rustix::io::Errno::NETDOWN)) => return self.down(),
            Ok(Err(error)) | Err(error) => error.into(),
            Ok(Ok(())) => io::Error::other("an error without a number"),
        };
        PortError::System { what: "receiving", error }
    }
}
