//! Python text to a program, or to nothing where the expression is more than the programs can say.

use std::sync::Arc;

use rustpython_ruff_python_ast::{
    CmpOp, Comprehension, Expr, ExprCall, FStringPart, InterpolatedStringElement, Number, Operator, UnaryOp,
};
use rustpython_ruff_python_parser::parse_expression;
use sha2::{Digest as _, Sha256};

use super::program::{Comparison, Function, Method, Node, Program};
use crate::{Text, Value};

/// Longer expressions are not worth it, and could nest deeply.
const LONGEST: usize = 2000;
/// Deepest nesting.
const DEEPEST: usize = 24;

/// Functions of openembedded-core's library that are done here, with the SHA-256 of the source that is.
const LIBRARY: [(&str, Function, &str); 2] = [
    ("oe.utils.conditional", Function::Conditional, "2bd4e18ed12c471192c0c4b0e5c8cb1e477386626caeaafb801355fdf3f215af"),
    (
        "oe.utils.prune_suffix",
        Function::PruneSuffix,
        "c18312f251ba2487b3fd3eb07f008830ae1c4971064b7dd13bb1438aafcf1e03",
    ),
];

struct Compiler<'a> {
    /// Names of the loop variables in scope.
    locals: Vec<String>,
    most_locals: usize,
    depth: usize,
    /// The source text of a library function.
    library: &'a dyn Fn(&str) -> Option<Text>,
}

/// The program of an expression, if it has one. `library` gives the source of the layers' Python functions.
pub(super) fn compile(code: &str, library: &dyn Fn(&str) -> Option<Text>) -> Option<Program> {
    if code.len() > LONGEST || too_nested(code) {
        return None;
    }
    let parsed = parse_expression(code.trim()).ok()?;
    let mut compiler = Compiler { locals: Vec::new(), most_locals: 0, depth: 0, library };
    let root = compiler.node(&parsed.syntax().body)?;
    Some(Program { root, locals: compiler.most_locals })
}

/// Whether brackets or prefix operators might nest beyond what the parser's stack is sure to hold.
fn too_nested(code: &str) -> bool {
    let openers = code.bytes().filter(|byte| b"([{-+~*".contains(byte)).count();
    let words = ["not ", "lambda", "else ", "await "].iter().map(|word| code.matches(word).count()).sum::<usize>();
    openers + words > 60
}

