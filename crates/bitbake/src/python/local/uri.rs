//! URLs of sources, as the runtime's `bb.fetch2.uri` takes them apart: those without queries, users, ports and quoting.

use super::Stop;
use crate::Text;

/// A URL's parts.
#[derive(Debug)]
pub(super) struct Uri {
    pub(super) scheme: Text,
    pub(super) host: Text,
    pub(super) path: Text,
    /// Name and value of each parameter; a name alone has none.
    pub(super) parameters: Vec<(Text, Option<Text>)>,
}

impl Uri {
    /// Takes a plain URL apart; all others are left to Python.
    pub(super) fn parse(text: &str) -> Result<Self, Stop> {
        let (address, parameters) = text.split_once(';').unwrap_or((text, ""));
        let (scheme, rest) = address.split_once("://").ok_or(Stop::Python)?;
        let known = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.+~,=".contains(&byte);
        if !known || scheme.starts_with(|c: char| c.is_ascii_digit()) || !rest.bytes().all(plain) {
            return Err(Stop::Python);
        }
        let (host, path) = match scheme {
            "file" => ("", rest),
            _ => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        };
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) || path.starts_with("//") {
            return Err(Stop::Python);
        }
        let mut found: Vec<(Text, Option<Text>)> = Vec::new();
        for field in parameters.split(';').filter(|field| !field.is_empty()) {
            let (name, value) = match field.split_once('=') {
                Some((name, value)) => (name, Some(Text::from(value))),
                None => (field, None),
            };
            match found.iter_mut().find(|(known, _)| **known == *name) {
                Some(entry) => entry.1 = value,
                None => found.push((name.into(), value)),
            }
        }
        Ok(Self { scheme: scheme.into(), host: host.into(), path: path.into(), parameters: found })
    }
}

#[cfg(test)]
mod tests {
    use super::Uri;

    #[test]
    fn plain_urls_have_parts() {
        let uri = Uri::parse("git://a.org/b/c.git;protocol=https;nobranch").unwrap_or_else(|_| panic!("a plain URL"));
        assert_eq!((&*uri.scheme, &*uri.host, &*uri.path), ("git", "a.org", "/b/c.git"));
        assert_eq!(uri.parameters, [("protocol".into(), Some("https".into())), ("nobranch".into(), None)]);
        let file = Uri::parse("file://fix.patch").unwrap_or_else(|_| panic!("a plain URL"));
        assert_eq!((&*file.host, &*file.path), ("", "fix.patch"));
        for odd in
            ["x", "https://u@a/b", "https://a:80/b", "https://A/b", "https://a/b?c", "https://a/%20", "Git://a/b"]
        {
            assert!(Uri::parse(odd).is_err(), "{odd}");
        }
    }
}
