//! Names that many customers of one operator share, so that allowing one allows more than it says:
//! content networks, hosting suffixes, service fronts. A hint for people; nothing is decided by it.

use psl::Type;

/// Fronts and services behind which anybody can put content of their own, beyond those the public
/// suffix list knows. Each covers what is below it.
const FRONTS: &[(&str, &str)] = &[
    ("akamai.net", "Akamai, a content network"),
    ("akamaized.net", "Akamai, a content network"),
    ("akamaiedge.net", "Akamai, a content network"),
    ("edgekey.net", "Akamai, a content network"),
    ("edgesuite.net", "Akamai, a content network"),
    ("cdn.cloudflare.net", "Cloudflare, a content network"),
    ("cloudflare-ipfs.com", "Cloudflare, content of anybody"),
    ("cloudfront.net", "CloudFront, a content network"),
    ("fastly.net", "Fastly, a content network"),
    ("fastlylb.net", "Fastly, a content network"),
    ("edgecastcdn.net", "Edgecast, a content network"),
    ("llnwd.net", "Limelight, a content network"),
    ("azureedge.net", "Azure CDN, a content network"),
    ("azurefd.net", "Azure Front Door"),
    ("trafficmanager.net", "Azure Traffic Manager"),
    ("blob.core.windows.net", "Azure storage of anybody"),
    ("amazonaws.com", "AWS services, storage of anybody among them"),
    ("googleapis.com", "Google services, storage of anybody among them"),
    ("googleusercontent.com", "Google, content of anybody"),
    ("drive.google.com", "Google Drive, content of anybody"),
    ("docs.google.com", "Google Docs, content of anybody"),
    ("github.com", "GitHub, content of anybody"),
    ("githubusercontent.com", "GitHub, content of anybody"),
    ("gitlab.com", "GitLab, content of anybody"),
    ("dropbox.com", "Dropbox, content of anybody"),
    ("dropboxusercontent.com", "Dropbox, content of anybody"),
    ("sharepoint.com", "SharePoint, content of anybody"),
    ("api.telegram.org", "Telegram, messages of anybody"),
    ("slack.com", "Slack, messages of anybody"),
    ("discord.com", "Discord, messages of anybody"),
    ("pastebin.com", "Pastebin, content of anybody"),
    ("jsdelivr.net", "jsDelivr, packages of anybody"),
    ("unpkg.com", "unpkg, packages of anybody"),
];

/// Who shares a name (lower case, no trailing dot); none if it is not known to be shared.
#[must_use]
pub fn shared_by_many(name: &str) -> Option<String> {
    let below = |suffix: &str| {
        let rest = name.strip_suffix(suffix);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if let Some((_, what)) = FRONTS.iter().find(|(suffix, _)| below(suffix)) {
        return Some((*what).to_owned());
    }
    let suffix = psl::suffix(name.as_bytes())?;
    let text = std::str::from_utf8(suffix.as_bytes()).ok()?;
    match suffix.typ() {
        Some(_) if text == name => Some("a public suffix: anybody can have a name below it".into()),
        Some(Type::Private) => Some(format!("{text}: anybody can have a name below it")),
        _ => None,
    }
}

/// The domain somebody has registered that a name belongs to.
#[must_use]
pub fn registered(name: &str) -> &str {
    psl::domain_str(name).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_content_networks_and_hosting_suffixes_are_shared() {
        for name in [
            "d111111abcdef8.cloudfront.net",
            "bucket.s3.amazonaws.com",
            "someone.github.io",
            "storage.googleapis.com",
            "co.uk",
        ] {
            assert!(shared_by_many(name).is_some(), "{name}");
        }
        for name in ["api.payments.example", "api.example.com", "notcloudfront.net", "localhost"] {
            assert_eq!(shared_by_many(name), None, "{name}");
        }
        assert_eq!(registered("a.b.example.co.uk"), "example.co.uk");
    }
}
