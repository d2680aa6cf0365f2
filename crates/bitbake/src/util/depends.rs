//! Dependency strings: `name (>= 1.0) other …`.

/// A name and the versions of it that will do, each with its operator: `>= 1.0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// The name.
    pub name: String,
    /// All conditions; none when any version will do.
    pub versions: Vec<String>,
}

/// A condition without an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`({0}` does not begin with <, >, =, or two of them")]
pub struct DependsError(pub String);

/// Longest first.
const OPERATORS: [&str; 11] = ["<=", "=<", "<<", "==", "!=", ">=", "=>", ">>", "<", ">", "="];

/// The names, without what stands in brackets.
pub fn depends_names(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split_whitespace()
        .filter(|word| {
            inside |= word.starts_with('(');
            let counts = !inside;
            if word.ends_with(')') {
                inside = false;
            }
            counts
        })
        .collect()
}

/// The names with their conditions, in the order they first appear.
///
/// # Errors
///
/// Where something in brackets begins with no operator.
pub fn depends_versions(text: &str) -> Result<Vec<Need>, DependsError> {
    #[derive(PartialEq)]
    enum At {
        Names,
        Operator,
        Version,
    }
    let mut needs: Vec<Need> = Vec::new();
    let (mut at, mut name, mut operator, mut version) = (At::Names, "", "", String::new());
    let text = text.replace(',', "");
    for mut word in text.split_whitespace() {
        if let Some(rest) = word.strip_prefix('(') {
            at = At::Operator;
            word = rest;
            if word.is_empty() {
                continue;
            }
        }
        if at == At::Operator {
            at = At::Version;
            operator = OPERATORS
                .into_iter()
                .find(|operator| word.starts_with(operator))
                .ok_or_else(|| DependsError(word.into()))?;
            word = &word[operator.len()..];
            if word.is_empty() {
                continue;
            }
        }
        if at == At::Version {
            if let Some(rest) = word.strip_suffix(')') {
                at = At::Names;
                word = rest;
                if !version.is_empty() && !word.is_empty() {
                    version.push(' ');
                }
            }
            if !word.is_empty() {
                version.push_str(word);
                entry(&mut needs, name).versions.push(format!("{operator} {version}"));
            }
            continue;
        }
        (name, operator) = (word, "");
        version.clear();
        entry(&mut needs, name);
    }
    Ok(needs)
}

fn entry<'a>(needs: &'a mut Vec<Need>, name: &str) -> &'a mut Need {
    let at = needs.iter().position(|need| need.name == name).unwrap_or_else(|| {
        needs.push(Need { name: name.to_owned(), versions: Vec::new() });
        needs.len() - 1
    });
    &mut needs[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_without_versions() {
        assert_eq!(depends_names("a b (>= 1) c ( = 2 ) d (3"), ["a", "b", "c", "d"]);
        assert_eq!(depends_names(" "), Vec::<&str>::new());
    }

    #[test]
    fn versions_belong_to_names() {
        let shown = |text: &str| {
            depends_versions(text).map(|needs| needs.into_iter().map(|n| (n.name, n.versions)).collect::<Vec<_>>())
        };
        let need =
            |name: &str, versions: &[&str]| (name.to_owned(), versions.iter().map(|v| (*v).to_owned()).collect());
        assert_eq!(
            shown("b (>= 1.0) a (=2), b (<< 3) c ( == 4 )"),
            Ok(vec![need("b", &[">= 1.0", "<< 3"]), need("a", &["= 2"]), need("c", &["== 4"])])
        );
        assert_eq!(shown("a (1.0)"), Err(DependsError("1.0)".into())));
        assert_eq!(shown("a ()"), Err(DependsError(")".into())));
    }
}
