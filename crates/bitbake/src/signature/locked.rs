//! Locked signatures (`SIGGEN_LOCKEDSIGS_…`, `SIGGEN_UNIHASHMAP`), as openembedded-core's generators apply them.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

/// A hash that a configuration locks a task to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The hash that stands for whatever is computed.
    pub hash: String,
    /// The variable that says so.
    pub variable: String,
}

/// What to do about tasks whose computed hash is not the locked one: `SIGGEN_LOCKEDSIGS_TASKSIG_CHECK`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockCheck {
    /// Nothing.
    #[default]
    Ignore,
    /// A note of what is locked, and warnings.
    Info,
    /// Warnings.
    Warn,
    /// Errors.
    Error,
}

impl LockCheck {
    /// From the variable's text.
    pub fn named(text: &str) -> Self {
        match text {
            "info" => Self::Info,
            "warn" => Self::Warn,
            "error" => Self::Error,
            _ => Self::Ignore,
        }
    }
}

/// A word of one of the variables that has another form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {word} is not {form}")]
pub struct LockError {
    variable: String,
    word: String,
    form: &'static str,
}

/// The locked signatures of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    /// Recipe → task → lock.
    by_recipe: HashMap<String, HashMap<String, Lock>>,
    /// Recipes whose locks do not count; grows while a graph is hashed.
    unlocked: BTreeSet<String>,
    /// (recipe, task) → a taskhash and the unified hash that stands for it.
    unified: HashMap<(String, String), (String, String)>,
}

impl Locks {
    /// From `SIGGEN_LOCKEDSIGS_TYPES`' variables with their names, `SIGGEN_UNLOCKED_RECIPES` and `SIGGEN_UNIHASHMAP`.
    ///
    /// # Errors
    ///
    /// Where a word lacks a part.
    pub fn new(variables: &[(String, String)], unlocked: &str, unified: &str) -> Result<Self, LockError> {
        let mut locks = Self { unlocked: unlocked.split_whitespace().map(str::to_owned).collect(), ..Self::default() };
        for (variable, text) in variables {
            for word in text.split_whitespace() {
                let mut parts = word.splitn(3, ':');
                let (Some(recipe), Some(task), Some(hash)) = (parts.next(), parts.next(), parts.next()) else {
                    let (variable, word) = (variable.clone(), word.to_owned());
                    return Err(LockError { variable, word, form: "RECIPE:TASK:HASH" });
                };
                let lock = Lock { hash: hash.to_owned(), variable: variable.clone() };
                locks.by_recipe.entry(recipe.to_owned()).or_default().insert(task.to_owned(), lock);
            }
        }
        for word in unified.split_whitespace() {
            let parts: Vec<&str> = word.split(':').collect();
            let [recipe, task, taskhash, unihash] = parts.as_slice() else {
                let (variable, word) = ("SIGGEN_UNIHASHMAP".to_owned(), word.to_owned());
                return Err(LockError { variable, word, form: "RECIPE:TASK:TASKHASH:UNIHASH" });
            };
            let key = ((*recipe).to_owned(), (*task).to_owned());
            locks.unified.insert(key, ((*taskhash).to_owned(), (*unihash).to_owned()));
        }
        Ok(locks)
    }

    /// The lock of a task, unless its recipe is unlocked or a recipe it directly depends on is, which unlocks it too.
    ///
    /// `depends` names the recipes of the same configuration that the task depends on. As in BitBake, a recipe counts as unlocked
    /// already if an unlocked one's name is part of its own.
    pub fn of_task<'a>(
        &mut self,
        recipe: &str,
        task: &str,
        mut depends: impl Iterator<Item = &'a str>,
    ) -> Option<Lock> {
        if self.unlocked.contains(recipe) {
            return None;
        }
        if depends.any(|name| self.unlocked.iter().any(|unlocked| name.contains(unlocked.as_str()))) {
            self.unlocked.insert(recipe.to_owned());
            return None;
        }
        self.by_recipe.get(recipe)?.get(task).cloned()
    }

    /// The unified hash that `SIGGEN_UNIHASHMAP` gives a task with this taskhash.
    pub fn unified(&self, recipe: &str, task: &str, taskhash: &str) -> Option<&str> {
        let (known, unified) = self.unified.get(&(recipe.to_owned(), task.to_owned()))?;
        (known == taskhash).then_some(unified)
    }

    /// The recipes that have locks.
    pub fn recipes(&self) -> BTreeSet<&str> {
        self.by_recipe.keys().map(String::as_str).collect()
    }
}

/// A task to lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockedTask {
    /// The architecture that its shared state is kept under, with dashes.
    pub architecture: String,
    /// The recipe's name.
    pub recipe: String,
    /// BitBake's name of the task.
    pub id: String,
    /// The task.
    pub task: String,
    /// The computed hash.
    pub taskhash: String,
    /// The hash to lock it to.
    pub unihash: String,
}

