//! The connectivity patterns as they stand under `rulesets/`, built into the binary, so that one can
//! be started from without the sources. Reads and writes nothing.

use super::schema::schema;
use std::borrow::Cow;

/// A shipped ruleset.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// The name of its folder.
    pub name: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

/// Name of the schema in a folder of its own.
const SCHEMA_FILE: &str = "lockgate.schema.json";

macro_rules! shipped {
    ($($name:literal: [$($file:literal),+ $(,)?],)+) => {
        /// Every pattern, in the order of the documentation.
        pub const SHIPPED: &[Shipped] = &[$(Shipped {
            name: $name,
            files: &[$((
                $file,
                include_bytes!(concat!("../../rulesets/", $name, "/", $file)),
            )),+],
        }),+];
    };
}

shipped! {
    "inline-dmz": [
        "README.md", "lockgate.yaml",
        "partners/acme.yaml", "partners/brokers.yaml", "partners/globex.yaml",
        "tests/acme.pcap", "tests/acme.yaml", "tests/brokers.pcap", "tests/brokers.yaml",
        "tests/conditions.yaml", "tests/globex.pcap", "tests/globex.yaml",
    ],
    "east-west": [
        "README.md", "lockgate.yaml", "partners/acme.yaml", "partners/initech.yaml",
        "tests/conditions.yaml", "tests/lab.pcap", "tests/lab.yaml", "tests/third-parties.pcap",
        "tests/third-parties.yaml", "tests/workloads.pcap", "tests/workloads.yaml",
    ],
    "ingress-privatelink": [
        "README.md", "lockgate.yaml", "partners/acme.yaml", "partners/globex.yaml",
        "tests/conditions.yaml", "tests/forged.pcap", "tests/forged.yaml", "tests/nlb.pcap",
        "tests/nlb.yaml",
    ],
    "ingress-onprem": [
        "README.md", "lockgate.yaml",
        "partners/acme.yaml", "partners/globex.yaml", "partners/initech.yaml",
        "tests/acme.pcap", "tests/acme.yaml", "tests/conditions.yaml", "tests/globex.pcap",
        "tests/globex.yaml", "tests/initech.pcap", "tests/initech.yaml",
    ],
    "lattice": [
        "README.md", "lockgate.yaml", "partners/acme.yaml", "partners/globex.yaml",
        "tests/before.pcap", "tests/before.yaml", "tests/behind.pcap", "tests/behind.yaml",
        "tests/conditions.yaml",
    ],
    "egress-privatelink": [
        "README.md", "lockgate.yaml", "partners/acme.yaml", "partners/globex.yaml",
        "tests/conditions.yaml", "tests/payments.pcap", "tests/payments.yaml",
        "tests/reporting.pcap", "tests/reporting.yaml",
    ],
    "egress-onprem": [
        "README.md", "lockgate.yaml", "partners/acme.yaml",
        "tests/acme.pcap", "tests/acme.yaml", "tests/conditions.yaml",
    ],
    "transit-gateway": [
        "README.md", "lockgate.yaml", "partners/newco.yaml", "partners/oldco.yaml",
        "tests/conditions.yaml", "tests/last-day.yaml", "tests/newco.pcap", "tests/newco.yaml",
        "tests/oldco.pcap", "tests/oldco.yaml", "tests/revoked.pcap", "tests/revoked.yaml",
    ],
    "internal-dns": [
        "README.md", "lockgate.yaml",
        "partners/acme.yaml", "partners/globex.yaml", "partners/initech.yaml",
        "tests/acme.pcap", "tests/acme.yaml", "tests/conditions.yaml", "tests/globex.pcap",
        "tests/globex.yaml", "tests/initech.pcap", "tests/initech.yaml",
    ],
    "cloud-wan": [
        "README.md", "lockgate.yaml", "partners/acme.yaml", "partners/initech.yaml",
        "tests/conditions.yaml", "tests/development.pcap", "tests/development.yaml",
        "tests/initech.pcap", "tests/initech.yaml", "tests/production.pcap",
        "tests/production.yaml", "tests/third-party.pcap", "tests/third-party.yaml",
    ],
    "mutual-tls": [
        "README.md", "lockgate.yaml", "partners/acme.yaml", "partners/globex.yaml",
        "partners/initech.yaml", "tests/acme.pcap", "tests/acme.yaml", "tests/conditions.yaml",
        "tests/globex.pcap", "tests/globex.yaml", "tests/initech.pcap", "tests/initech.yaml",
    ],
    "transit-vpc": [
        "README.md", "lockgate.yaml", "partners/acme.yaml", "partners/contractors.yaml",
        "partners/initech.yaml", "partners/outside.yaml", "tests/conditions.yaml",
        "tests/inside.pcap", "tests/inside.yaml", "tests/outside.pcap", "tests/outside.yaml",
    ],
    "private-apis": [
        "README.md", "lockgate.yaml", "partners/acme.yaml", "partners/globex.yaml",
        "tests/acme.pcap", "tests/acme.yaml", "tests/conditions.yaml", "tests/globex.pcap",
        "tests/globex.yaml", "tests/lambdas.pcap", "tests/lambdas.yaml",
    ],
    "traffic-mirroring": [
        "README.md", "lockgate.yaml", "partners/acme.yaml", "partners/globex.yaml",
        "tests/acme.pcap", "tests/acme.yaml", "tests/conditions.yaml", "tests/globex.pcap",
        "tests/globex.yaml",
    ],
}

