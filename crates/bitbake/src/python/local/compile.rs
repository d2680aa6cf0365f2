//! Python functions to programs, as far as programs go.

use std::sync::Arc;

use rustpython_ruff_python_ast::{
    Comprehension, Expr, FStringPart, InterpolatedStringElement, Number, Operator as PythonOperator, Parameters, Stmt,
    StmtFunctionDef, UnaryOp,
};
use rustpython_ruff_python_parser::{parse_expression, parse_module};

use super::super::native::comparison;
use super::program::{Arguments, Expression, Function, Kind, Loop, Operator, Statement, Target, Uses};
use crate::{Text, Value};

/// Longer texts are Python's.
const LONGEST: usize = 64 << 10;
/// Deepest nesting of brackets, and of blocks and expressions.
const DEEPEST: usize = 40;
/// Modules that code may import, or use without importing them. `oe` is the layers'.
const MODULES: [&str; 7] = ["bb", "oe", "os", "re", "string", "urllib", "collections"];

/// The names of one function, and of those around it.
struct Scope {
    names: Vec<Text>,
}

struct Compiler {
    scopes: Vec<Scope>,
    depth: usize,
}

/// The last function that a text defines, if nothing in the text is beyond programs.
pub(super) fn function(text: &str) -> Option<Function> {
    if text.len() > LONGEST || !is_flat(text, DEEPEST) {
        return None;
    }
    let parsed = parse_module(text).ok()?;
    let [Stmt::FunctionDef(definition)] = parsed.syntax().body.as_slice() else { return None };
    compiler().function(definition)
}

/// An expression, as the body of a function that takes `d`.
pub(super) fn expression(text: &str) -> Option<Function> {
    if text.len() > LONGEST || !is_flat(text, DEEPEST) {
        return None;
    }
    let parsed = parse_expression(text.trim()).ok()?;
    let mut compiler = compiler();
    compiler.scopes.push(Scope { names: vec!["d".into()] });
    let body = vec![Statement::Return(Some(compiler.expression(&parsed.syntax().body)?))];
    let slots = compiler.scopes.pop()?.names.len();
    Some(Function {
        name: "<expression>".into(),
        parameters: vec![("d".into(), None)],
        rest: false,
        slots,
        body,
        uses: Uses::default(),
    })
}

fn compiler() -> Compiler {
    Compiler { scopes: Vec::new(), depth: 0 }
}

/// Whether brackets, blocks and prefix operators nest so little that the parser's stack is sure to hold them.
pub(in crate::python) fn is_flat(text: &str, deepest: usize) -> bool {
    let mut depth = 0usize;
    let mut run = 0usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        run = if b"-+~ \t".contains(&byte) { run + 1 } else { 0 };
        // Brackets in texts count, too: what is left to Python for that is right all the same.
        if depth > deepest || run > 4 * DEEPEST {
            return false;
        }
    }
    ["not ", "lambda", "await ", "**"].iter().map(|word| text.matches(word).count()).sum::<usize>() < 200
}

impl Compiler {
    fn function(&mut self, definition: &StmtFunctionDef) -> Option<Function> {
        if definition.is_async || !definition.decorator_list.is_empty() || definition.type_params.is_some() {
            return None;
        }
        let (parameters, rest) = parameters(&definition.parameters)?;
        let mut names: Vec<Text> = parameters.iter().map(|(name, _)| Arc::clone(name)).collect();
        names.extend(rest.clone());
        assigned(&definition.body, &mut names)?;
        self.scopes.push(Scope { names });
        let body = self.block(&definition.body);
        let slots = self.scopes.pop()?.names.len();
        let name = definition.name.as_str().into();
        Some(Function { name, parameters, rest: rest.is_some(), slots, body: body?, uses: Uses::default() })
    }

    fn block(&mut self, body: &[Stmt]) -> Option<Vec<Statement>> {
        self.depth += 1;
        let block = if self.depth > DEEPEST { None } else { body.iter().map(|stmt| self.statement(stmt)).collect() };
        self.depth -= 1;
        block
    }