/// The text of `locked-sigs.inc`: what [`Locks`] reads back when a configuration includes it.
// Writing to a `String` cannot fail.
pub fn locked_text(mut tasks: Vec<LockedTask>, machine: &str) -> String {
    tasks.sort_by(|a, b| (&a.architecture, &a.recipe, &a.id).cmp(&(&b.architecture, &b.recipe, &b.id)));
    let mut text = String::new();
    let mut types: Vec<String> = Vec::new();
    for of_type in tasks.chunk_by(|a, b| a.architecture == b.architecture) {
        let name = format!("t-{}", of_type[0].architecture);
        let _ = writeln!(text, "SIGGEN_LOCKEDSIGS_{name} = \"\\");
        for LockedTask { recipe, task, unihash, .. } in of_type {
            let _ = writeln!(text, "    {recipe}:{task}:{unihash} \\");
        }
        text += "    \"\n";
        types.push(name);
    }
    let _ = write!(text, "SIGGEN_LOCKEDSIGS_TYPES:{machine} = \"{}\"\nSIGGEN_UNIHASHMAP += \"\\\n", types.join(" "));
    tasks.retain(|task| task.taskhash != task.unihash);
    tasks.sort_by(|a, b| a.recipe.cmp(&b.recipe));
    for LockedTask { recipe, task, taskhash, unihash, .. } in &tasks {
        let _ = writeln!(text, "    {recipe}:{task}:{taskhash}:{unihash} \\");
    }
    text + "    \"\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_locked_is_read_back() {
        let task = |recipe: &str, task: &str, taskhash: &str, unihash: &str| LockedTask {
            architecture: "x86-64".into(),
            recipe: recipe.into(),
            id: format!("/l/{recipe}.bb:{task}"),
            task: task.into(),
            taskhash: taskhash.into(),
            unihash: unihash.into(),
        };
        let text = locked_text(vec![task("b", "do_x", "33", "33"), task("a", "do_y", "22", "44")], "board");
        assert_eq!(
            text,
            "SIGGEN_LOCKEDSIGS_t-x86-64 = \"\\\n    a:do_y:44 \\\n    b:do_x:33 \\\n    \"\n\
             SIGGEN_LOCKEDSIGS_TYPES:board = \"t-x86-64\"\n\
             SIGGEN_UNIHASHMAP += \"\\\n    a:do_y:22:44 \\\n    \"\n"
        );
        let read = crate::syntax::parse(&text, &crate::syntax::Dialect::Conf { base: false });
        assert_eq!((read.errors.len(), read.statements.len()), (0, 3));
    }

    fn locks(unlocked: &str) -> Locks {
        let variables = [("SIGGEN_LOCKEDSIGS_t-x".to_owned(), "a:do_x:11 a:do_y:2:2\n b:do_x:33".to_owned())];
        Locks::new(&variables, unlocked, "a:do_x:t1:u1").expect("the words are whole")
    }

    #[test]
    fn a_lock_holds_until_the_recipe_is_unlocked() {
        let mut all = locks("");
        let lock = all.of_task("a", "do_y", ["b"].into_iter()).expect("a lock");
        assert_eq!((lock.hash.as_str(), lock.variable.as_str()), ("2:2", "SIGGEN_LOCKEDSIGS_t-x"));
        assert_eq!(all.of_task("a", "do_z", std::iter::empty()), None);
        assert_eq!(all.recipes().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        let mut some = locks("b");
        assert!(some.of_task("a", "do_x", ["c"].into_iter()).is_some());
        assert_eq!(some.of_task("a", "do_x", ["lib-b"].into_iter()), None);
        assert_eq!(some.of_task("a", "do_y", std::iter::empty()), None, "the recipe is unlocked from now on");
    }

    #[test]
    fn unified_hashes_stand_for_one_taskhash() {
        let all = locks("");
        assert_eq!(all.unified("a", "do_x", "t1"), Some("u1"));
        assert_eq!(all.unified("a", "do_x", "t2"), None);
    }

    #[test]
    fn words_that_lack_a_part_are_named() {
        let error = Locks::new(&[("V".to_owned(), "a:do_x".to_owned())], "", "").expect_err("no hash");
        assert_eq!(error.to_string(), "V: a:do_x is not RECIPE:TASK:HASH");
        let error = Locks::new(&[], "", "a:b:c").expect_err("no unified hash");
        assert_eq!(error.to_string(), "SIGGEN_UNIHASHMAP: a:b:c is not RECIPE:TASK:TASKHASH:UNIHASH");
    }
}
