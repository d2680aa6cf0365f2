//! The world of a configuration, and recipes whose needs depend on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::providers::{Item, Universe};
use crate::data::{Origin, Store};
use crate::error::Result;
use crate::{Sym, Text, Value};

/// Calls a recipe's function with what it asks for by name; it appends to `deps`.
const CALL: &str = "
def extra_depends(d):
    import collections
    deps = list(d.getVar('deps', False))
    names = collections.defaultdict(list, d.getVar('pkg_pn', False))
    calculate_extra_depends(deps, set(d.getVar('world_target', False)), names, d.getVar('self_pn', False))
    d.setVar('deps', deps)
";

impl Universe {
    /// What `world` builds: the recipes that say nothing against it (`EXCLUDE_FROM_WORLD`), provide nothing virtual, and nothing that
    /// another recipe provides, too. The first who asks says whether they must have a task.
    pub(super) fn world(&mut self, configuration: usize, task: Option<&str>) -> Arc<BTreeSet<String>> {
        if let Some(known) = self.configurations[configuration].world.as_ref().filter(|world| !world.is_empty()) {
            return Arc::clone(known);
        }
        let mut found = BTreeSet::new();
        for (_, recipe) in self.of_configuration(configuration).filter(|(_, recipe)| !recipe.not_world) {
            let alone = |item: &String| {
                let item = Item { configuration, name: item };
                !item.name.starts_with("virtual/")
                    && self.all_providers(item).iter().all(|other| self.recipes[*other].name == recipe.name)
            };
            let has_task = task.is_none_or(|task| recipe.tasks.tasks.iter().any(|own| own.as_str() == task));
            if has_task && self.provided_by(configuration, &recipe.name).iter().all(alone) {
                found.insert(recipe.name.clone());
            }
        }
        let found = Arc::new(found);
        self.is_used_up = true;
        self.configurations[configuration].world = Some(Arc::clone(&found));
        found
    }

    /// Lets a recipe's `calculate_extra_depends` add to what the recipe needs.
    pub(super) fn add_extra_depends(&mut self, recipe: usize) -> Result<()> {
        let own = Arc::clone(&self.recipes[recipe]);
        let Some(body) = &own.extra_depends else { return Ok(()) };
        self.is_used_up = true;
        let configuration = self.configuration_of(recipe);
        let world = self.world(configuration, None);
        let texts = |items: &mut dyn Iterator<Item = &String>| {
            Value::List(Arc::new(items.map(|item| item.as_str().into()).collect()))
        };
        let mut files: Vec<(Value, Value)> = Vec::new();
        let names: BTreeSet<&String> = self.of_configuration(configuration).map(|(_, recipe)| &recipe.name).collect();
        for name in names {
            let mut paths =
                self.of_configuration(configuration).filter(|(_, recipe)| recipe.name == *name).map(|(_, r)| &r.file);
            files.push((name.as_str().into(), texts(&mut paths)));
        }
        let mut store = Store::new(false);
        for (var, value) in [
            ("deps", texts(&mut own.depends.iter())),
            ("world_target", texts(&mut world.iter())),
            ("pkg_pn", Value::Dict(Arc::new(files))),
            ("self_pn", own.name.as_str().into()),
        ] {
            store.set(&mut self.session, Sym::new(var), value, Origin::internal())?;
        }
        let parameters = "deps, world_target, pkg_pn, self_pn";
        let text: Text = format!("def calculate_extra_depends({parameters}):\n{body}\n{CALL}").into();
        self.session.run(&mut store, Sym::new("extra_depends"), &text, Sym::new(&own.path), 0)?;
        let depends = match store.get_raw(&mut self.session, Sym::new("deps"))? {
            Some(Value::List(items)) => items.iter().map(|item| item.to_text().to_string()).collect(),
            _ => Vec::new(),
        };
        Arc::make_mut(&mut self.recipes[recipe]).depends = depends;
        Ok(())
    }
}