impl Compiler<'_> {
    fn node(&mut self, expr: &Expr) -> Option<Node> {
        self.depth += 1;
        let node = if self.depth > DEEPEST { None } else { self.inner(expr) };
        self.depth -= 1;
        node
    }

    fn boxed(&mut self, expr: &Expr) -> Option<Box<Node>> {
        self.node(expr).map(Box::new)
    }

    fn nodes<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) -> Option<Vec<Node>> {
        exprs.into_iter().map(|expr| self.node(expr)).collect()
    }

    fn inner(&mut self, expr: &Expr) -> Option<Node> {
        Some(match expr {
            Expr::StringLiteral(text) => Node::Constant(Value::from(text.value.to_str())),
            Expr::NoneLiteral(_) => Node::Constant(Value::None),
            Expr::BooleanLiteral(literal) => Node::Constant(Value::Bool(literal.value)),
            Expr::NumberLiteral(literal) => match &literal.value {
                Number::Int(int) => Node::Constant(Value::Int(int.as_i64()?)),
                _ => return None,
            },
            Expr::UnaryOp(unary) => match (unary.op, &*unary.operand) {
                (UnaryOp::Not, operand) => Node::Not(self.boxed(operand)?),
                (UnaryOp::USub, Expr::NumberLiteral(literal)) => match &literal.value {
                    Number::Int(int) => Node::Constant(Value::Int(int.as_i64()?.checked_neg()?)),
                    _ => return None,
                },
                _ => return None,
            },
            Expr::Name(name) => Node::Local(self.locals.iter().rposition(|local| local == name.id.as_str())?),
            Expr::List(list) => Node::List(self.nodes(&list.elts)?),
            Expr::Tuple(tuple) => Node::Tuple(self.nodes(&tuple.elts)?),
            Expr::BoolOp(op) => {
                let nodes = self.nodes(&op.values)?;
                if op.op.as_str() == "and" { Node::And(nodes) } else { Node::Or(nodes) }
            }
            Expr::If(choice) => Node::If {
                test: self.boxed(&choice.test)?,
                body: self.boxed(&choice.body)?,
                other: self.boxed(&choice.orelse)?,
            },
            Expr::BinOp(op) => match op.op {
                Operator::Add => Node::Add(self.boxed(&op.left)?, self.boxed(&op.right)?),
                Operator::Mod => Node::Format(self.boxed(&op.left)?, self.boxed(&op.right)?),
                _ => return None,
            },
            Expr::Compare(compare) => {
                let left = self.boxed(&compare.left)?;
                let pairs = compare.ops.iter().zip(&compare.comparators);
                let rest =
                    pairs.map(|(op, expr)| Some((comparison(*op, expr)?, self.node(expr)?))).collect::<Option<_>>()?;
                Node::Compare { left, rest }
            }
            Expr::Subscript(subscript) => match &*subscript.slice {
                Expr::Slice(slice) if slice.step.is_none() => Node::Slice {
                    of: self.boxed(&subscript.value)?,
                    from: self.optional(slice.lower.as_deref())?,
                    to: self.optional(slice.upper.as_deref())?,
                },
                Expr::Slice(_) => return None,
                index => Node::Index(self.boxed(&subscript.value)?, self.boxed(index)?),
            },
            Expr::FString(string) => {
                let mut parts = Vec::new();
                for part in &string.value {
                    match part {
                        FStringPart::Literal(text) => parts.push(Node::Constant(Value::from(&*text.value))),
                        FStringPart::FString(string) => {
                            for element in &string.elements {
                                parts.push(self.field(element)?);
                            }
                        }
                    }
                }
                Node::Concat(parts)
            }
            Expr::ListComp(comp) => self.comprehension(&comp.elt, &comp.generators)?,
            Expr::Call(call) => self.call(call)?,
            _ => return None,
        })
    }

    #[expect(clippy::option_option, reason = "absent is not the same as not to be compiled")]
    fn optional(&mut self, expr: Option<&Expr>) -> Option<Option<Box<Node>>> {
        match expr {
            Some(expr) => self.boxed(expr).map(Some),
            None => Some(None),
        }
    }

    fn field(&mut self, element: &InterpolatedStringElement) -> Option<Node> {
        match element {
            InterpolatedStringElement::Literal(text) => Some(Node::Constant(Value::from(&*text.value))),
            InterpolatedStringElement::Interpolation(field) => {
                let plain = field.debug_text.is_none() && field.conversion.is_none() && field.format_spec.is_none();
                if plain { self.node(&field.expression) } else { None }
            }
        }
    }

    fn comprehension(&mut self, element: &Expr, generators: &[Comprehension]) -> Option<Node> {
        let [generator] = generators else { return None };
        let Expr::Name(name) = &generator.target else { return None };
        if generator.is_async {
            return None;
        }
        let over = self.boxed(&generator.iter)?;
        let local = self.locals.len();
        self.locals.push(name.id.to_string());
        self.most_locals = self.most_locals.max(self.locals.len());
        let conditions = self.nodes(&generator.ifs);
        let element = self.boxed(element);
        self.locals.pop();
        Some(Node::Each { local, over, conditions: conditions?, element: element? })
    }

    fn call(&mut self, call: &ExprCall) -> Option<Node> {
        if !call.arguments.keywords.is_empty() {
            return None;
        }
        let arguments = &*call.arguments.args;
        if let Some(name) = dotted(&call.func)
            && !self.locals.iter().any(|local| name.split('.').next() == Some(local))
        {
            return self.function(&name, arguments);
        }
        let Expr::Attribute(attribute) = &*call.func else { return None };
        let method = Method::of(attribute.attr.as_str(), arguments.len())?;
        let of = self.boxed(&attribute.value)?;
        let arguments = match arguments {
            [Expr::Generator(generator)] if method == Method::Join => {
                vec![self.comprehension(&generator.elt, &generator.generators)?]
            }
            arguments => self.nodes(arguments)?,
        };
        Some(Node::Method(method, of, arguments))
    }

    fn function(&mut self, name: &str, arguments: &[Expr]) -> Option<Node> {
        let (function, count, store_at) = match (name, arguments) {
            ("d.getVar", [_]) => (Function::GetVar, 1, None),
            ("d.getVar", [_, expand]) => {
                (if constant_truth(expand)? { Function::GetVar } else { Function::GetVarRaw }, 1, None)
            }
            ("d.getVarFlag", [_, _]) => (Function::GetVarFlag, 2, None),
            ("d.getVarFlag", [_, _, expand]) if constant_truth(expand)? => (Function::GetVarFlag, 2, None),
            ("d.expand", [_]) => (Function::Expand, 1, None),
            ("bb.utils.contains", _) => (Function::Contains, 4, Some(4)),
            ("bb.utils.contains_any", _) => (Function::ContainsAny, 4, Some(4)),
            ("bb.utils.filter", _) => (Function::Filter, 2, Some(2)),
            ("bb.utils.to_boolean", [_] | [_, _]) => (Function::ToBoolean, arguments.len(), None),
            ("bb.data.inherits_class", _) => (Function::InheritsClass, 1, Some(1)),
            ("bb.parse.vars_from_file", _) => (Function::VarsFromFile, 1, Some(1)),
            ("str", [_]) => (Function::Str, 1, None),
            ("int", [_]) => (Function::Int, 1, None),
            ("bool", [_]) => (Function::Bool, 1, None),
            ("len", [_]) => (Function::Len, 1, None),
            ("sorted", [_]) => (Function::Sorted, 1, None),
            ("os.path.dirname", [_]) => (Function::Dirname, 1, None),
            ("os.path.basename", [_]) => (Function::Basename, 1, None),
            ("os.path.normpath", [_]) => (Function::Normpath, 1, None),
            ("os.path.join", [_, ..]) => (Function::JoinPath, arguments.len(), None),
            _ => self.library_function(name)?,
        };
        if let Some(at) = store_at {
            let is_store = matches!(arguments.get(at), Some(Expr::Name(name)) if name.id.as_str() == "d");
            if !is_store || arguments.len() != at + 1 {
                return None;
            }
        }
        Some(Node::Call(function, self.nodes(arguments.get(..count)?)?))
    }

    fn library_function(&self, name: &str) -> Option<(Function, usize, Option<usize>)> {
        let (_, function, digest) = LIBRARY.iter().find(|(known, ..)| *known == name)?;
        let source = (self.library)(name)?;
        if hex::encode(Sha256::digest(source.as_bytes())) != *digest {
            return None;
        }
        Some(match function {
            Function::Conditional => (*function, 4, Some(4)),
            _ => (*function, 2, Some(2)),
        })
    }
}

