//! The interface ports are opened on: found by name, with the address gateways send to.

use super::settings::PortSettings;
use super::uplink::Uplink;
use super::{PortError, sys};
use pnet::datalink;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

/// An interface that is up and has the address.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) uplink: Uplink,
    pub(super) index: u32,
    pub(super) mtu: u32,
    pub(super) address: Ipv4Addr,
}

impl Interface {
    /// Finds the interface the settings name; `socket` is any UDP socket, to ask by.
    pub(super) fn find(settings: &PortSettings, socket: &OwnedFd) -> Result<Self, PortError> {
        let name = settings.interface.clone();
        let all = datalink::interfaces();
        let Some(found) = all.iter().find(|interface| interface.name == name) else {
            let known = all.into_iter().map(|interface| interface.name).collect();
            return Err(PortError::NoInterface { name, known });
        };
        let state = sys::interface_state(socket, &name)
            .map_err(|error| PortError::System { what: "asking for the interface's MTU", error })?;
        if !state.up {
            return Err(PortError::Down { name });
        }
        let mut own = found.ips.iter().filter_map(|network| match network.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        let address = match settings.address {
            Some(asked) => own.find(|address| *address == asked),
            None => own.next(),
        };
        let Some(address) = address else {
            return Err(PortError::NoAddress { name, address: settings.address });
        };
        let asked = socket.try_clone();
        let asked = asked
            .map_err(|error| PortError::System { what: "opening a UDP socket twice", error })?;
        let uplink = Uplink::new(&name, found.index, asked);
        Ok(Self { name, uplink, index: found.index, mtu: state.mtu, address })
    }
}
