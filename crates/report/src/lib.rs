//! Reports of a recorded build: JSON, HTML, Markdown, Chrome traces, flame graphs.
//!
//! Every report is one self-contained file made from a [`BuildRecord`] alone. Whatever a build brings in (names, commands, log
//! lines) is escaped for the format it ends in.

mod analysis;
mod flame;
mod html;
mod json;
mod markdown;
mod text;
mod trace;

use std::fmt;
use std::str::FromStr;

use buildnet_digest::{Diagnostic, ErrorCategory};
use buildnet_history::BuildRecord;

pub use crate::analysis::{Analysis, Placement, busy_us};
pub use crate::json::JSON_VERSION;
pub use crate::text::{describe_reason, human_bytes, human_duration};

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A JSON document for programs, versioned: see [`JSON_VERSION`].
    Json,
    /// A page for a browser that needs no network.
    Html,
    /// Text for summaries of continuous integration and for merge requests.
    Markdown,
    /// A trace in the JSON format of Chrome, which Perfetto and `chrome://tracing` open.
    Trace,
    /// A flame graph as SVG that a browser opens.
    Flame,
    /// The stacks of the flame graph, one per line with microseconds, for other tools.
    Folded,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] = [Self::Json, Self::Html, Self::Markdown, Self::Trace, Self::Flame, Self::Folded];

    /// The name that the command line takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Markdown => "md",
            Self::Trace => "trace",
            Self::Flame => "flame",
            Self::Folded => "folded",
        }
    }

    /// The usual extension of such a file, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Markdown => "md",
            Self::Trace => "trace.json",
            Self::Flame => "svg",
            Self::Folded => "folded.txt",
        }
    }

    /// The media type for HTTP.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json | Self::Trace => "application/json",
            Self::Html => "text/html; charset=utf-8",
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Flame => "image/svg+xml",
            Self::Folded => "text/plain; charset=utf-8",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = ReportError;

    fn from_str(text: &str) -> Result<Self, ReportError> {
        match text {
            "markdown" => Ok(Self::Markdown),
            "svg" => Ok(Self::Flame),
            _ => Self::ALL
                .into_iter()
                .find(|format| format.name() == text)
                .ok_or_else(|| ReportError::UnknownFormat { text: text.chars().take(80).collect() }),
        }
    }
}

/// A report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// No format has this name.
    #[error("no report format `{text}`")]
    UnknownFormat {
        /// The text, cut to 80 characters.
        text: String,
    },
    /// The record holds something that JSON cannot.
    #[error("report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Diagnostic for ReportError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::UnknownFormat { .. } => ErrorCategory::User,
            Self::Json(_) => ErrorCategory::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownFormat { .. } => {
                let names: Vec<&str> = Format::ALL.into_iter().map(Format::name).collect();
                Some(format!("Formats: {}.", names.join(", ")))
            }
            Self::Json(_) => None,
        }
    }
}

/// Makes a report of a build.
pub fn render(build: &BuildRecord, format: Format) -> Result<Vec<u8>, ReportError> {
    let analysis = Analysis::of(build);
    match format {
        Format::Json => json::render(build, &analysis),
        Format::Html => html::render(build, &analysis),
        Format::Markdown => Ok(markdown::render(build, &analysis).into_bytes()),
        Format::Trace => trace::render(build, &analysis),
        Format::Flame => Ok(flame::svg(build).into_bytes()),
        Format::Folded => Ok(flame::folded(build).into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found_by_name() {
        for format in Format::ALL {
            assert_eq!(format.name().parse::<Format>().unwrap(), format);
        }
        let error = "pdf".parse::<Format>().unwrap_err();
        assert_eq!(error.to_string(), "no report format `pdf`");
        assert_eq!(error.hint().unwrap(), "Formats: json, html, md, trace, flame, folded.");
    }
}
