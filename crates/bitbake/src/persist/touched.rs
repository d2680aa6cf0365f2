//! Places that changed, and what that means for what is known.

use std::path::{Path, PathBuf};

use rustc_hash::FxHashSet;

use super::cache::Cache;
use super::fact::{Answer, Fact, Look, Places};
use super::seen::{Kind, Seen};
use crate::Sym;
use crate::config::RecipeFile;

/// Commands of Git whose answer depends on the files of a checkout, not on its commits alone.
const OF_FILES: [&str; 3] = ["diff", "ls-files", "status"];

/// Paths of which something changed: content, attributes, or whether they are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    paths: FxHashSet<String>,
    /// The directories they lie in.
    above: FxHashSet<String>,
    /// Those of the paths below which anything may have changed, too.
    trees: Vec<String>,
}

impl Touched {
    /// Nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Of absolute paths. `None` where one is no text: who knows what it means.
    ///
    /// What was a directory (`was_directory`), or is not a plain file, may have changed as a whole.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>, was_directory: impl Fn(&Path) -> bool) -> Option<Self> {
        let mut touched = Self::default();
        for path in paths {
            let text = path.to_str()?.to_owned();
            if was_directory(&path) || !path.symlink_metadata().is_ok_and(|found| found.is_file()) {
                touched.trees.push(text.clone());
            }
            touched.above.extend(path.parent().and_then(Path::to_str).map(str::to_owned));
            touched.paths.insert(text);
        }
        Some(touched)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(Path::new)
    }

    /// Those below which anything may have changed.
    pub(crate) fn trees(&self) -> impl Iterator<Item = &Path> {
        self.trees.iter().map(Path::new)
    }

    /// Whether what a fact is about may be another.
    pub(crate) fn touches(&self, fact: &Fact) -> bool {
        let what = fact.what.as_str();
        if fact.kind == Kind::Program {
            return self.touches_program(what);
        }
        if !fact.is_about_a_path() {
            return false;
        }
        let listed = matches!(fact.kind, Kind::Listing);
        if what.ends_with('/') || what.contains("//") || what.contains("/./") {
            let plain: PathBuf = Path::new(what).components().collect();
            return plain.to_str().is_none_or(|plain| self.touches_path(plain, listed));
        }
        self.touches_path(what, listed)
    }

    fn touches_path(&self, path: &str, listed: bool) -> bool {
        let below = |tree: &String| path.strip_prefix(tree.as_str()).is_some_and(|rest| rest.starts_with('/'));
        self.paths.contains(path) || (listed && self.above.contains(path)) || self.trees.iter().any(below)
    }

    /// Whether what a command of Git says (directory, program, arguments) depends on the files of the checkout.
    pub(crate) fn is_of_files(words: &[String]) -> bool {
        let arguments = words.get(2..).unwrap_or_default();
        arguments.first().is_none_or(|command| OF_FILES.contains(&command.as_str()))
            || arguments.iter().any(|argument| argument.starts_with("--dirty") || argument.starts_with("--broken"))
    }

    /// Whether Git may answer something else: all its commands look at what `.git` holds, a few at the files of the checkout.
    fn touches_program(&self, command: &str) -> bool {
        let Ok(words) = serde_json::from_str::<Vec<String>>(command) else { return true };
        let [directory, ..] = words.as_slice() else { return true };
        let of_files = Self::is_of_files(&words);
        let directory = Path::new(directory);
        let top = directory.ancestors().find(|above| above.join(".git").exists());
        self.paths().any(|path| {
            if path.file_name().is_some_and(|name| name == ".git" || name == ".gitconfig")
                || directory.starts_with(path)
            {
                return true;
            }
            let mut parts = path.components().skip_while(|part| part.as_os_str() != ".git").skip(1);
            match parts.next() {
                Some(part) if part.as_os_str() == "index" => of_files,
                Some(part) => part.as_os_str() != "objects" && part.as_os_str() != "index.lock",
                None if path.ends_with("git/config") => true,
                None => of_files && top.is_some_and(|top| path.starts_with(top)),
            }
        })
    }
}

