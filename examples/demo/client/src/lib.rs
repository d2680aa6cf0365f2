//! A safe face for the C evaluator in `core`, with or without functions.

use std::ffi::{CString, c_char, c_double, c_int, c_long, c_void};
use std::fmt;

/// `struct core_result` of `core.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RawResult {
    value: c_double,
    fingerprint: u64,
    error: c_long,
}

/// `core_call` of `core.h`.
pub type Call = extern "C" fn(*mut c_void, *const c_char, *const c_double, usize, *mut c_double) -> c_int;

#[link(name = "core", kind = "static", modifiers = "-bundle")]
#[link(name = "shared", kind = "static", modifiers = "-bundle")]
extern "C" {
    fn core_evaluate(expression: *const c_char, call: Option<Call>, context: *mut c_void) -> RawResult;
}

/// The value of an expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Its number.
    pub value: f64,
    /// Equal for expressions that differ in blanks only.
    pub fingerprint: u64,
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The expression contains a NUL byte.
    Nul,
    /// It is wrong at this byte.
    At(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nul => write!(f, "contains a NUL byte"),
            Self::At(byte) => write!(f, "wrong at byte {byte}"),
        }
    }
}

impl RawResult {
    /// Makes an answer of what C returned.
    pub fn check(self) -> Result<Answer, Error> {
        match usize::try_from(self.error) {
            Ok(byte) => Err(Error::At(byte)),
            Err(_) => Ok(Answer { value: self.value, fingerprint: self.fingerprint }),
        }
    }
}

/// Evaluates with an evaluator of the same shape as `core`'s own, such as one that knows functions.
pub fn evaluate_with(expression: &str, evaluator: impl FnOnce(*const c_char) -> RawResult) -> Result<Answer, Error> {
    let expression = CString::new(expression).map_err(|_| Error::Nul)?;
    evaluator(expression.as_ptr()).check()
}

/// Evaluates plain arithmetic.
pub fn evaluate(expression: &str) -> Result<Answer, Error> {
    // SAFETY: the text ends in NUL and outlives the call; without functions the context is not used.
    evaluate_with(expression, |text| unsafe { core_evaluate(text, None, std::ptr::null_mut()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluates() {
        assert_eq!(evaluate("6 * 7").unwrap().value, 42.0);
        assert_eq!(evaluate("6*7").unwrap().fingerprint, evaluate("6 * 7").unwrap().fingerprint);
    }

    #[test]
    fn says_where_it_is_wrong() {
        assert_eq!(evaluate("6 *"), Err(Error::At(3)));
        assert_eq!(evaluate("6\0"), Err(Error::Nul));
    }
}
