//! QUIC in datagrams: the ClientHello inside Initial packets.