impl Cache {
    /// Looks again at what is about touched places, and forgets the recipes for which something is other than it was. Returns what
    /// changed.
    pub(crate) fn check_touched(&mut self, touched: &Touched) -> Vec<Seen> {
        let mut places = Places::default();
        let mut changed: FxHashSet<u32> = FxHashSet::default();
        for (at, fact) in (0..).zip(&mut self.facts) {
            if !touched.touches(fact) {
                continue;
            }
            match fact.look(&self.environment, &mut places) {
                Look::Same => {}
                Look::Touched(answer) => {
                    fact.answer = answer;
                    self.stale = true;
                }
                Look::Changed => {
                    changed.insert(at);
                }
            }
        }
        if changed.is_empty() {
            return Vec::new();
        }
        self.stale = true;
        self.began = buildnet_digest::stat::now_ns();
        if self.common.iter().any(|fact| changed.contains(fact)) {
            self.recipes.clear();
            self.common.clear();
        }
        self.recipes.retain(|_, known| !known.entry.facts.iter().any(|fact| changed.contains(fact)));
        // Whoever looks again notes what is now, under another number.
        let gone = |at: u32| {
            let nothing = Seen { kind: Kind::Setting, what: Sym::new(""), answer: Sym::new("") };
            let nothing =
                Fact { kind: nothing.kind, what: nothing.what, told: nothing.answer, answer: Answer::Unknown };
            let seen = std::mem::replace(&mut self.facts[at as usize], nothing).seen();
            self.index.remove(&seen);
            seen
        };
        changed.into_iter().map(gone).collect()
    }

    /// Forgets recipes that are no longer listed.
    pub(crate) fn keep_listed(&mut self, recipes: &[RecipeFile]) {
        let listed: FxHashSet<_> = recipes.iter().map(super::cache::key).collect();
        let before = self.recipes.len();
        self.recipes.retain(|recipe, _| listed.contains(recipe));
        self.stale |= self.recipes.len() != before;
    }

    /// What reading a recipe looked at.
    pub(crate) fn facts_of(&self, file: &RecipeFile) -> impl Iterator<Item = &Fact> {
        let known = self.recipes.get(&super::cache::key(file));
        known.into_iter().flat_map(|known| &known.entry.facts).map(|at| &self.facts[*at as usize])
    }

    /// Variables of the configuration that do not last, and that some recipe lets count.
    pub(crate) fn counted_settings(&self) -> FxHashSet<Sym> {
        self.recipes.values().flat_map(|known| &known.entry.settings).map(|(name, _)| *name).collect()
    }

    /// Whether anything that recipes looked at is a variable of the environment of which `is_other` holds.
    pub(crate) fn reads_environment(&self, is_other: impl Fn(&str) -> bool) -> bool {
        self.facts.iter().any(|fact| fact.kind == Kind::Environment && is_other(fact.what.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(kind: Kind, what: &str) -> Fact {
        Fact { kind, what: Sym::new(what), told: Sym::new(""), answer: Answer::Told }
    }

    #[test]
    fn what_lies_at_or_below_is_touched() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let root = place.path().canonicalize().expect("a directory");
        let file = root.join("d/file");
        std::fs::create_dir_all(root.join("d")).expect("a directory");
        std::fs::write(&file, "").expect("a file");
        let at = |path: &str| root.join(path).display().to_string();
        let touched = Touched::new([file, root.join("new")], |_| false).expect("plain paths");
        assert!(touched.touches(&fact(Kind::Content, &at("d/file"))));
        assert!(touched.touches(&fact(Kind::Exists, &at("d//./file"))));
        assert!(touched.touches(&fact(Kind::Listing, &at("d"))));
        assert!(!touched.touches(&fact(Kind::Type, &at("d"))));
        assert!(!touched.touches(&fact(Kind::Exists, &at("d/file/below"))), "nothing lies below a file");
        assert!(touched.touches(&fact(Kind::Exists, &at("new/below"))), "it may have been a directory");
        assert!(!touched.touches(&fact(Kind::Exists, &at("newer"))));
    }

    #[test]
    fn git_is_asked_again_for_what_it_looks_at() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let root = place.path().canonicalize().expect("a directory");
        std::fs::create_dir_all(root.join(".git/refs")).expect("a directory");
        let command = |words: &[&str]| {
            let words: Vec<String> = [root.join("meta").display().to_string(), "git".to_owned()]
                .into_iter()
                .chain(words.iter().map(|word| (*word).to_owned()))
                .collect();
            fact(Kind::Program, &serde_json::to_string(&words).expect("text"))
        };
        let (head, dirty, diff) = (
            command(&["rev-parse", "HEAD"]),
            command(&["describe", "--tags", "--dirty"]),
            command(&["diff", "--quiet"]),
        );
        for (path, expected) in [
            (".git/HEAD", [true, true, true]),
            (".git/refs/heads/x", [true, true, true]),
            (".git/index", [false, true, true]),
            (".git/objects/aa", [false, false, false]),
            ("meta/a.bb", [false, true, true]),
            (".git", [true, true, true]),
        ] {
            let touched = Touched::new([root.join(path)], |_| false).expect("a plain path");
            assert_eq!([&head, &dirty, &diff].map(|fact| touched.touches(fact)), expected, "{path}");
        }
        let elsewhere = Touched::new([PathBuf::from("/elsewhere/a.bb")], |_| false).expect("a plain path");
        assert!(!elsewhere.touches(&diff));
    }
}
