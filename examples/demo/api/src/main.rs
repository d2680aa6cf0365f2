//! `api EXPRESSION...`: evaluates each and prints a table.

use std::ffi::{CStr, CString, c_char};
use std::process::ExitCode;

use client::RawResult;

/// A table of `ui`.
#[repr(C)]
struct Table {
    _private: [u8; 0],
}

#[link(name = "plugin", kind = "static")]
extern "C" {
    fn plugin_evaluate(expression: *const c_char) -> RawResult;
    fn plugin_count() -> usize;
}

#[link(name = "ui", kind = "static")]
extern "C" {
    fn ui_begin(title: *const c_char) -> *mut Table;
    fn ui_row(table: *mut Table, label: *const c_char, value: *const c_char);
    fn ui_finish(table: *mut Table) -> *const c_char;
    fn ui_free(table: *mut Table);
}

fn main() -> ExitCode {
    let expressions: Vec<String> = std::env::args().skip(1).collect();
    let mut failed = false;
    let mut rows = Vec::new();
    for expression in &expressions {
        // SAFETY: `evaluate_with` passes text that ends in NUL and outlives the call.
        let value = match client::evaluate_with(expression, |text| unsafe { plugin_evaluate(text) }) {
            Ok(answer) => format!("{} (#{:016x})", answer.value, answer.fingerprint),
            Err(error) => {
                failed = true;
                error.to_string()
            }
        };
        rows.push((expression.as_str(), value));
    }
    // SAFETY: no arguments.
    let functions = unsafe { plugin_count() };
    print!("{}", draw(&format!("expressions: {}, functions: {functions}", rows.len()), &rows));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn draw(title: &str, rows: &[(&str, String)]) -> String {
    let c = |text: &str| CString::new(text.replace('\0', "?")).expect("NUL bytes were replaced");
    // SAFETY: all texts end in NUL and live until the call returns; the table is freed once, after its text was copied.
    unsafe {
        let table = ui_begin(c(title).as_ptr());
        assert!(!table.is_null(), "out of memory");
        for (label, value) in rows {
            ui_row(table, c(label).as_ptr(), c(value).as_ptr());
        }
        let text = CStr::from_ptr(ui_finish(table)).to_string_lossy().into_owned();
        ui_free(table);
        text
    }
}