    fn statement(&mut self, stmt: &Stmt) -> Option<Statement> {
        Some(match stmt {
            Stmt::Expr(stmt) => match &*stmt.value {
                Expr::StringLiteral(_) => Statement::Pass,
                value => Statement::Expression(self.expression(value)?),
            },
            Stmt::Assign(assign) => {
                let value = self.expression(&assign.value)?;
                let targets = assign.targets.iter().map(|target| self.target(target)).collect::<Option<_>>()?;
                Statement::Assign(targets, value)
            }
            Stmt::AugAssign(assign) => {
                let target = self.target(&assign.target)?;
                Statement::Augment(target, operator(assign.op)?, self.expression(&assign.value)?)
            }
            Stmt::If(choice) => {
                let mut branches = vec![(self.expression(&choice.test)?, self.block(&choice.body)?)];
                let mut other = Vec::new();
                for clause in &choice.elif_else_clauses {
                    let body = self.block(&clause.body)?;
                    match &clause.test {
                        Some(test) => branches.push((self.expression(test)?, body)),
                        None => other = body,
                    }
                }
                Statement::If(branches, other)
            }
            Stmt::For(each) if !each.is_async => Statement::For {
                target: self.target(&each.target)?,
                over: self.expression(&each.iter)?,
                body: self.block(&each.body)?,
                other: self.block(&each.orelse)?,
            },
            Stmt::While(each) => Statement::While {
                test: self.expression(&each.test)?,
                body: self.block(&each.body)?,
                other: self.block(&each.orelse)?,
            },
            Stmt::Return(result) => Statement::Return(match result.value.as_deref() {
                Some(value) => Some(self.expression(value)?),
                None => None,
            }),
            Stmt::Break(_) => Statement::Break,
            Stmt::Continue(_) => Statement::Continue,
            Stmt::Pass(_) => Statement::Pass,
            Stmt::Import(import)
                if import.names.iter().all(|name| is_module(name.name.as_str(), name.asname.is_some())) =>
            {
                Statement::Pass
            }
            Stmt::FunctionDef(definition) => {
                let function = Arc::new(self.function(definition)?);
                Statement::Define(self.own_slot(definition.name.as_str())?, function)
            }
            Stmt::Raise(raise) => match raise.exc.as_deref() {
                Some(Expr::Call(call))
                    if raise.cause.is_none()
                        && call.arguments.keywords.is_empty()
                        && matches!(
                            dotted(&call.func).as_deref(),
                            Some("bb.parse.SkipRecipe" | "bb.parse.SkipPackage")
                        ) =>
                {
                    let [reason] = &*call.arguments.args else { return None };
                    Statement::Skip(self.expression(reason)?)
                }
                _ => Statement::Raise,
            },
            Stmt::Try(attempt) if !attempt.is_star => Statement::Try {
                body: self.block(&attempt.body)?,
                other: self.block(&attempt.orelse)?,
                last: self.block(&attempt.finalbody)?,
            },
            _ => return None,
        })
    }

    fn own_slot(&self, name: &str) -> Option<u16> {
        slot(self.scopes.last()?.names.iter().rposition(|known| **known == *name)?)
    }

    fn target(&mut self, expr: &Expr) -> Option<Target> {
        Some(match expr {
            Expr::Name(name) => Target::Slot(self.own_slot(name.id.as_str())?),
            Expr::Tuple(tuple) => {
                Target::Tuple(tuple.elts.iter().map(|part| self.target(part)).collect::<Option<_>>()?)
            }
            Expr::Subscript(subscript) if !subscript.slice.is_slice_expr() => {
                Target::Index(self.expression(&subscript.value)?, self.expression(&subscript.slice)?)
            }
            _ => return None,
        })
    }

