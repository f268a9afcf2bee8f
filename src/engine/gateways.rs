//! Which GWLB nodes are believed. GENEVE carries no authentication: the outer source address is all
//! there is.

use crate::model::Addr;
use ipnet::Ipv4Net;
use std::net::IpAddr;

/// Networks of gateways; a load balancer has one node address in each zone.
pub const GATEWAYS_MAX: usize = 64;

/// Outer source addresses that are believed.
#[derive(Clone, Debug, Default)]
pub struct Gateways {
    /// Network and mask.
    networks: Vec<(u32, u32)>,
}

impl Gateways {
    /// From networks; those beyond [`GATEWAYS_MAX`] are left out, so nothing more is believed.
    #[must_use]
    pub fn new(networks: &[Ipv4Net]) -> Self {
        let pair = |net: &Ipv4Net| (u32::from(net.network()), u32::from(net.netmask()));
        Self { networks: networks.iter().take(GATEWAYS_MAX).map(pair).collect() }
    }

    /// Whether a source address is one of them.
    #[inline]
    #[must_use]
    pub fn believe(&self, source: Addr) -> bool {
        let IpAddr::V4(source) = source.to_ip() else { return false };
        let source = u32::from(source);
        self.networks.iter().any(|(network, mask)| source & mask == *network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_networks_are_believed() {
        let gateways =
            Gateways::new(&["10.99.0.1/32".parse().unwrap(), "10.98.0.0/24".parse().unwrap()]);
        for (source, believed) in
            [("10.99.0.1", true), ("10.99.0.2", false), ("10.98.0.77", true), ("10.98.1.0", false)]
        {
            let source: IpAddr = source.parse().unwrap();
            assert_eq!(gateways.believe(Addr::from(source)), believed, "{source}");
        }
        assert!(!Gateways::default().believe(Addr::v4([10, 99, 0, 1])));
    }

    #[test]
    fn networks_end_at_their_limit() {
        let all: Vec<Ipv4Net> =
            (0..=GATEWAYS_MAX).map(|n| format!("10.0.{n}.1/32").parse().unwrap()).collect();
        let gateways = Gateways::new(&all);
        for (n, believed) in
            [(GATEWAYS_MAX - 2, true), (GATEWAYS_MAX - 1, true), (GATEWAYS_MAX, false)]
        {
            assert_eq!(gateways.believe(Addr::v4([10, 0, n as u8, 1])), believed, "{n}");
        }
    }
}
