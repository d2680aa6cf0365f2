//! Running programs.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::super::native::Comparison;
use super::super::session::Session;
use super::Stop;
use super::object::{Closure, Frame, Object};
use super::operate::{binary, compare, item, put, set_item, slice};
use super::program::{Arguments, Expression, Kind, Loop, Operator, Statement, Target};
use crate::data::Definition;
use crate::{Sym, Text};

pub(super) type Outcome<T = Object> = Result<T, Stop>;

/// Longer runs are Python's, whose time is limited.
const STEPS: u32 = 2_000_000;
/// Calls nested deeper than this are Python's.
const DEEPEST: u32 = 60;

/// Arguments in order, and by name.
type Given = (Vec<Object>, Vec<(Text, Object)>);

/// Where a block went.
enum Flow {
    On,
    Break,
    Continue,
    Return(Object),
}

pub(super) struct Machine<'a> {
    pub(super) session: &'a mut Session,
    /// The metadata's functions.
    pub(super) functions: Arc<FxHashMap<Sym, Definition>>,
    pub(super) depth: u32,
    steps: u32,
    /// How many `try` statements are open.
    pub(super) trying: u32,
    /// The module whose function runs, for the names it does not qualify.
    pub(super) module: Option<Text>,
    /// What the event was made of, once that was asked for.
    pub(super) event: Option<Rc<RefCell<Vec<Object>>>>,
    /// How often a datastore was written.
    pub(super) writes: u32,
}

impl<'a> Machine<'a> {
    pub(super) fn new(session: &'a mut Session, functions: Arc<FxHashMap<Sym, Definition>>) -> Self {
        Self { session, functions, depth: 0, steps: 0, trying: 0, module: None, event: None, writes: 0 }
    }

    /// Calls a function with arguments in order.
    pub(super) fn call(&mut self, closure: &Closure, arguments: Vec<Object>, named: Vec<(Text, Object)>) -> Outcome {
        let function = &closure.function;
        let mut slots: Vec<Option<Object>> = vec![None; function.slots];
        let count = function.parameters.len();
        if arguments.len() > count && !function.rest {
            return Err(Stop::Python);
        }
        let mut arguments = arguments.into_iter();
        for (slot, argument) in slots.iter_mut().zip(arguments.by_ref().take(count)) {
            *slot = Some(argument);
        }
        if function.rest {
            slots[count] = Some(Object::Tuple(Rc::new(arguments.collect())));
        }
        for (name, value) in named {
            let at = function.parameters.iter().position(|(known, _)| *known == name).ok_or(Stop::Python)?;
            if slots[at].replace(value).is_some() {
                return Err(Stop::Python);
            }
        }
        for (slot, (_, default)) in slots.iter_mut().zip(&function.parameters) {
            if slot.is_none() {
                *slot = Some(Object::of(default.as_ref().ok_or(Stop::Python)?)?);
            }
        }
        if self.depth >= DEEPEST {
            return Err(Stop::Python);
        }
        let frame = Rc::new(Frame { slots: RefCell::new(slots), around: closure.around.clone() });
        self.depth += 1;
        let flow = self.block(&frame, &function.body);
        self.depth -= 1;
        match flow? {
            Flow::Return(value) => Ok(value),
            _ => Ok(Object::None),
        }
    }