    fn expressions<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) -> Option<Vec<Expression>> {
        exprs.into_iter().map(|expr| self.expression(expr)).collect()
    }

    fn boxed(&mut self, expr: &Expr) -> Option<Box<Expression>> {
        self.expression(expr).map(Box::new)
    }

    fn expression(&mut self, expr: &Expr) -> Option<Expression> {
        self.depth += 1;
        let expression = if self.depth > 2 * DEEPEST { None } else { self.inner(expr) };
        self.depth -= 1;
        expression
    }

    #[expect(clippy::too_many_lines, reason = "one arm per kind of expression")]
    fn inner(&mut self, expr: &Expr) -> Option<Expression> {
        if let Some(constant) = constant(expr) {
            return Some(Expression::Constant(constant));
        }
        Some(match expr {
            Expr::Name(name) => self.name(name.id.as_str())?,
            Expr::UnaryOp(unary) => match unary.op {
                UnaryOp::Not => Expression::Not(self.boxed(&unary.operand)?),
                UnaryOp::USub => Expression::Negative(self.boxed(&unary.operand)?),
                _ => return None,
            },
            Expr::List(list) => Expression::List(self.expressions(&list.elts)?),
            Expr::Tuple(tuple) => Expression::Tuple(self.expressions(&tuple.elts)?),
            Expr::Set(set) => Expression::Set(self.expressions(&set.elts)?),
            Expr::Dict(dict) => {
                let pair = |item: &rustpython_ruff_python_ast::DictItem| {
                    Some((self.expression(item.key.as_ref()?)?, self.expression(&item.value)?))
                };
                Expression::Dict(dict.items.iter().map(pair).collect::<Option<_>>()?)
            }
            Expr::BoolOp(op) => {
                let values = self.expressions(&op.values)?;
                if op.op.as_str() == "and" { Expression::And(values) } else { Expression::Or(values) }
            }
            Expr::If(choice) => Expression::If(Box::new([
                self.expression(&choice.test)?,
                self.expression(&choice.body)?,
                self.expression(&choice.orelse)?,
            ])),
            Expr::BinOp(op) => Expression::Binary(operator(op.op)?, self.boxed(&op.left)?, self.boxed(&op.right)?),
            Expr::Compare(compare) => {
                let left = self.boxed(&compare.left)?;
                let pairs = compare.ops.iter().zip(&compare.comparators);
                let rest = pairs
                    .map(|(op, expr)| Some((comparison(*op, expr)?, self.expression(expr)?)))
                    .collect::<Option<_>>()?;
                Expression::Compare(left, rest)
            }
            Expr::Subscript(subscript) => match &*subscript.slice {
                Expr::Slice(slice) if slice.step.is_none() => {
                    let of = self.boxed(&subscript.value)?;
                    let mut bounds = Vec::new();
                    for bound in [&slice.lower, &slice.upper] {
                        bounds.push(match bound {
                            Some(bound) => Some(self.boxed(bound)?),
                            None => None,
                        });
                    }
                    let to = bounds.pop()?;
                    Expression::Slice(of, bounds.pop()?, to)
                }
                Expr::Slice(_) => return None,
                index => Expression::Index(self.boxed(&subscript.value)?, self.boxed(index)?),
            },
            Expr::FString(string) => {
                let mut parts = Vec::new();
                for part in &string.value {
                    match part {
                        FStringPart::Literal(text) => parts.push(Expression::Constant(Value::from(&*text.value))),
                        FStringPart::FString(string) => {
                            for element in &string.elements {
                                parts.push(self.field(element)?);
                            }
                        }
                    }
                }
                Expression::Concat(parts)
            }
            Expr::ListComp(comp) => self.comprehension(Kind::List, &comp.elt, &comp.generators)?,
            Expr::SetComp(comp) => self.comprehension(Kind::Set, &comp.elt, &comp.generators)?,
            Expr::DictComp(comp) => {
                let first = self.known_names();
                let loops = self.loops(&comp.generators)?;
                let pair = self.expression(&comp.key).zip(self.expression(&comp.value));
                self.forget(first);
                Expression::EachPair(loops, Box::new(pair?))
            }
            Expr::Attribute(attribute) => match self.path(expr) {
                Some(path) => Expression::Path(path),
                None => Expression::Attribute(self.boxed(&attribute.value)?, attribute.attr.as_str().into()),
            },
            Expr::Call(call) => {
                let (args, keywords) = (&*call.arguments.args, &*call.arguments.keywords);
                match &*call.func {
                    Expr::Attribute(attribute) if self.path(&call.func).is_none() => {
                        let of = self.boxed(&attribute.value)?;
                        let name = attribute.attr.as_str();
                        let consumes = matches!(name, "join" | "extend" | "update");
                        Expression::Method(of, name.into(), self.arguments(args, keywords, consumes)?)
                    }
                    function => {
                        if let Expr::Name(name) = function
                            && let ("any" | "all", [Expr::Generator(generator)]) = (name.id.as_str(), args)
                            && matches!(self.name(name.id.as_str())?, Expression::Global(_))
                        {
                            let kind = if name.id.as_str() == "any" { Kind::Any } else { Kind::All };
                            return self.comprehension(kind, &generator.elt, &generator.generators);
                        }
                        let function = self.boxed(function)?;
                        let consumes = matches!(&*function, Expression::Global(name)
                            if matches!(&**name, "sorted" | "list" | "set" | "tuple" | "dict"));
                        Expression::Call(function, self.arguments(args, keywords, consumes)?)
                    }
                }
            }
            _ => return None,
        })
    }

    fn arguments(
        &mut self,
        plain: &[Expr],
        named: &[rustpython_ruff_python_ast::Keyword],
        consumes: bool,
    ) -> Option<Arguments> {
        if let [Expr::Generator(generator)] = plain
            && consumes
        {
            let list = self.comprehension(Kind::List, &generator.elt, &generator.generators)?;
            return Some(Arguments { plain: vec![list], named: Vec::new() }).filter(|_| named.is_empty());
        }
        let plain = self.expressions(plain)?;
        let named = named
            .iter()
            .map(|keyword| Some((Text::from(keyword.arg.as_ref()?.as_str()), self.expression(&keyword.value)?)))
            .collect::<Option<_>>()?;
        Some(Arguments { plain, named })
    }

    fn field(&mut self, element: &InterpolatedStringElement) -> Option<Expression> {
        match element {
            InterpolatedStringElement::Literal(text) => Some(Expression::Constant(Value::from(&*text.value))),
            InterpolatedStringElement::Interpolation(field) => {
                let plain = field.debug_text.is_none() && field.conversion.is_none() && field.format_spec.is_none();
                if plain { self.expression(&field.expression) } else { None }
            }
        }
    }

    /// The loops of a comprehension. Its names are new slots, which hide others until they are forgotten.
    fn loops(&mut self, generators: &[Comprehension]) -> Option<Vec<Loop>> {
        let mut loops = Vec::new();
        for generator in generators {
            if generator.is_async {
                return None;
            }
            let over = self.expression(&generator.iter)?;
            let mut names = Vec::new();
            target_names(&generator.target, &mut names)?;
            self.scopes.last_mut()?.names.extend(names);
            let target = self.target(&generator.target)?;
            let conditions = self.expressions(&generator.ifs)?;
            loops.push(Loop { target, over, conditions });
        }
        Some(loops)
    }

    /// Ends the scope of a comprehension's names: those after the first so many.
    fn forget(&mut self, first: usize) {
        for name in self.scopes.iter_mut().next_back().into_iter().flat_map(|scope| scope.names.iter_mut().skip(first))
        {
            *name = "".into();
        }
    }

    fn known_names(&self) -> usize {
        self.scopes.last().map_or(0, |scope| scope.names.len())
    }

    fn comprehension(&mut self, kind: Kind, element: &Expr, generators: &[Comprehension]) -> Option<Expression> {
        let first = self.known_names();
        let loops = self.loops(generators)?;
        let element = self.boxed(element);
        self.forget(first);
        Some(Expression::Each(kind, loops, element?))
    }

    fn name(&self, name: &str) -> Option<Expression> {
        for (up, scope) in self.scopes.iter().rev().enumerate() {
            if let Some(at) = scope.names.iter().rposition(|known| **known == *name) {
                return Some(Expression::Local(slot(up)?, slot(at)?));
            }
        }
        if MODULES.contains(&name) {
            return Some(Expression::Path(name.into()));
        }
        Some(Expression::Global(name.into()))
    }

    /// The dotted name of something in a module.
    fn path(&self, expr: &Expr) -> Option<Text> {
        let path = dotted(expr)?;
        let first = path.split('.').next()?;
        let local = self.scopes.iter().any(|scope| scope.names.iter().any(|name| **name == *first));
        (MODULES.contains(&first) && !local).then_some(path)
    }
}

