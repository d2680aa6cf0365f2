//! The table of targets. A new one is one line here.

mod archive;
mod bitbake;
mod equivalence;
mod grpc;
mod http;
mod text;
mod tree;

use crate::Target;

/// All targets.
pub static TARGETS: &[Target] = &[
    Target { name: "digest", run: text::digest, seeds: text::digest_seeds, words: text::DIGEST_WORDS },
    Target { name: "token-file", run: text::tokens, seeds: text::token_seeds, words: text::TOKEN_WORDS },
    Target { name: "origin-rule", run: text::origin_rule, seeds: text::origin_seeds, words: text::ORIGIN_WORDS },
    Target { name: "directory-tree", run: tree::tree, seeds: tree::tree_seeds, words: tree::WORDS },
    Target { name: "directory-path", run: tree::path, seeds: tree::path_seeds, words: tree::WORDS },
    Target { name: "resource-name", run: grpc::resource_name, seeds: grpc::name_seeds, words: grpc::NAME_WORDS },
    Target { name: "grpc-message", run: grpc::message, seeds: grpc::message_seeds, words: grpc::NAME_WORDS },
    Target { name: "grpc-framing", run: grpc::framing, seeds: grpc::framing_seeds, words: grpc::NAME_WORDS },
    Target { name: "write-stream", run: grpc::write, seeds: grpc::write_seeds, words: grpc::NAME_WORDS },
    Target { name: "http-request", run: http::request, seeds: http::seeds, words: http::WORDS },
    Target { name: "hash-equivalence", run: equivalence::lines, seeds: equivalence::seeds, words: equivalence::WORDS },
    Target { name: "archive", run: archive::unpack, seeds: archive::seeds, words: archive::WORDS },
    Target { name: "bitbake-file", run: bitbake::file, seeds: bitbake::file_seeds, words: bitbake::WORDS },
    Target {
        name: "bitbake-shell",
        run: bitbake::shell_code,
        seeds: bitbake::shell_seeds,
        words: bitbake::SHELL_WORDS,
    },
    Target {
        name: "bitbake-python",
        run: bitbake::python_code,
        seeds: bitbake::python_seeds,
        words: bitbake::PYTHON_WORDS,
    },
    Target {
        name: "bitbake-signature",
        run: bitbake::signature_file,
        seeds: bitbake::signature_seeds,
        words: bitbake::PYTHON_WORDS,
    },
    Target {
        name: "bitbake-version",
        run: bitbake::versions,
        seeds: bitbake::version_seeds,
        words: bitbake::VERSION_WORDS,
    },
];