    fn block(&mut self, frame: &Rc<Frame>, body: &[Statement]) -> Outcome<Flow> {
        for statement in body {
            match self.statement(frame, statement)? {
                Flow::On => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::On)
    }

    fn statement(&mut self, frame: &Rc<Frame>, statement: &Statement) -> Outcome<Flow> {
        self.step()?;
        match statement {
            Statement::Expression(expression) => {
                self.value(frame, expression)?;
            }
            Statement::Assign(targets, value) => {
                let value = self.value(frame, value)?;
                for target in targets {
                    self.assign(frame, target, value.clone())?;
                }
            }
            Statement::Augment(target, operator, value) => self.augment(frame, target, *operator, value)?,
            Statement::If(branches, other) => {
                for (test, body) in branches {
                    if self.value(frame, test)?.truth()? {
                        return self.block(frame, body);
                    }
                }
                return self.block(frame, other);
            }
            Statement::For { target, over, body, other } => {
                let over = self.value(frame, over)?;
                return self.each(frame, target, &over, body, other);
            }
            Statement::While { test, body, other } => {
                while self.value(frame, test)?.truth()? {
                    self.step()?;
                    match self.block(frame, body)? {
                        Flow::On | Flow::Continue => {}
                        Flow::Break => return Ok(Flow::On),
                        flow @ Flow::Return(_) => return Ok(flow),
                    }
                }
                return self.block(frame, other);
            }
            Statement::Return(value) => {
                return Ok(Flow::Return(match value {
                    Some(value) => self.value(frame, value)?,
                    None => Object::None,
                }));
            }
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
            Statement::Pass => {}
            Statement::Define(slot, function) => {
                let closure = Closure { function: Arc::clone(function), around: Some(Rc::clone(frame)) };
                frame.slots.borrow_mut()[usize::from(*slot)] = Some(Object::Function(Rc::new(closure)));
            }
            Statement::Skip(reason) => {
                let reason = self.value(frame, reason)?.printed()?;
                // Something around might catch it.
                return Err(if self.trying == 0 { Stop::Skip(reason) } else { Stop::Python });
            }
            Statement::Raise => return Err(Stop::Python),
            Statement::Try { body, other, last } => {
                self.trying += 1;
                let mut flow = self.block(frame, body)?;
                self.trying -= 1;
                if matches!(flow, Flow::On) {
                    flow = self.block(frame, other)?;
                }
                return match self.block(frame, last)? {
                    Flow::On => Ok(flow),
                    replaced => Ok(replaced),
                };
            }
        }
        Ok(Flow::On)
    }

    fn step(&mut self) -> Outcome<()> {
        self.steps += 1;
        if self.steps > STEPS { Err(Stop::Python) } else { Ok(()) }
    }

    fn each(
        &mut self,
        frame: &Rc<Frame>,
        target: &Target,
        over: &Object,
        body: &[Statement],
        other: &[Statement],
    ) -> Outcome<Flow> {
        let fixed = match over {
            // A list may grow while it is walked.
            Object::List(_) => None,
            over => Some(over.items()?),
        };
        let mut at = 0;
        loop {
            let item = match (&fixed, over) {
                (Some(items), _) => items.get(at).cloned(),
                (None, Object::List(items)) => items.borrow().get(at).cloned(),
                _ => None,
            };
            let Some(item) = item else { break };
            at += 1;
            self.step()?;
            self.assign(frame, target, item)?;
            match self.block(frame, body)? {
                Flow::On | Flow::Continue => {}
                Flow::Break => return Ok(Flow::On),
                flow @ Flow::Return(_) => return Ok(flow),
            }
            // A dictionary or set that changed while it was walked is an error.
            if let (Some(fixed), Object::Dict(items)) = (&fixed, over)
                && items.borrow().len() != fixed.len()
            {
                return Err(Stop::Python);
            }
            if let Object::Set(_) = over {
                over.items()?;
            }
        }
        self.block(frame, other)
    }

    fn assign(&mut self, frame: &Rc<Frame>, target: &Target, value: Object) -> Outcome<()> {
        match target {
            Target::Slot(slot) => {
                frame.slots.borrow_mut()[usize::from(*slot)] = Some(value);
                Ok(())
            }
            Target::Tuple(targets) => {
                let items = match value {
                    Object::List(_) | Object::Tuple(_) => value.items()?,
                    _ => return Err(Stop::Python),
                };
                if items.len() != targets.len() {
                    return Err(Stop::Python);
                }
                targets.iter().zip(items).try_for_each(|(target, item)| self.assign(frame, target, item))
            }
            Target::Index(of, index) => {
                let of = self.value(frame, of)?;
                let index = self.value(frame, index)?;
                set_item(&of, &index, value)
            }
        }
    }

    fn augment(&mut self, frame: &Rc<Frame>, target: &Target, operator: Operator, value: &Expression) -> Outcome<()> {
        let (old, place) = match target {
            Target::Slot(slot) => (frame.slots.borrow()[usize::from(*slot)].clone().ok_or(Stop::Python)?, None),
            Target::Index(of, index) => {
                let (of, index) = (self.value(frame, of)?, self.value(frame, index)?);
                (item(&of, &index)?, Some((of, index)))
            }
            Target::Tuple(_) => return Err(Stop::Python),
        };
        let value = self.value(frame, value)?;
        let new = match (&old, operator) {
            // Lists and sets change in place.
            (Object::List(list), Operator::Add) => {
                let more = value.items()?;
                list.borrow_mut().extend(more);
                old.clone()
            }
            (Object::Set(set), Operator::Or | Operator::And | Operator::Subtract) => {
                let Object::Set(_) = value else { return Err(Stop::Python) };
                let other = value.as_set()?;
                let mut set = set.borrow_mut();
                match operator {
                    Operator::Or => set.extend(other),
                    Operator::And => set.retain(|item| other.contains(item)),
                    _ => set.retain(|item| !other.contains(item)),
                }
                drop(set);
                old.clone()
            }
            _ => binary(operator, &old, &value)?,
        };
        match place {
            Some((of, index)) => set_item(&of, &index, new),
            None => self.assign(frame, target, new),
        }
    }

    pub(super) fn value(&mut self, frame: &Rc<Frame>, expression: &Expression) -> Outcome {
        Ok(match expression {
            Expression::Constant(value) => Object::of(value)?,
            Expression::Local(up, slot) => {
                let mut found = frame;
                for _ in 0..*up {
                    found = found.around.as_ref().ok_or(Stop::Python)?;
                }
                // A name without a value is an error.
                found.slots.borrow()[usize::from(*slot)].clone().ok_or(Stop::Python)?
            }
            Expression::Global(name) => self.global(name)?,
            Expression::Path(path) => Object::Name(Arc::clone(path)),
            Expression::List(items) => Object::list(self.values(frame, items)?),
            Expression::Tuple(items) => Object::Tuple(Rc::new(self.values(frame, items)?)),
            Expression::Set(items) => {
                let items = self.values(frame, items)?;
                Object::set(items.iter().map(|item| item.text().map(Arc::clone)).collect::<Outcome<BTreeSet<_>>>()?)
            }
            Expression::Dict(pairs) => {
                let mut items = Vec::new();
                for (key, value) in pairs {
                    let key = self.value(frame, key)?;
                    put(&mut items, Arc::clone(key.text()?), self.value(frame, value)?);
                }
                Object::dict(items)
            }
            Expression::Concat(parts) => {
                let mut text = String::new();
                for part in parts {
                    text.push_str(&self.value(frame, part)?.printed()?);
                }
                Object::Str(text.into())
            }
            Expression::And(parts) => self.choose(frame, parts, false)?,
            Expression::Or(parts) => self.choose(frame, parts, true)?,
            Expression::Not(part) => Object::Bool(!self.value(frame, part)?.truth()?),
            Expression::If(parts) => {
                let [test, body, other] = &**parts;
                let chosen = if self.value(frame, test)?.truth()? { body } else { other };
                self.value(frame, chosen)?
            }
            Expression::Compare(left, rest) => self.compare(frame, left, rest)?,
            Expression::Binary(operator, left, right) => {
                let left = self.value(frame, left)?;
                binary(*operator, &left, &self.value(frame, right)?)?
            }
            Expression::Negative(of) => {
                let number = self.value(frame, of)?.number().and_then(i64::checked_neg);
                Object::Int(number.ok_or(Stop::Python)?)
            }
            Expression::Index(of, index) => {
                let of = self.value(frame, of)?;
                item(&of, &self.value(frame, index)?)?
            }
            Expression::Slice(of, from, to) => {
                let of = self.value(frame, of)?;
                let mut bound = |bound: &Option<Box<Expression>>| match bound {
                    Some(bound) => self.value(frame, bound).map(Some),
                    None => Ok(None),
                };
                let (from, to) = (bound(from)?, bound(to)?);
                slice(&of, from.as_ref(), to.as_ref())?
            }
            Expression::Attribute(of, name) => {
                let of = self.value(frame, of)?;
                self.attribute(&of, name)?
            }
            Expression::Method(of, name, arguments) => {
                let of = self.value(frame, of)?;
                let (plain, named) = self.arguments(frame, arguments)?;
                self.method(&of, name, &plain, &named)?
            }
            Expression::Call(function, arguments) => match &**function {
                Expression::Global(name) => {
                    let (plain, named) = self.arguments(frame, arguments)?;
                    self.call_global(name, plain, named)?
                }
                Expression::Path(path) => {
                    let (plain, named) = self.arguments(frame, arguments)?;
                    self.call_path(path, &plain, &named)?
                }
                function => {
                    let Object::Function(closure) = self.value(frame, function)? else { return Err(Stop::Python) };
                    let (plain, named) = self.arguments(frame, arguments)?;
                    self.call(&closure, plain, named)?
                }
            },
            Expression::Each(kind, loops, element) => self.comprehension(frame, *kind, loops, element)?,
            Expression::EachPair(loops, pair) => {
                let mut items = Vec::new();
                self.nest(frame, loops, &mut |machine| {
                    let key = machine.value(frame, &pair.0)?;
                    put(&mut items, Arc::clone(key.text()?), machine.value(frame, &pair.1)?);
                    Ok(true)
                })?;
                Object::dict(items)
            }
        })
    }

    fn values(&mut self, frame: &Rc<Frame>, expressions: &[Expression]) -> Outcome<Vec<Object>> {
        expressions.iter().map(|expression| self.value(frame, expression)).collect()
    }

    fn arguments(&mut self, frame: &Rc<Frame>, arguments: &Arguments) -> Outcome<Given> {
        let plain = self.values(frame, &arguments.plain)?;
        let mut named = Vec::new();
        for (name, value) in &arguments.named {
            named.push((Arc::clone(name), self.value(frame, value)?));
        }
        Ok((plain, named))
    }

    fn choose(&mut self, frame: &Rc<Frame>, parts: &[Expression], decides: bool) -> Outcome {
        let mut value = Object::None;
        for part in parts {
            value = self.value(frame, part)?;
            if value.truth()? == decides {
                break;
            }
        }
        Ok(value)
    }

    fn compare(&mut self, frame: &Rc<Frame>, left: &Expression, rest: &[(Comparison, Expression)]) -> Outcome {
        let mut left = self.value(frame, left)?;
        for (comparison, right) in rest {
            let right = self.value(frame, right)?;
            if !compare(*comparison, &left, &right)? {
                return Ok(Object::Bool(false));
            }
            left = right;
        }
        Ok(Object::Bool(true))
    }

    fn comprehension(&mut self, frame: &Rc<Frame>, kind: Kind, loops: &[Loop], element: &Expression) -> Outcome {
        let mut items = Vec::new();
        let mut decided = false;
        self.nest(frame, loops, &mut |machine| {
            let item = machine.value(frame, element)?;
            match kind {
                Kind::Any | Kind::All => {
                    decided = item.truth()? == (kind == Kind::Any);
                    return Ok(!decided);
                }
                Kind::List | Kind::Set => items.push(item),
            }
            Ok(true)
        })?;
        Ok(match kind {
            Kind::List => Object::list(items),
            Kind::Set => Object::set(items.iter().map(|item| item.text().map(Arc::clone)).collect::<Outcome<_>>()?),
            Kind::Any => Object::Bool(decided),
            Kind::All => Object::Bool(!decided),
        })
    }

    /// Runs nested loops until one round says that it was the last.
    fn nest(
        &mut self,
        frame: &Rc<Frame>,
        loops: &[Loop],
        round: &mut dyn FnMut(&mut Self) -> Outcome<bool>,
    ) -> Outcome<bool> {
        let Some((first, rest)) = loops.split_first() else { return round(self) };
        let over = self.value(frame, &first.over)?;
        for item in over.items()? {
            self.step()?;
            self.assign(frame, &first.target, item)?;
            let mut holds = true;
            for condition in &first.conditions {
                holds = holds && self.value(frame, condition)?.truth()?;
            }
            if holds && !self.nest(frame, rest, round)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a name that is not local stands for.
    fn global(&mut self, name: &str) -> Outcome {
        match self.module.clone() {
            Some(module) => {
                let value = self.session.shared.functions.constant(&self.session.library_directories(), &module, name);
                Object::of(&value.ok_or(Stop::Python)?)
            }
            None => self.function(name).map(Object::Function),
        }
    }

    /// A function of the metadata.
    pub(super) fn function(&self, name: &str) -> Outcome<Rc<Closure>> {
        let definition = Sym::find(name).and_then(|name| self.functions.get(&name)).ok_or(Stop::Python)?;
        let function = self.session.shared.functions.function(&definition.text).ok_or(Stop::Python)?;
        if *function.name == *name { Ok(Rc::new(Closure { function, around: None })) } else { Err(Stop::Python) }
    }
}