fn slot(at: usize) -> Option<u16> {
    u16::try_from(at).ok()
}

fn is_module(name: &str, renamed: bool) -> bool {
    let first = name.split('.').next().unwrap_or_default();
    !renamed && MODULES.contains(&first)
}

/// Names with their defaults.
type Named = Vec<(Text, Option<Value>)>;

/// The parameters, and the one that takes the remaining arguments.
fn parameters(parameters: &Parameters) -> Option<(Named, Option<Text>)> {
    if !parameters.posonlyargs.is_empty() || !parameters.kwonlyargs.is_empty() || parameters.kwarg.is_some() {
        return None;
    }
    let mut found = Vec::new();
    for parameter in &parameters.args {
        let default = match parameter.default.as_deref() {
            Some(default) => Some(constant(default)?),
            None => None,
        };
        found.push((Text::from(parameter.parameter.name.as_str()), default));
    }
    let rest = parameters.vararg.as_ref().map(|rest| Text::from(rest.name.as_str()));
    Some((found, rest))
}

fn constant(expr: &Expr) -> Option<Value> {
    Some(match expr {
        Expr::StringLiteral(text) => Value::from(text.value.to_str()),
        Expr::NoneLiteral(_) => Value::None,
        Expr::BooleanLiteral(literal) => Value::Bool(literal.value),
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(int) => Value::Int(int.as_i64()?),
            _ => return None,
        },
        _ => return None,
    })
}

