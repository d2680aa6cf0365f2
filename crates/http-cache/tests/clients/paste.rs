//! The lines that users paste, taken from the table of `README.md`, so that what is documented is what is tested.

use std::process::Command;

use buildnet_reapi::{Access, CacheOptions};

use crate::common::Server;

const README: &str = include_str!("../../../../README.md");
/// What the table's `TOKEN` stands for here.
pub(crate) const TOKEN: &str = "0123456789abcdef-clients";

/// A server that asks for the token.
pub(crate) fn server() -> Server {
    let access = Access::parse(&format!("ci write {TOKEN}"), None).unwrap();
    Server::start(CacheOptions { access, ..CacheOptions::default() })
}

/// The lines of a client's row, for this server.
pub(crate) fn lines(client: &str, server: &Server) -> Vec<String> {
    let row = README.lines().find(|line| line.starts_with(&format!("| {client} |")));
    let row = row.unwrap_or_else(|| panic!("README.md has no row for {client}"));
    // Within the code of a table, `|` is written `\|`.
    let row = row.replace("\\|", "\0");
    let cell = row.split('|').nth(3).expect("client, where, lines, tested with");
    let code = cell.split("<br>").map(|line| {
        let code = line.trim().strip_prefix('`').and_then(|line| line.strip_suffix('`'));
        code.unwrap_or_else(|| panic!("not code: {line}"))
    });
    let filled = |line: &str| fill(&fill(line, "HOST", &server.authority), "TOKEN", TOKEN);
    code.map(|line| filled(&line.replace('\0', "|"))).collect()
}

/// Puts the value in the place of a name that stands as a word.
fn fill(text: &str, name: &str, value: &str) -> String {
    let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut pieces = text.split(name);
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let within = filled.ends_with(word) || piece.starts_with(word);
        filled += if within { name } else { value };
        filled += piece;
    }
    filled
}

/// The lines as the text of a file.
pub(crate) fn text(client: &str, server: &Server) -> String {
    lines(client, server).iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// Sets the lines, which are `NAME=value` as a shell reads them, in a command's environment.
pub(crate) fn environment(client: &str, server: &Server, command: &mut Command) {
    for line in lines(client, server) {
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("no variable: {line}"));
        let quoted = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
        command.env(name, quoted.unwrap_or(value));
    }
}
