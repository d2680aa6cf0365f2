//! Which dependencies between tasks enter a taskhash: openembedded-core's rules (`sstatesig.py`), which leave out what is known not
//! to change a task's result.

use std::collections::{HashMap, HashSet};

/// What the rules ask of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct RecipeFacts {
    /// `PN`.
    pub name: String,
    /// The multiconfig it was parsed for; empty for the default one.
    pub multiconfig: String,
    /// It inherits `kernel` or `module-base`.
    pub kernel: bool,
    /// It inherits both `packagegroup` and `allarch`.
    pub allarch_packagegroup: bool,
    /// It inherits `image`.
    pub image: bool,
    /// One of its packages recommends a `kernel-module-…`.
    pub recommends_kernel_modules: bool,
}

impl RecipeFacts {
    /// From the files it inherits and the names its packages recommend.
    pub fn new<'a>(
        name: &str,
        multiconfig: &str,
        inherits: impl IntoIterator<Item = &'a str>,
        recommends: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut facts = Self { name: name.to_owned(), multiconfig: multiconfig.to_owned(), ..Self::default() };
        let (mut packagegroup, mut allarch) = (false, false);
        for file in inherits {
            facts.kernel |= file.contains("/module-base.bbclass") || file.contains("/kernel.bbclass");
            facts.image |= file.contains("/image.bbclass");
            packagegroup |= file.contains("/packagegroup.bbclass");
            allarch |= file.contains("/allarch.bbclass");
        }
        facts.allarch_packagegroup = packagegroup && allarch;
        facts.recommends_kernel_modules = recommends.into_iter().any(|name| name.contains("kernel-module-"));
        facts
    }

    /// Built for the build machine or the SDK, not for the target.
    fn not_target(&self) -> bool {
        self.name.ends_with("-native") || self.name.contains("-cross-") || self.name.starts_with("nativesdk-")
    }
}

/// The configuration's part of the rules.
#[derive(Clone, Debug, Default)]
pub struct Pruning {
    /// `SIGGEN_EXCLUDERECIPES_ABISAFE`: recipes whose changes no other recipe's result shows.
    stable: HashSet<String>,
    /// `SIGGEN_EXCLUDE_SAFE_RECIPE_DEPS`: dependency → recipes, `*` for any recipe.
    safe: HashMap<String, HashSet<String>>,
}

impl Pruning {
    /// From the two variables; `provider` translates `virtual/…` names to the recipe that provides them in this build.
    pub fn new(stable: &str, safe: &str, provider: impl Fn(&str) -> Option<String>) -> Self {
        let resolved = |name: &str| provider(name).unwrap_or_else(|| name.to_owned());
        let mut pairs: HashMap<String, HashSet<String>> = HashMap::new();
        for (recipe, dependency) in safe.split_whitespace().filter_map(|pair| pair.split_once("->")) {
            pairs.entry(resolved(dependency)).or_default().insert(resolved(recipe));
        }
        Self { stable: stable.split_whitespace().map(resolved).collect(), safe: pairs }
    }

    /// Whether a dependency enters the hash of a task.
    pub fn keeps(&self, recipe: &RecipeFacts, task: &str, dependency: &RecipeFacts, dependency_task: &str) -> bool {
        if task == "do_rm_work" {
            return false;
        }
        if recipe.name == dependency.name && recipe.multiconfig == dependency.multiconfig {
            return !(task == "do_kernel_configme" && dependency_task == "do_unpack_and_patch");
        }
        if let Some(safe) = self.safe.get(&dependency.name)
            && (safe.contains(&recipe.name) || (recipe.name != dependency.name && safe.contains("*")))
        {
            return false;
        }
        if recipe.not_target() {
            return true;
        }
        if recipe.allarch_packagegroup && !dependency.name.ends_with("-native") {
            return false;
        }
        if self.stable.contains(&dependency.name) && !recipe.image {
            return false;
        }
        !(dependency.kernel && !recipe.kernel && recipe.recommends_kernel_modules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &str, classes: &[&str], recommends: &[&str]) -> RecipeFacts {
        let files: Vec<String> = classes.iter().map(|class| format!("/m/classes/{class}.bbclass")).collect();
        RecipeFacts::new(name, "", files.iter().map(String::as_str), recommends.iter().copied())
    }

    #[test]
    fn each_rule_has_its_case() {
        let provider = |name: &str| (name == "virtual/kernel").then(|| "linux-yocto".to_owned());
        let pruning = Pruning::new("base-files virtual/kernel", "*->quilt-native a->b c->virtual/kernel", provider);
        let keeps = |recipe: &RecipeFacts, task: &str, dependency: &RecipeFacts, other: &str| {
            pruning.keeps(recipe, task, dependency, other)
        };
        let plain = |name: &str| facts(name, &[], &[]);
        let kernel = facts("linux-yocto", &["kernel"], &[]);
        assert!(keeps(&plain("a"), "do_compile", &plain("c"), "do_x"));
        assert!(!keeps(&plain("a"), "do_rm_work", &plain("a"), "do_x"));
        assert!(keeps(&plain("a"), "do_compile", &plain("a"), "do_unpack_and_patch"));
        assert!(!keeps(&plain("a"), "do_kernel_configme", &plain("a"), "do_unpack_and_patch"));
        assert!(!keeps(&plain("a"), "do_compile", &plain("b"), "do_x"));
        assert!(!keeps(&plain("x-native"), "do_patch", &plain("quilt-native"), "do_x"));
        assert!(keeps(&plain("x-native"), "do_patch", &plain("base-files"), "do_x"));
        assert!(!keeps(&plain("x"), "do_patch", &plain("base-files"), "do_x"));
        assert!(keeps(&facts("img", &["image"], &[]), "do_rootfs", &plain("base-files"), "do_x"));
        let group = facts("packagegroup-x", &["packagegroup", "allarch"], &[]);
        assert!(!keeps(&group, "do_package", &plain("c"), "do_x"));
        assert!(keeps(&group, "do_package", &plain("c-native"), "do_x"));
        let pruning = Pruning::default();
        assert!(!pruning.keeps(&facts("x", &[], &["kernel-module-y"]), "do_z", &kernel, "do_x"));
        assert!(pruning.keeps(&facts("x", &["module-base"], &["kernel-module-y"]), "do_z", &kernel, "do_x"));
        assert!(pruning.keeps(&plain("x"), "do_z", &kernel, "do_x"));
    }
}