fn target_names(expr: &Expr, names: &mut Vec<Text>) -> Option<()> {
    match expr {
        Expr::Name(name) => names.push(name.id.as_str().into()),
        Expr::Tuple(tuple) => tuple.elts.iter().try_for_each(|part| target_names(part, names))?,
        Expr::Subscript(_) => {}
        _ => return None,
    }
    Some(())
}

/// The names that statements assign: they are local everywhere in the function.
fn assigned(body: &[Stmt], names: &mut Vec<Text>) -> Option<()> {
    let mut found = Vec::new();
    for stmt in body {
        match stmt {
            Stmt::Assign(assign) => assign.targets.iter().try_for_each(|target| target_names(target, &mut found))?,
            Stmt::AugAssign(assign) => target_names(&assign.target, &mut found)?,
            Stmt::FunctionDef(definition) => found.push(definition.name.as_str().into()),
            Stmt::If(choice) => {
                assigned(&choice.body, names)?;
                choice.elif_else_clauses.iter().try_for_each(|clause| assigned(&clause.body, names))?;
            }
            Stmt::For(each) => {
                target_names(&each.target, &mut found)?;
                assigned(&each.body, names)?;
                assigned(&each.orelse, names)?;
            }
            Stmt::While(each) => {
                assigned(&each.body, names)?;
                assigned(&each.orelse, names)?;
            }
            Stmt::Try(attempt) => {
                assigned(&attempt.body, names)?;
                // Handlers never run here, but what they assign is local all the same.
                for handler in &attempt.handlers {
                    let rustpython_ruff_python_ast::ExceptHandler::ExceptHandler(handler) = handler;
                    found.extend(handler.name.iter().map(|name| Text::from(name.as_str())));
                    assigned(&handler.body, names)?;
                }
                assigned(&attempt.orelse, names)?;
                assigned(&attempt.finalbody, names)?;
            }
            Stmt::Expr(_)
            | Stmt::Return(_)
            | Stmt::Break(_)
            | Stmt::Continue(_)
            | Stmt::Pass(_)
            | Stmt::Import(_)
            | Stmt::Raise(_) => {}
            // `global`, `nonlocal`, `del`, `with` and what else there is: Python's.
            _ => return None,
        }
    }
    for name in found {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Some(())
}

fn operator(operator: PythonOperator) -> Option<Operator> {
    Some(match operator {
        PythonOperator::Add => Operator::Add,
        PythonOperator::Sub => Operator::Subtract,
        PythonOperator::Mult => Operator::Multiply,
        PythonOperator::FloorDiv => Operator::Divide,
        PythonOperator::Mod => Operator::Modulo,
        PythonOperator::BitAnd => Operator::And,
        PythonOperator::BitOr => Operator::Or,
        _ => return None,
    })
}

/// The dotted name of an expression that is one.
fn dotted(expr: &Expr) -> Option<Text> {
    match expr {
        Expr::Name(name) => Some(name.id.as_str().into()),
        Expr::Attribute(attribute) => Some(format!("{}.{}", dotted(&attribute.value)?, attribute.attr).into()),
        _ => None,
    }
}

/// The value of a name in a module that is assigned once, at the top, to a constant.
pub(super) fn module_constant(text: &str, name: &str) -> Option<Value> {
    if text.len() > LONGEST || !is_flat(text, DEEPEST) {
        return None;
    }
    let parsed = parse_module(text).ok()?;
    let mut found = None;
    for stmt in &parsed.syntax().body {
        let mut names = Vec::new();
        // What a statement that is not understood may assign, nobody knows; imports and definitions name themselves.
        match stmt {
            Stmt::Import(_) | Stmt::Expr(_) => continue,
            Stmt::ImportFrom(import) if import.names.iter().all(|alias| alias.name.as_str() != "*") => {
                names.extend(
                    import.names.iter().map(|alias| Text::from(alias.asname.as_ref().unwrap_or(&alias.name).as_str())),
                );
            }
            Stmt::ClassDef(class) => names.push(class.name.as_str().into()),
            // A function may say `global`: what does so is not constant.
            other => assigned(std::slice::from_ref(other), &mut names)?,
        }
        if names.iter().any(|known| **known == *name) {
            let Stmt::Assign(assign) = stmt else { return None };
            let (1, None) = (assign.targets.len(), &found) else { return None };
            found = Some(constant(&assign.value)?);
        }
    }
    found.filter(|_| !text.contains(&format!("global {name}")))
}
