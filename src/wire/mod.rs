//! Bytes to headers and back: link layers, GENEVE with the GWLB options, VXLAN, inner IP and transport
//! headers, checksums, and the building of answers. No state, no policy.
