//! Reports of a build: JSON, HTML, Markdown, traces, flame graphs.
