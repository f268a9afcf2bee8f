//! Names that belong to nobody in particular: public suffixes, and networks in which everybody can
//! have a name. Tells patterns apart; looks at no rule.

use crate::policy::names::NamePattern;

/// Why a pattern matches names of strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width<'a> {
    /// It matches every name.
    Every,
    /// Everybody can register a name that matches.
    Public(&'a str),
    /// Everybody can have a name below this one from its owner.
    Shared(&'a str),
}

/// Networks of content and computing whose names are given to all their customers and that are not
/// on the public suffix list, as their operators document them.
const SHARED: [&str; 24] = [
    "1e100.net",
    "akamai.net",
    "akamaiedge.net",
    "akamaihd.net",
    "akamaized.net",
    "amazonaws.com",
    "awsglobalaccelerator.com",
    "azure.com",
    "azure.net",
    "azureedge.net",
    "azurefd.net",
    "b-cdn.net",
    "cdn77.org",
    "cloudapp.net",
    "cloudflare.net",
    "cloudfront.net",
    "edgecastcdn.net",
    "edgekey.net",
    "edgesuite.net",
    "fastly.net",
    "fastlylb.net",
    "googleapis.com",
    "trafficmanager.net",
    "windows.net",
];

/// Whose names a pattern matches, if they are strangers'.
pub(super) fn width(pattern: &NamePattern) -> Option<Width<'_>> {
    match pattern {
        NamePattern::Any => Some(Width::Every),
        NamePattern::Exact(_) => None,
        NamePattern::Suffix(name) | NamePattern::Below(name) => below(name),
        // The labels behind the last star are the same in every name that matches.
        NamePattern::Glob(glob) => {
            let tail = glob.rsplit('*').next().unwrap_or_default();
            match tail.split_once('.') {
                Some((_, labels)) if !labels.is_empty() => below(labels),
                _ => Some(Width::Public("")),
            }
        }
    }
}

fn below(name: &str) -> Option<Width<'_>> {
    if SHARED.contains(&name) {
        return Some(Width::Shared(name));
    }
    if psl::domain_str(name).is_some() {
        return None;
    }
    match psl::suffix(name.as_bytes())?.typ()? {
        psl::Type::Icann => Some(Width::Public(name)),
        psl::Type::Private => Some(Width::Shared(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers_are_told_from_names_of_partners() {
        for (text, expected) in [
            ("*", Some(Width::Every)),
            (".com", Some(Width::Public("com"))),
            ("*.co.uk", Some(Width::Public("co.uk"))),
            ("*payments*", Some(Width::Public(""))),
            ("pay*.com", Some(Width::Public("com"))),
            (".cloudfront.net", Some(Width::Shared("cloudfront.net"))),
            ("*.amazonaws.com", Some(Width::Shared("amazonaws.com"))),
            (".github.io", Some(Width::Shared("github.io"))),
            ("api-*.azureedge.net", Some(Width::Shared("azureedge.net"))),
            ("d1234.cloudfront.net", None),
            (".acme.github.io", None),
            (".payments.example", None),
            (".internal", None),
            ("com", None),
        ] {
            let pattern = NamePattern::parse(text).unwrap();
            assert_eq!(width(&pattern), expected, "{text}");
        }
    }

    #[test]
    fn the_list_is_in_order() {
        assert!(SHARED.is_sorted());
    }
}
