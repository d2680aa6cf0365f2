//! What of the user's environment enters the metadata.

/// Variables that enter, and are exported to tasks.
const EXPORTED: [&str; 9] = ["BB_TASKHASH", "HOME", "LOGNAME", "PATH", "PWD", "SHELL", "USER", "LC_ALL", "BBSERVER"];
/// Variables that enter, and are not.
const PRESERVED: [&str; 3] = ["BBPATH", "BB_PRESERVE_ENV", "BB_ENV_PASSTHROUGH_ADDITIONS"];

/// The variables that enter the metadata: name, value, whether it is exported.
pub(super) fn approved(environment: &[(String, String)]) -> Vec<(String, String, bool)> {
    let get = |name: &str| environment.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    let mut names: Vec<&str> = Vec::new();
    let everything = get("BB_PRESERVE_ENV").is_some();
    if let Some(list) = get("BB_ENV_PASSTHROUGH") {
        names.extend(list.split_whitespace());
        names.push("BB_ENV_PASSTHROUGH");
    } else {
        names.extend(PRESERVED);
        names.extend(EXPORTED);
    }
    if let Some(list) = get("BB_ENV_PASSTHROUGH_ADDITIONS") {
        names.extend(list.split_whitespace());
        names.push("BB_ENV_PASSTHROUGH_ADDITIONS");
    }
    let wanted = environment.iter().filter(|(name, _)| everything || names.contains(&name.as_str()));
    wanted.map(|(name, value)| (name.clone(), value.clone(), EXPORTED.contains(&name.as_str()))).collect()
}

/// Whether two environments differ in what enters the metadata, or in where its configuration is looked for.
pub(crate) fn enters_metadata(old: &[(String, String)], new: &[(String, String)]) -> bool {
    let entering = |environment: &[(String, String)]| {
        let mut entering = approved(environment);
        let path = environment.iter().find(|(name, _)| name == "BBPATH");
        entering.extend(path.map(|(name, value)| (name.clone(), value.clone(), false)));
        entering.sort_unstable();
        entering
    };
    entering(old) != entering(new)
}

#[cfg(test)]
mod tests {
    use super::approved;

    #[test]
    fn only_known_names_enter() {
        let environment: Vec<(String, String)> =
            [("PATH", "/bin"), ("EDITOR", "vi"), ("OECORE", "/o"), ("BB_ENV_PASSTHROUGH_ADDITIONS", "OECORE")]
                .map(|(n, v)| (n.into(), v.into()))
                .into();
        let names: Vec<_> = approved(&environment).into_iter().map(|(name, _, exported)| (name, exported)).collect();
        assert_eq!(
            names,
            [("PATH".into(), true), ("OECORE".into(), false), ("BB_ENV_PASSTHROUGH_ADDITIONS".into(), false)]
        );
    }
}
