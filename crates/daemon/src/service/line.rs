//! One line of a build's stream.

use std::sync::Arc;

use buildnet_event::Event;
use serde::{Deserialize, Serialize};

use crate::error::ErrorReport;

/// What a client of a build reads: events, and what concerns the stream itself. One JSON object per line on the wire; an object without
/// `stream` is an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// About the stream.
    Note(Note),
    /// Something happened.
    Event(Arc<Event>),
}

/// What is to be told of a stream besides its events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stream", rename_all = "snake_case")]
pub enum Note {
    /// So many tasks ended as instant and are not told one by one.
    Instant {
        /// How many.
        count: u64,
    },
    /// The reader was too slow: so many events of this process were lost to it.
    Gap {
        /// How many.
        missed: u64,
    },
    /// The build could not be carried out; nothing follows.
    Error {
        /// Why.
        error: ErrorReport,
    },
}

#[cfg(test)]
mod tests {
    use buildnet_event::{BuildId, EventKind, Level};

    use super::*;

    #[test]
    fn lines_survive_the_wire() {
        let event = Event {
            seq: 7,
            time_ms: 1,
            build: Some(BuildId(uuid::Uuid::nil())),
            kind: EventKind::Notice { level: Level::Info, text: "x".to_owned(), hint: None },
        };
        let lines = [
            Line::Event(Arc::new(event)),
            Line::Note(Note::Instant { count: 3 }),
            Line::Note(Note::Gap { missed: 2 }),
            Line::Note(Note::Error { error: ErrorReport::user("no such package") }),
        ];
        for line in lines {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line, "{text}");
        }
    }
}
