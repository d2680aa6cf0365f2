//! Carrying out one statement.

use super::files::{Reader, defer, list, text_value};
use crate::data::{Definition, Lookup, Origin, Store};
use crate::error::{Error, Result};
use crate::syntax::{Assignment, Function, Operator, Statement, StatementKind};
use crate::{Sym, Text, Value};

/// Marks functions that `EXPORT_FUNCTIONS` wrote: the marker is part of the text, and so of hashes.
const EXPORTED: &str = "    # Export function set\n";

fn one() -> Value {
    Value::Int(1)
}

impl Reader<'_> {
    pub(super) fn statement(&mut self, store: &mut Store, file: Sym, statement: &Statement) -> Result<()> {
        let origin = Origin { file, line: statement.line };
        match &statement.kind {
            StatementKind::Assign(assignment) => self.assign(store, assignment, origin),
            StatementKind::Function(function) => self.function(store, function, file, statement.line),
            StatementKind::Def { name, text, lines, digest } => self.def(store, *name, text, (*lines, *digest), origin),
            StatementKind::Include { files, required } => {
                self.include(store, file, files, statement.line, required.then_some("include required"))
            }
            StatementKind::IncludeAll(name) => {
                let name = store.expand(self.session, name)?;
                let path = store.get_text(self.session, "BBPATH")?.unwrap_or_default();
                for directory in path.split(':') {
                    self.include(store, file, &super::files::join(directory, &name), statement.line, None)?;
                }
                Ok(())
            }
            StatementKind::Inherit(classes) => self.inherit(store, classes, file, statement.line, false),
            StatementKind::InheritDefer(classes) => defer(store, self.session, classes, file, statement.line),
            StatementKind::Export(var) => {
                store.set_flag_as(self.session, *var, Sym::new("export"), one(), "exported", None, origin)
            }
            StatementKind::Unset(var) => {
                store.delete(*var, origin);
                Ok(())
            }
            StatementKind::UnsetFlag(var, flag) => {
                store.delete_flag(*var, *flag, origin);
                Ok(())
            }
            StatementKind::ExportFunctions { names, class } => {
                names.iter().try_for_each(|name| self.export_function(store, *name, class, origin))
            }
            StatementKind::AddTask { tasks, before, after } => {
                tasks.split_whitespace().try_for_each(|task| self.add_task(store, task, before, after))
            }
            StatementKind::DelTask(tasks) => {
                let tasks = store.expand(self.session, tasks)?;
                tasks.split_whitespace().try_for_each(|task| self.delete_task(store, task))
            }
            StatementKind::AddHandler(names) => self.add_handlers(store, names, origin),
            StatementKind::AddPylib { directory, namespace } => {
                let directory = store.expand(self.session, directory)?;
                let modules = store.get_words(self.session, "BB_GLOBAL_PYMODULES")?;
                self.session.add_library(&directory, namespace, modules)
            }
            StatementKind::AddFragments(parts) => self.add_fragments(store, file, parts, origin),
        }
    }

    /// The value an assignment starts from: raw, without weak defaults.
    fn current(&mut self, store: &mut Store, assignment: &Assignment) -> Result<Option<Value>> {
        let how = match assignment.flag {
            Some(_) => Lookup { no_weak_default: true, ..Lookup::default() },
            None => Lookup { no_weak_default: true, parsing: true, ..Lookup::default() },
        };
        Ok(store.lookup(self.session, assignment.var, assignment.flag, how)?.0)
    }

    fn assign(&mut self, store: &mut Store, assignment: &Assignment, origin: Origin) -> Result<()> {
        let Assignment { var, flag, operator, export, value } = assignment;
        if *export {
            store.set_flag_as(self.session, *var, Sym::new("export"), one(), "exported", None, origin)?;
        }
        let written = Value::Str(Text::clone(value));
        let (operation, result) = match operator {
            Operator::Set | Operator::WeakDefault => ("set", written.clone()),
            Operator::Default => ("set?", self.current(store, assignment)?.unwrap_or_else(|| written.clone())),
            Operator::Immediate => ("immediate", Value::Str(store.expand(self.session, value)?)),
            Operator::Append | Operator::Prepend | Operator::AppendDot | Operator::PrependDot => {
                let old = self.current(store, assignment)?.filter(Value::truthy);
                let old = text_value(old);
                match operator {
                    Operator::Append => ("append", format!("{old} {value}").into()),
                    Operator::Prepend => ("prepend", format!("{value} {old}").into()),
                    Operator::AppendDot => ("postdot", format!("{old}{value}").into()),
                    _ => ("predot", format!("{value}{old}").into()),
                }
            }
        };
        self.warn_combination(*var, operation, origin);
        let weak = *operator == Operator::WeakDefault;
        let flag = match flag {
            Some(flag) if weak => Some(Sym::new(&format!("_defaultval_flag_{flag}"))),
            Some(flag) => Some(*flag),
            None => weak.then(|| Sym::new("_defaultval")),
        };
        match flag {
            Some(flag) => store.set_flag_as(self.session, *var, flag, result, operation, Some(written), origin),
            None => store.assign(self.session, *var, result, true, operation, Some(written), origin),
        }
    }

    fn warn_combination(&mut self, var: Sym, operation: &str, origin: Origin) {
        let name = var.as_str();
        if matches!(operation, "append" | "prepend" | "postdot" | "predot")
            && [":append", ":remove", ":prepend"].iter().any(|k| name.contains(k))
        {
            let text = format!(
                "{}:{}: {name} {operation} is not a recommended operator combination, please replace it.",
                origin.file, origin.line
            );
            self.session.messages.push(crate::python::Message { level: 30, text });
        }
    }

    fn function(&mut self, store: &mut Store, function: &Function, file: Sym, line: u32) -> Result<()> {
        let origin = Origin { file, line };
        let Some(name) = function.name else {
            let translated: String =
                file.as_str().chars().map(|c| if "/.+-@%&~".contains(c) { '_' } else { c }).collect();
            let name = Sym::new(&format!("__anon_{line}_{translated}"));
            let text = format!("def {name}(d):\n{}", function.body);
            store.add_anonymous(name, text.into(), file, line.saturating_sub(function.lines + 1));
            return Ok(());
        };
        let raw = store.get_raw(self.session, name)?;
        if raw.is_some_and(|value| value.truthy()) {
            store.delete_flag(name, Sym::new("python"), origin);
            store.delete_flag(name, Sym::new("fakeroot"), origin);
        }
        if function.python {
            store.set_flag(self.session, name, Sym::new("python"), "1".into(), origin)?;
        }
        if function.fakeroot {
            store.set_flag(self.session, name, Sym::new("fakeroot"), "1".into(), origin)?;
        }
        store.set_flag(self.session, name, Sym::new("func"), one(), origin)?;
        store.set_parsing(self.session, name, Value::Str(Text::clone(&function.body)), origin)?;
        store.set_flag(self.session, name, Sym::new("filename"), file.as_str().into(), origin)?;
        let first = line.saturating_sub(function.lines);
        store.set_flag(self.session, name, Sym::new("lineno"), first.to_string().into(), origin)
    }

    fn def(
        &mut self,
        store: &mut Store,
        name: Sym,
        text: &Text,
        (lines, digest): (u32, u64),
        origin: Origin,
    ) -> Result<()> {
        let before = origin.line.saturating_sub(lines + 1);
        store.define(name, Definition { text: Text::clone(text), digest, file: origin.file, line: before });
        store.set_flag(self.session, name, Sym::new("func"), one(), origin)?;
        store.set_flag(self.session, name, Sym::new("python"), one(), origin)?;
        store.set_parsing(self.session, name, Value::Str(Text::clone(text)), origin)?;
        store.set_flag(self.session, name, Sym::new("filename"), origin.file.as_str().into(), origin)?;
        store.set_flag(self.session, name, Sym::new("lineno"), before.to_string().into(), origin)
    }

    fn export_function(&mut self, store: &mut Store, name: Sym, class: &str, origin: Origin) -> Result<()> {
        let called = Sym::new(&format!("{class}_{name}"));
        let existing = store.get_raw(self.session, name)?.filter(Value::truthy);
        if existing.as_ref().is_some_and(|text| !text.to_text().contains(EXPORTED)) {
            return Ok(());
        }
        let flag = |name: &str| Sym::new(name);
        if existing.is_some() {
            store.set_flag(self.session, name, flag("python"), Value::None, origin)?;
            store.set_flag(self.session, name, flag("func"), Value::None, origin)?;
        }
        for copied in ["func", "python"] {
            if let Some(value) = store.flag_raw(called, flag(copied)).filter(Value::truthy) {
                store.set_flag(self.session, name, flag(copied), value, origin)?;
            }
        }
        for copied in ["dirs", "cleandirs", "fakeroot"] {
            if let Some(value) = store.flag_raw(name, flag(copied)).filter(Value::truthy) {
                store.set_flag(self.session, called, flag(copied), value, origin)?;
            }
        }
        store.set_flag(self.session, name, flag("filename"), "autogenerated".into(), origin)?;
        store.set_flag(self.session, name, flag("lineno"), one(), origin)?;
        let python = store.flag_raw(called, flag("python")).is_some_and(|value| value.truthy());
        let body = if python {
            format!("{EXPORTED}    bb.build.exec_func('{called}', d)\n")
        } else if class.contains('-') {
            return Err(Error::Fatal(format!(
                "the class {class} exports the shell function {called}, and a shell function's name cannot contain a dash"
            )));
        } else {
            format!("{EXPORTED}    {called}\n")
        };
        store.set_parsing(self.session, name, body.into(), origin)
    }

    fn add_handlers(&mut self, store: &mut Store, names: &[Sym], origin: Origin) -> Result<()> {
        let var = Sym::new("__BBHANDLERS");
        let mut handlers = list(store.get_raw(self.session, var)?);
        for name in names {
            handlers.push(name.as_str().into());
            store.set_flag(self.session, *name, Sym::new("handler"), one(), origin)?;
        }
        store.set(self.session, var, Value::List(handlers.into()), Origin::internal())
    }
}
