//! One listener's view of a build.

use std::collections::VecDeque;
use std::sync::Arc;

use buildnet_event::{BuildId, Bus, Event, EventKind, Lagged, Level, Subscription, TaskOutcome, Tier};
use tokio::sync::watch;

use super::flight::{Ending, Listener};
use super::line::{Line, Note};

/// The lines of one build, from its start. Dropping the last stream of a build that nobody detached cancels it.
#[derive(Debug)]
pub struct BuildStream {
    listener: Listener,
    events: Subscription,
    ending: watch::Receiver<Ending>,
    compact: bool,
    /// Instant tasks that were not told yet.
    instants: u64,
    ready: VecDeque<Line>,
    ended: bool,
}

impl BuildStream {
    pub(super) fn new(listener: Listener, bus: &Bus, compact: bool) -> Self {
        let events = bus.subscribe_after(listener.flight.after);
        let ending = listener.flight.ending.clone();
        Self { listener, events, ending, compact, instants: 0, ready: VecDeque::new(), ended: false }
    }

    /// The build.
    pub fn id(&self) -> BuildId {
        self.listener.flight.id
    }

    /// The next line; none when the build has ended and everything was told.
    pub async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            match self.events.try_next() {
                Some(event) => self.take(event),
                None if self.instants > 0 => self.flush_instants(),
                None => self.wait().await,
            }
        }
    }

    /// The next line if it is there already.
    pub fn try_next(&mut self) -> Option<Line> {
        while self.ready.is_empty() && !self.ended {
            let Some(event) = self.events.try_next() else {
                self.flush_instants();
                break;
            };
            self.take(event);
        }
        self.ready.pop_front()
    }

    /// Waits until there is an event, or the build has ended.
    async fn wait(&mut self) {
        let event = tokio::select! {
            biased;
            event = self.events.next() => event,
            // An error means that the sender is gone, which it is only after it has sent.
            _ = self.ending.wait_for(Option::is_some) => None,
        };
        match event {
            Some(event) => self.take(event),
            None => self.end(),
        }
    }

    /// Tells what is left. The runner published everything before it returned.
    fn end(&mut self) {
        while let Some(event) = self.events.try_next() {
            self.take(event);
        }
        self.flush_instants();
        if let Some(Err(error)) = &*self.ending.borrow() {
            self.ready.push_back(Line::Note(Note::Error { error: error.clone() }));
        }
        self.ended = true;
    }

    fn take(&mut self, event: Result<Arc<Event>, Lagged>) {
        match event {
            Ok(event) if event.build == Some(self.id()) => match instants(&event) {
                _ if self.compact && matches!(event.kind, EventKind::TaskOutput { .. }) => {}
                count if self.compact && count > 0 => self.instants += count,
                _ => {
                    self.flush_instants();
                    self.ready.push_back(Line::Event(event));
                }
            },
            // A warning about the daemon itself concerns whoever watches it.
            Ok(event) if event.build.is_none() && is_warning(&event) => {
                self.flush_instants();
                self.ready.push_back(Line::Event(event));
            }
            Ok(_) => {}
            Err(Lagged { missed }) => self.ready.push_back(Line::Note(Note::Gap { missed })),
        }
    }

    fn flush_instants(&mut self) {
        if self.instants > 0 {
            self.ready.push_back(Line::Note(Note::Instant { count: self.instants }));
            self.instants = 0;
        }
    }
}

fn is_warning(event: &Event) -> bool {
    matches!(event.kind, EventKind::Notice { level: Level::Warning, .. })
}

/// How many tasks an event says were instant, if that is all it says.
fn instants(event: &Event) -> u64 {
    match &event.kind {
        EventKind::TasksUnchanged { tasks } => tasks.len() as u64,
        EventKind::TaskFinished(task) if task.tier == Some(Tier::Instant) && task.outcome == TaskOutcome::Success => 1,
        _ => 0,
    }
}
