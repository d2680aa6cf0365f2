//! Names of what is in an archive.

use buildnet_digest::{Digest, DigestFunction};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A blob.
    Blob(Digest),
    /// A result, under its key in the store.
    Result(Digest),
}

impl Item {
    /// Its name: relative, with `/`.
    pub(super) fn name(&self) -> String {
        let (kind, digest) = match self {
            Self::Blob(digest) => ("blobs", digest),
            Self::Result(key) => ("results", key),
        };
        let hex = digest.hex();
        format!("{kind}/{}/{}/{hex}-{}", digest.function().name(), &hex[..2], digest.size())
    }

    /// From a name. Only the very name that [`Item::name`] makes is one, so that nothing has two.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut segments = name.split('/');
        let (kind, function, _, file) = (segments.next()?, segments.next()?, segments.next()?, segments.next()?);
        let (hex, size) = file.split_once('-')?;
        let digest = Digest::from_hex(DigestFunction::from_name(function)?, hex, size.parse().ok()?).ok()?;
        let item = match kind {
            "blobs" => Self::Blob(digest),
            "results" => Self::Result(digest),
            _ => return None,
        };
        (item.name() == name).then_some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_nothing_else_is_one() {
        for function in DigestFunction::ALL {
            let digest = function.digest(b"x");
            for item in [Item::Blob(digest), Item::Result(digest)] {
                assert_eq!(Item::parse(&item.name()), Some(item));
            }
        }
        let good = Item::Blob(DigestFunction::Sha256.digest(b"x")).name();
        for bad in [
            good.to_uppercase(),
            good.replace("blobs", "blob"),
            good.replace("blobs/", "blobs/../blobs/"),
            format!("/{good}"),
            format!("./{good}"),
            format!("{good}/x"),
            format!("{good} "),
            good.replace("-1", "-01"),
            good.replace("-1", "-+1"),
            good.replace("-1", ""),
            "../../etc/passwd".to_owned(),
            String::new(),
        ] {
            assert_eq!(Item::parse(&bad), None, "{bad}");
        }
    }
}
