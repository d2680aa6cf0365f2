//! "Did you mean".

/// The candidate most like `word`, if one is like enough to be meant.
pub(crate) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|&(distance, candidate)| distance <= allowed || (lower.len() >= 3 && candidate.starts_with(&lower)))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// A hint made of the closest candidate, or else of all of them if they are few.
pub(crate) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const FEW: usize = 30;
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(closest) = closest(word, candidates.iter().copied()) {
        return Some(format!("did you mean `{closest}`?"));
    }
    if candidates.is_empty() || candidates.len() > FEW {
        return None;
    }
    Some(format!("there are {}", candidates.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_near_and_nothing_else() {
        assert_eq!(closest("dependancies", ["dependencies", "depends_on"]), Some("dependencies"));
        assert_eq!(closest("out", ["output_dir", "name"]), Some("output_dir"));
        assert_eq!(closest("zzz", ["output_dir", "name"]), None);
    }
}
