//! The calls of a syntax tree, in the order of Python's `ast.walk`.
//!
//! The order shows where a later call replaces what an earlier one found, so nodes are visited breadth first, as CPython lays its
//! tree out: an `elif` is an `if` inside an `else`, keyword arguments and f-string fields are nodes of their own, and so on.

use std::collections::VecDeque;

use rustpython_ruff_python_ast::{
    Comprehension, ElifElseClause, ExceptHandler, ExceptHandlerExceptHandler, Expr, ExprCall, ExprFString, ExprTString,
    InterpolatedElement, InterpolatedStringFormatSpec, Keyword, MatchCase, Parameter, Parameters, Pattern, Stmt,
    TypeParam, WithItem,
};

#[derive(Clone, Copy)]
enum Node<'a> {
    Stmt(&'a Stmt),
    Expr(&'a Expr),
    Elif(&'a [ElifElseClause]),
    Handler(&'a ExceptHandlerExceptHandler),
    Parameters(&'a Parameters),
    Parameter(&'a Parameter),
    Keyword(&'a Keyword),
    With(&'a WithItem),
    Case(&'a MatchCase),
    Pattern(&'a Pattern),
    Comprehension(&'a Comprehension),
    Field(&'a InterpolatedElement),
    Format(&'a InterpolatedStringFormatSpec),
    TypeParam(&'a TypeParam),
}

/// All calls in a module's body, breadth first.
pub(super) fn calls(body: &[Stmt]) -> impl Iterator<Item = &ExprCall> {
    let mut queue = Queue(body.iter().map(Node::Stmt).collect());
    std::iter::from_fn(move || {
        while let Some(node) = queue.0.pop_front() {
            queue.children(node);
            if let Node::Expr(Expr::Call(call)) = node {
                return Some(call);
            }
        }
        None
    })
}

struct Queue<'a>(VecDeque<Node<'a>>);

impl<'a> Queue<'a> {
    fn expr(&mut self, expr: &'a Expr) {
        self.0.push_back(Node::Expr(expr));
    }

    fn maybe(&mut self, expr: Option<&'a Expr>) {
        self.0.extend(expr.map(Node::Expr));
    }

    fn exprs(&mut self, exprs: impl IntoIterator<Item = &'a Expr>) {
        self.0.extend(exprs.into_iter().map(Node::Expr));
    }

    fn body(&mut self, body: &'a [Stmt]) {
        self.0.extend(body.iter().map(Node::Stmt));
    }

    fn patterns(&mut self, patterns: &'a [Pattern]) {
        self.0.extend(patterns.iter().map(Node::Pattern));
    }

    fn keywords(&mut self, keywords: &'a [Keyword]) {
        self.0.extend(keywords.iter().map(Node::Keyword));
    }

    fn comprehensions(&mut self, generators: &'a [Comprehension]) {
        self.0.extend(generators.iter().map(Node::Comprehension));
    }

    /// What follows an `if`'s body: an `elif` is an `if` of its own, an `else` is plain statements.
    fn otherwise(&mut self, clauses: &'a [ElifElseClause]) {
        match clauses.first() {
            Some(ElifElseClause { test: None, body, .. }) => self.body(body),
            Some(_) => self.0.push_back(Node::Elif(clauses)),
            None => {}
        }
    }

    fn children(&mut self, node: Node<'a>) {
        match node {
            Node::Stmt(stmt) => self.statement(stmt),
            Node::Expr(expr) => self.expression(expr),
            Node::Elif(clauses) => {
                let (clause, rest) = clauses.split_first().expect("an elif node has its clause");
                self.maybe(clause.test.as_ref());
                self.body(&clause.body);
                self.otherwise(rest);
            }
            Node::Handler(handler) => {
                self.maybe(handler.type_.as_deref());
                self.body(&handler.body);
            }
            Node::Parameters(parameters) => self.parameters(parameters),
            Node::Parameter(parameter) => self.maybe(parameter.annotation()),
            Node::Keyword(keyword) => self.expr(&keyword.value),
            Node::With(item) => {
                self.expr(&item.context_expr);
                self.maybe(item.optional_vars.as_deref());
            }
            Node::Case(case) => {
                self.0.push_back(Node::Pattern(&case.pattern));
                self.maybe(case.guard.as_deref());
                self.body(&case.body);
            }
            Node::Pattern(pattern) => self.pattern(pattern),
            Node::Comprehension(comprehension) => {
                self.expr(&comprehension.target);
                self.expr(&comprehension.iter);
                self.exprs(&comprehension.ifs);
            }
            Node::Field(field) => {
                self.expr(&field.expression);
                self.0.extend(field.format_spec.as_deref().map(Node::Format));
            }
            Node::Format(format) => self.0.extend(format.elements.interpolations().map(Node::Field)),
            Node::TypeParam(param) => match param {
                TypeParam::TypeVar(param) => {
                    self.maybe(param.bound.as_deref());
                    self.maybe(param.default.as_deref());
                }
                TypeParam::TypeVarTuple(param) => self.maybe(param.default.as_deref()),
                TypeParam::ParamSpec(param) => self.maybe(param.default.as_deref()),
            },
        }
    }

    fn parameters(&mut self, parameters: &'a Parameters) {
        let positional = || parameters.posonlyargs.iter().chain(&parameters.args);
        self.0.extend(positional().map(|with_default| Node::Parameter(&with_default.parameter)));
        self.0.extend(parameters.vararg.as_deref().map(Node::Parameter));
        self.0.extend(parameters.kwonlyargs.iter().map(|with_default| Node::Parameter(&with_default.parameter)));
        self.exprs(parameters.kwonlyargs.iter().filter_map(|with_default| with_default.default()));
        self.0.extend(parameters.kwarg.as_deref().map(Node::Parameter));
        self.exprs(positional().filter_map(|with_default| with_default.default()));
    }

    fn pattern(&mut self, pattern: &'a Pattern) {
        match pattern {
            Pattern::MatchValue(pattern) => self.expr(&pattern.value),
            Pattern::MatchSequence(pattern) => self.patterns(&pattern.patterns),
            Pattern::MatchMapping(pattern) => {
                self.exprs(&pattern.keys);
                self.patterns(&pattern.patterns);
            }
            Pattern::MatchClass(pattern) => {
                self.expr(&pattern.cls);
                self.patterns(&pattern.arguments.patterns);
                self.0.extend(pattern.arguments.keywords.iter().map(|keyword| Node::Pattern(&keyword.pattern)));
            }
            Pattern::MatchAs(pattern) => self.0.extend(pattern.pattern.as_deref().map(Node::Pattern)),
            Pattern::MatchOr(pattern) => self.patterns(&pattern.patterns),
            Pattern::MatchSingleton(_) | Pattern::MatchStar(_) => {}
        }
    }

    fn statement(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(def) => {
                self.0.push_back(Node::Parameters(&def.parameters));
                self.body(&def.body);
                self.exprs(def.decorator_list.iter().map(|decorator| &decorator.expression));
                self.maybe(def.returns.as_deref());
                self.0.extend(def.type_params.iter().flat_map(|params| &params.type_params).map(Node::TypeParam));
            }
            Stmt::ClassDef(class) => {
                if let Some(arguments) = &class.arguments {
                    self.exprs(&arguments.args);
                    self.keywords(&arguments.keywords);
                }
                self.body(&class.body);
                self.exprs(class.decorator_list.iter().map(|decorator| &decorator.expression));
                self.0.extend(class.type_params.iter().flat_map(|params| &params.type_params).map(Node::TypeParam));
            }
            Stmt::Return(stmt) => self.maybe(stmt.value.as_deref()),
            Stmt::Delete(stmt) => self.exprs(&stmt.targets),
            Stmt::TypeAlias(stmt) => {
                self.expr(&stmt.name);
                self.0.extend(stmt.type_params.iter().flat_map(|params| &params.type_params).map(Node::TypeParam));
                self.expr(&stmt.value);
            }
            Stmt::Assign(stmt) => {
                self.exprs(&stmt.targets);
                self.expr(&stmt.value);
            }
            Stmt::AugAssign(stmt) => {
                self.expr(&stmt.target);
                self.expr(&stmt.value);
            }
            Stmt::AnnAssign(stmt) => {
                self.expr(&stmt.target);
                self.expr(&stmt.annotation);
                self.maybe(stmt.value.as_deref());
            }
            Stmt::For(stmt) => {
                self.expr(&stmt.target);
                self.expr(&stmt.iter);
                self.body(&stmt.body);
                self.body(&stmt.orelse);
            }
            Stmt::While(stmt) => {
                self.expr(&stmt.test);
                self.body(&stmt.body);
                self.body(&stmt.orelse);
            }
            Stmt::If(stmt) => {
                self.expr(&stmt.test);
                self.body(&stmt.body);
                self.otherwise(&stmt.elif_else_clauses);
            }
            Stmt::With(stmt) => {
                self.0.extend(stmt.items.iter().map(Node::With));
                self.body(&stmt.body);
            }
            Stmt::Match(stmt) => {
                self.expr(&stmt.subject);
                self.0.extend(stmt.cases.iter().map(Node::Case));
            }
            Stmt::Raise(stmt) => {
                self.maybe(stmt.exc.as_deref());
                self.maybe(stmt.cause.as_deref());
            }
            Stmt::Try(stmt) => {
                self.body(&stmt.body);
                self.0.extend(stmt.handlers.iter().map(|ExceptHandler::ExceptHandler(handler)| Node::Handler(handler)));
                self.body(&stmt.orelse);
                self.body(&stmt.finalbody);
            }
            Stmt::Assert(stmt) => {
                self.expr(&stmt.test);
                self.maybe(stmt.msg.as_deref());
            }
            Stmt::Expr(stmt) => self.expr(&stmt.value),
            Stmt::Import(_)
            | Stmt::ImportFrom(_)
            | Stmt::Global(_)
            | Stmt::Nonlocal(_)
            | Stmt::Pass(_)
            | Stmt::Break(_)
            | Stmt::Continue(_)
            | Stmt::IpyEscapeCommand(_) => {}
        }
    }

    fn expression(&mut self, expr: &'a Expr) {
        match expr {
            Expr::BoolOp(expr) => self.exprs(&expr.values),
            Expr::Named(expr) => self.exprs([&*expr.target, &*expr.value]),
            Expr::BinOp(expr) => self.exprs([&*expr.left, &*expr.right]),
            Expr::UnaryOp(expr) => self.expr(&expr.operand),
            Expr::Lambda(expr) => {
                self.0.extend(expr.parameters.as_deref().map(Node::Parameters));
                self.expr(&expr.body);
            }
            Expr::If(expr) => self.exprs([&*expr.test, &*expr.body, &*expr.orelse]),
            Expr::Dict(expr) => {
                self.exprs(expr.items.iter().filter_map(|item| item.key.as_ref()));
                self.exprs(expr.items.iter().map(|item| &item.value));
            }
            Expr::Set(expr) => self.exprs(&expr.elts),
            Expr::ListComp(expr) => {
                self.expr(&expr.elt);
                self.comprehensions(&expr.generators);
            }
            Expr::SetComp(expr) => {
                self.expr(&expr.elt);
                self.comprehensions(&expr.generators);
            }
            Expr::DictComp(expr) => {
                self.exprs([&*expr.key, &*expr.value]);
                self.comprehensions(&expr.generators);
            }
            Expr::Generator(expr) => {
                self.expr(&expr.elt);
                self.comprehensions(&expr.generators);
            }
            Expr::Await(expr) => self.expr(&expr.value),
            Expr::Yield(expr) => self.maybe(expr.value.as_deref()),
            Expr::YieldFrom(expr) => self.expr(&expr.value),
            Expr::Compare(expr) => {
                self.expr(&expr.left);
                self.exprs(&expr.comparators);
            }
            Expr::Call(call) => {
                self.expr(&call.func);
                self.exprs(&call.arguments.args);
                self.keywords(&call.arguments.keywords);
            }
            Expr::FString(expr) => self.f_string(expr),
            Expr::TString(expr) => self.t_string(expr),
            Expr::Attribute(expr) => self.expr(&expr.value),
            Expr::Subscript(expr) => self.exprs([&*expr.value, &*expr.slice]),
            Expr::Starred(expr) => self.expr(&expr.value),
            Expr::List(expr) => self.exprs(&expr.elts),
            Expr::Tuple(expr) => self.exprs(&expr.elts),
            Expr::Slice(expr) => {
                self.maybe(expr.lower.as_deref());
                self.maybe(expr.upper.as_deref());
                self.maybe(expr.step.as_deref());
            }
            Expr::Name(_)
            | Expr::StringLiteral(_)
            | Expr::BytesLiteral(_)
            | Expr::NumberLiteral(_)
            | Expr::BooleanLiteral(_)
            | Expr::NoneLiteral(_)
            | Expr::EllipsisLiteral(_)
            | Expr::IpyEscapeCommand(_) => {}
        }
    }

    fn f_string(&mut self, string: &'a ExprFString) {
        self.0.extend(string.value.elements().filter_map(|element| element.as_interpolation()).map(Node::Field));
    }

    fn t_string(&mut self, string: &'a ExprTString) {
        self.0.extend(string.value.elements().filter_map(|element| element.as_interpolation()).map(Node::Field));
    }
}
