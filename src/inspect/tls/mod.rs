//! TLS over a stream: server name, versions, fingerprints, client certificates.