impl Shipped {
    /// The pattern of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        SHIPPED.iter().find(|shipped| shipped.name == name)
    }

    /// What it is, in a line: the title of its page.
    #[must_use]
    pub fn about(&self) -> &'static str {
        let page = self.files.iter().find(|(path, _)| *path == "README.md").map(|(_, text)| *text);
        let page = page.and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        let title = page.lines().next().unwrap_or_default().trim_start_matches("# ");
        title.split_once(": ").map_or(title, |(_, about)| about)
    }

    /// Its files by their paths below the folder, as they stand in a folder of their own: the schema
    /// is among them, and documents point at it there.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, Cow<'static, [u8]>)> {
        let files = self.files.iter().map(|&(path, bytes)| (path, standing_alone(path, bytes)));
        files.chain([(SCHEMA_FILE, Cow::Owned(schema().into_bytes()))])
    }

    /// Its files by their paths below the folder, as they are shipped.
    pub fn originals(&self) -> impl Iterator<Item = (&'static str, &'static [u8])> {
        self.files.iter().copied()
    }
}

/// The schema is one folder further down than among the shipped rulesets.
fn standing_alone(path: &str, bytes: &'static [u8]) -> Cow<'static, [u8]> {
    let text = std::str::from_utf8(bytes).ok().filter(|_| path.ends_with(".yaml"));
    match text {
        Some(text) => Cow::Owned(
            text.replace("$schema=../", "$schema=")
                .replace("$schema=lock", "$schema=./lock")
                .into(),
        ),
        None => Cow::Borrowed(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_says_in_a_line_what_it_is() {
        for shipped in SHIPPED {
            let about = shipped.about();
            assert!(about.len() > 20 && about.len() < 90, "{}: {about}", shipped.name);
        }
    }

    #[test]
    fn documents_point_at_the_schema_beside_them() {
        let files: Vec<_> = SHIPPED[0].files().collect();
        let text = |name: &str| {
            let (_, bytes) = files.iter().find(|(path, _)| *path == name).unwrap();
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        assert!(text("lockgate.yaml").contains("$schema=./lockgate.schema.json"));
        assert!(text("partners/acme.yaml").contains("$schema=../lockgate.schema.json"));
        assert!(text(SCHEMA_FILE).starts_with('{'));
    }
}
