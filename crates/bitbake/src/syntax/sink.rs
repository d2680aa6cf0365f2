//! Who listens to the grammar.

use super::SyntaxKind;
use super::lines::Logical;

/// Is told what the grammar finds, in the order of the file.
///
/// The path that evaluates metadata listens to nothing but statements ([`Nothing`]): for it, all of this compiles to no code. The
/// syntax tree is made by a sink that keeps everything.
pub(super) trait Sink {
    /// A part of the logical line that is being read; told in their order, without overlaps, before [`Sink::line`].
    fn mark(&mut self, kind: SyntaxKind, part: &str);
    /// A logical line: everything up to its end belongs to the open node.
    fn line(&mut self, line: &Logical<'_, '_>);
    /// A node begins.
    fn open(&mut self, kind: SyntaxKind);
    /// The node ends.
    fn close(&mut self);
    /// A line that belongs to a function's body.
    fn body(&mut self, line: &str);
}

/// Listens to nothing.
pub(super) struct Nothing;

impl Sink for Nothing {
    #[inline]
    fn mark(&mut self, _kind: SyntaxKind, _part: &str) {}
    #[inline]
    fn line(&mut self, _line: &Logical<'_, '_>) {}
    #[inline]
    fn open(&mut self, _kind: SyntaxKind) {}
    #[inline]
    fn close(&mut self) {}
    #[inline]
    fn body(&mut self, _line: &str) {}
}
