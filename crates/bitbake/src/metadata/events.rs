//! Events and the metadata's handlers of them.

use std::sync::Arc;

use super::files::{Reader, list, text_value};
use crate::data::Store;
use crate::error::{Error, Result};
use crate::python::Handler;
use crate::{Sym, Text, Value};

impl Reader<'_> {
    /// Makes the handlers known that `addhandler` named so far.
    pub fn register_handlers(&mut self, store: &mut Store) -> Result<()> {
        for name in list(store.get_raw(self.session, Sym::new("__BBHANDLERS"))?) {
            let Some(name) = name.as_str().map(Sym::new) else { continue };
            if store.handlers.iter().any(|handler| handler.name == name) {
                continue;
            }
            let Some(file) = store.flag_raw(name, Sym::new("filename")) else {
                return Err(Error::Fatal(format!("the event handler {name} is not defined")));
            };
            let line = text_value(store.flag_raw(name, Sym::new("lineno"))).parse().unwrap_or(0);
            let mask = text_value(store.get_flag(self.session, name, Sym::new("eventmask"))?);
            let handler = Handler {
                name,
                text: text_value(store.get_raw(self.session, name)?),
                file: Sym::new(&file.to_text()),
                line,
                mask: mask.split_whitespace().map(str::to_owned).collect(),
            };
            Arc::make_mut(&mut store.handlers).push(handler);
        }
        Ok(())
    }

    /// Fires `MultiConfigParsed`, whose handlers may read and write the stores of all configurations.
    pub fn fire_multiconfig(&mut self, store: &mut Store, others: &mut [(Text, Store)]) -> Result<()> {
        self.session.lend(store, others);
        let names: Vec<(Value, Value)> = std::iter::once(("".into(), Value::Int(store.handle.into())))
            .chain(others.iter().map(|(name, other)| (Value::Str(Text::clone(name)), Value::Int(other.handle.into()))))
            .collect();
        let fired = self.fire(store, "MultiConfigParsed", &[Value::Dict(Arc::new(names))]);
        self.session.take_back(others);
        fired
    }

    /// Fires an event of `bb.event` at the handlers that want it.
    pub fn fire(&mut self, store: &mut Store, class: &str, arguments: &[Value]) -> Result<()> {
        let id = format!("bb.event.{class}");
        let handlers = Arc::clone(&store.handlers);
        for handler in handlers.iter() {
            if handler.mask.is_empty() || handler.mask.iter().any(|event| *event == id || event == "*") {
                self.session.handle_event(store, handler, class, arguments)?;
            }
        }
        Ok(())
    }
}
