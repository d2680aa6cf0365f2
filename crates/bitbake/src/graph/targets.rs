//! What users call targets, as BitBake understands it: `NAME`, `NAME:do_TASK`, `mc:CONFIGURATION:NAME`, `mc:*:NAME`, `world`, `universe`.

use std::collections::BTreeSet;

use super::providers::{Item, Universe};
use super::tasks::full_task_name;
use crate::error::{Error, Result};
use crate::recipe::in_multiconfig;

/// A target: an item, with its configuration as [`Universe`] writes it, and a task.
pub type Target = (String, String);

impl Universe {
    /// The targets that words mean; `task` is meant where a word names none, `BB_DEFAULT_TASK` where that is none either.
    ///
    /// After a name, `:do_TASK` names a task, and so does `:TASK`, which BitBake does not take.
    pub fn targets(&mut self, words: &[String], task: Option<&str>) -> Result<Vec<Target>> {
        let task = match task {
            Some(task) => full_task_name(task),
            None => full_task_name(&self.setting(0, "BB_DEFAULT_TASK")?.unwrap_or_else(|| "build".to_owned())),
        };
        let mut names: Vec<String> = Vec::new();
        let mut late = Vec::new();
        for word in words {
            match word.as_str() {
                "world" => {
                    for own in 0..self.configurations.len() {
                        let world = self.world(own, Some(&task));
                        late.extend(world.iter().map(|name| in_multiconfig(&self.configurations[own].name, name)));
                    }
                }
                "universe" => {
                    for (own, configuration) in self.configurations.iter().enumerate() {
                        let all = self.everything(own, &task);
                        late.extend(all.into_iter().map(|name| in_multiconfig(&configuration.name, &name)));
                    }
                }
                _ => names.push(word.replacen("multiconfig:", "mc:", usize::from(word.starts_with("multiconfig:")))),
            }
        }
        names.extend(late);
        Ok(self.wildcards(names)?.into_iter().map(|name| target(&name, &task)).collect())
    }

    /// Replaces `mc:*:NAME` by the same of every configuration; the default one is meant only if no other target is plain.
    fn wildcards(&self, names: Vec<String>) -> Result<Vec<String>> {
        let (mut all, mut default, mut plain, mut wild) = (Vec::new(), None, false, false);
        for name in names {
            let parts: Vec<&str> = name.split(':').collect();
            if parts[0] != "mc" || parts.len() < 3 {
                plain = true;
                all.push(name);
                continue;
            }
            if wild {
                return Err(Error::Fatal(format!("{name}: no target of a configuration may follow one of all (mc:*)")));
            }
            if parts[1] == "*" {
                wild = true;
                for own in self.configurations.iter().filter(|own| !own.name.is_empty()) {
                    all.push(name.replace('*', &own.name));
                }
                default = Some(parts[2].to_owned());
            } else {
                all.push(name);
            }
        }
        all.extend(default.filter(|_| !plain));
        Ok(all)
    }

    /// What `universe` builds: every recipe, if one that provides its name has the task.
    fn everything(&self, configuration: usize, task: &str) -> Vec<String> {
        let names: BTreeSet<&String> = self.of_configuration(configuration).map(|(_, recipe)| &recipe.name).collect();
        let has_task = |name: &&String| {
            let providers = self.all_providers(Item { configuration, name });
            providers.iter().any(|index| self.recipes[*index].tasks.tasks.iter().any(|own| own.as_str() == task))
        };
        names.into_iter().filter(has_task).cloned().collect()
    }
}

fn target(word: &str, task: &str) -> Target {
    let start = match word.strip_prefix("mc:").and_then(|rest| rest.find(':')) {
        Some(end) => "mc:".len() + end + 1,
        None => 0,
    };
    let (name, own) = match word[start..].split_once(":do_") {
        Some((name, own)) => (name, Some(own)),
        None => word[start..].split_once(':').map_or((&word[start..], None), |(name, own)| (name, Some(own))),
    };
    (format!("{}{name}", &word[..start]), own.map_or_else(|| task.to_owned(), full_task_name))
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn words_are_taken_apart() {
        let cases = [
            ("zlib", "zlib", "do_build"),
            ("zlib:do_compile", "zlib", "do_compile"),
            ("zlib:compile", "zlib", "do_compile"),
            ("zlib:do_compile-", "zlib", "do_compile-"),
            ("mc:a:zlib", "mc:a:zlib", "do_build"),
            ("mc:a:virtual/x:do_fetch", "mc:a:virtual/x", "do_fetch"),
            ("mc::zlib", "mc::zlib", "do_build"),
        ];
        for (word, name, task) in cases {
            assert_eq!(target(word, "do_build"), (name.to_owned(), task.to_owned()), "{word}");
        }
    }
}