/// The comparison, where its meaning does not depend on what objects are the same one.
pub(in crate::python) fn comparison(op: CmpOp, right: &Expr) -> Option<Comparison> {
    Some(match op {
        CmpOp::Eq => Comparison::Equal,
        CmpOp::NotEq => Comparison::NotEqual,
        CmpOp::Lt => Comparison::Less,
        CmpOp::LtE => Comparison::LessOrEqual,
        CmpOp::Gt => Comparison::Greater,
        CmpOp::GtE => Comparison::GreaterOrEqual,
        CmpOp::In => Comparison::In,
        CmpOp::NotIn => Comparison::NotIn,
        CmpOp::Is if right.is_none_literal_expr() => Comparison::IsNone,
        CmpOp::IsNot if right.is_none_literal_expr() => Comparison::IsNotNone,
        CmpOp::Is | CmpOp::IsNot => return None,
    })
}

fn constant_truth(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::BooleanLiteral(literal) => Some(literal.value),
        Expr::NoneLiteral(_) => Some(false),
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(int) => int.as_i64().map(|int| int != 0),
            _ => None,
        },
        _ => None,
    }
}

/// The dotted name of a called function, unless what it is called on is computed.
fn dotted(expr: &Expr) -> Option<Arc<str>> {
    match expr {
        Expr::Name(name) => Some(name.id.as_str().into()),
        Expr::Attribute(attribute) => Some(format!("{}.{}", dotted(&attribute.value)?, attribute.attr).into()),
        _ => None,
    }
}
