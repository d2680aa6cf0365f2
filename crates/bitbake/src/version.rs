//! How versions compare.
//!
//! A version is cut into runs of digits, runs of letters, and single other characters. A tilde ranks below digits (and below the
//! end), digits below letters, letters below anything else; runs of digits compare as numbers.

use std::cmp::Ordering;

/// A piece of a version, by rank and then by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// `~`: before the end of a version.
    Tilde,
    /// A number, as its digits.
    Digits(&'a str),
    /// A run of ASCII letters.
    Letters(&'a str),
    /// Any other character.
    Other(&'a str),
}

impl Piece<'_> {
    fn rank(self) -> i8 {
        match self {
            Self::Tilde => -1,
            Self::Digits(_) => 0,
            Self::Letters(_) => 1,
            Self::Other(_) => 2,
        }
    }
}

/// A version with the parts that recipes give it: `[PE:]PV[-PR]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    /// `PE`, 0 where there is none.
    pub epoch: i64,
    /// `PV`.
    pub version: &'a str,
    /// `PR`, empty where there is none.
    pub revision: &'a str,
}

/// What is wrong with a version or comparison.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Text before the colon that is no number.
    #[error("`{0}` is no epoch: a number is expected before the colon")]
    Epoch(String),
    /// An operator that compares nothing.
    #[error("`{0}` is no comparison; use =, ==, !=, <, <<, <=, >, >> or >=")]
    Operator(String),
}

/// Cuts a version into its pieces.
pub fn pieces(version: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = version;
    while let Some(first) = rest.chars().next() {
        let run = |belongs: fn(&char) -> bool| rest.find(|c: char| !belongs(&c)).unwrap_or(rest.len());
        let (piece, len) = if first.is_ascii_digit() {
            let len = run(char::is_ascii_digit);
            (Piece::Digits(&rest[..len]), len)
        } else if first.is_ascii_alphabetic() {
            let len = run(char::is_ascii_alphabetic);
            (Piece::Letters(&rest[..len]), len)
        } else if first == '~' {
            (Piece::Tilde, 1)
        } else {
            (Piece::Other(&rest[..first.len_utf8()]), first.len_utf8())
        };
        pieces.push(piece);
        rest = &rest[len..];
    }
    pieces
}

/// Compares versions without epoch and revision.
pub fn compare_parts(a: &str, b: &str) -> Ordering {
    let (a, b) = (pieces(a), pieces(b));
    for at in 0..a.len().max(b.len()) {
        let order = match (a.get(at).copied(), b.get(at).copied()) {
            (Some(a), Some(b)) => a.rank().cmp(&b.rank()).then_with(|| compare_values(a, b)),
            // The end ranks like digits, but before any of them.
            (None, Some(b)) => 0.cmp(&b.rank()).then(Ordering::Less),
            (Some(a), None) => a.rank().cmp(&0).then(Ordering::Greater),
            (None, None) => Ordering::Equal,
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn compare_values(a: Piece<'_>, b: Piece<'_>) -> Ordering {
    match (a, b) {
        (Piece::Digits(a), Piece::Digits(b)) => {
            let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        }
        (Piece::Letters(a), Piece::Letters(b)) | (Piece::Other(a), Piece::Other(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}

impl<'a> Version<'a> {
    /// Splits `[PE:]PV[-PR]`; comparison signs and spaces around it are dropped.
    ///
    /// # Errors
    ///
    /// Where what stands before a colon is no number.
    pub fn parse(text: &'a str) -> Result<Self, VersionError> {
        let text = text.trim_matches([' ', '<', '>', '=']);
        let mut fields = text.split(':');
        let first = fields.next().unwrap_or_default();
        let (epoch, rest) = match fields.next() {
            Some(rest) => (first.trim().parse().map_err(|_| VersionError::Epoch(first.to_owned()))?, rest),
            None => (0, first),
        };
        let (version, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Ok(Self { epoch, version, revision })
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        // Versions such as 1.0 and 1.00 order the same without being the same text.
        Some(
            self.epoch
                .cmp(&other.epoch)
                .then_with(|| compare_parts(self.version, other.version))
                .then_with(|| compare_parts(self.revision, other.revision)),
        )
    }
}

/// Compares two `[PE:]PV[-PR]` texts.
///
/// # Errors
///
/// As [`Version::parse`].
pub fn compare(a: &str, b: &str) -> Result<Ordering, VersionError> {
    let (a, b) = (Version::parse(a)?, Version::parse(b)?);
    Ok(a.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

/// Whether `a OPERATOR b` holds.
///
/// # Errors
///
/// As [`Version::parse`], and for an unknown operator.
pub fn holds(a: &str, operator: &str, b: &str) -> Result<bool, VersionError> {
    let order = compare(a, b)?;
    Ok(match operator {
        "=" | "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" | "<<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" | ">>" => order.is_gt(),
        ">=" => order.is_ge(),
        _ => return Err(VersionError::Operator(operator.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_order_as_package_managers_have_them() {
        // From lowest to highest; each group is equal.
        let ladder = [
            &["~"][..],
            &["", "-"],
            &["0"],
            &["1~rc1"],
            &["1", "01", "0:1", "1-"],
            &["1-r0"],
            &["1-r1", "1-r01"],
            &["1-r10"],
            &["1a"],
            &["1b"],
            &["1+git"],
            &["1."],
            &["1.0", "1.00", ">= 1.0"],
            &["1.0.0"],
            &["1.0_rc"],
            &["1.2"],
            &["1.10"],
            &["1_0"],
            &["2"],
            &["99999999999999999999999999"],
            &["a"],
            &["1:0"],
        ];
        for (i, lower) in ladder.iter().enumerate() {
            for (j, higher) in ladder.iter().enumerate() {
                for a in *lower {
                    for b in *higher {
                        assert_eq!(compare(a, b), Ok(i.cmp(&j)), "{a} and {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn operators_compare() {
        for (operator, below, same, above) in [
            ("=", false, true, false),
            ("==", false, true, false),
            ("!=", true, false, true),
            ("<", true, false, false),
            ("<<", true, false, false),
            ("<=", true, true, false),
            (">", false, false, true),
            (">>", false, false, true),
            (">=", false, true, true),
        ] {
            for (a, expected) in [("1.0", below), ("1.1", same), ("1.2", above)] {
                assert_eq!(holds(a, operator, "1.1"), Ok(expected), "{a} {operator} 1.1");
            }
        }
        assert_eq!(holds("1", "~", "1"), Err(VersionError::Operator("~".into())));
        assert_eq!(compare("x:1", "1"), Err(VersionError::Epoch("x".into())));
    }

    proptest! {
        #[test]
        fn order_is_antisymmetric(a in "[0-9a-c.~+_-]{0,8}", b in "[0-9a-c.~+_-]{0,8}") {
            prop_assert_eq!(compare(&a, &b)?, compare(&b, &a)?.reverse());
        }

        #[test]
        fn any_text_is_a_version_or_an_error(a in ".{0,12}", b in ".{0,12}") {
            let _ = compare(&a, &b);
        }
    }
}
