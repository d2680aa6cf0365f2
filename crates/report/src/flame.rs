//! The flame graph: where the time of a build's tasks went, by package, task and phase.
//!
//! A frame is as wide as the time that the tasks under it were busy, all slots added up, so that what is wide is what costs. The
//! phases of a task are its command, and the inputs laid out before it and the outputs collected after it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use buildnet_event::{TaskOutcome, Tier};
use buildnet_history::{BuildRecord, TaskRecord};

use crate::analysis::busy_us;
use crate::text::{human_duration, plain};

/// Width of the picture and height of one frame, in pixels.
const WIDTH: u64 = 1200;
const ROW: u64 = 20;
/// Room above the frames for the title.
const HEAD: u64 = 46;
/// Average width of a character of the labels, in pixels.
const CHARACTER: u64 = 7;

/// Widths are reckoned in thousandths of a pixel; narrower frames than this are left out.
const NARROWEST: u64 = 100;

#[derive(Default)]
struct Frame {
    us: u64,
    color: &'static str,
    children: BTreeMap<String, Frame>,
}

fn tree(build: &BuildRecord) -> Frame {
    let mut root = Frame { color: "#d6d3cd", ..Frame::default() };
    for task in build.tasks.iter().filter(|task| busy_us(task) > 0) {
        let us = busy_us(task);
        let package = root.child(&task.summary.task.package, "#c4b5a0", us);
        let frame = package.child(&task.summary.task.task, tier_color(task), us);
        for (phase, us) in phases(task) {
            frame.child(phase, if phase == "command" { tier_color(task) } else { "#b9c3cc" }, us);
        }
        root.us += us;
    }
    root
}

impl Frame {
    /// The frame of this name below, which takes so much more time.
    fn child(&mut self, name: &str, color: &'static str, us: u64) -> &mut Self {
        let child = self.children.entry(name.to_owned()).or_default();
        child.us += us;
        child.color = color;
        child
    }
}

fn tier_color(task: &TaskRecord) -> &'static str {
    match (task.summary.outcome, task.summary.tier) {
        (TaskOutcome::Failed, _) => "#e5484d",
        (TaskOutcome::Success, Some(Tier::Cached)) => "#5bb98b",
        (TaskOutcome::Success, Some(Tier::Incremental)) => "#e2a336",
        (TaskOutcome::Success, Some(Tier::Full)) => "#f76b15",
        _ => "#a8a29e",
    }
}

/// What a task's busy time was spent on; phases without time are left out.
fn phases(task: &TaskRecord) -> Vec<(&'static str, u64)> {
    let busy = busy_us(task);
    let phases = match task.execute_us {
        Some(_) => {
            let command = task.summary.execution_us.min(busy);
            vec![("command", command), ("inputs and outputs", busy - command)]
        }
        None => vec![("restore", busy)],
    };
    phases.into_iter().filter(|&(_, us)| us > 0).collect()
}

/// One line per stack: frames separated by `;`, a space, microseconds.
pub(crate) fn folded(build: &BuildRecord) -> String {
    fn walk(out: &mut String, frame: &Frame, stack: &str) {
        if frame.children.is_empty() {
            // Writing to a string never fails.
            let _ = writeln!(out, "{stack} {}", frame.us);
        }
        for (name, child) in &frame.children {
            walk(out, child, &format!("{stack};{}", stack_name(name)));
        }
    }
    let mut out = String::new();
    let root = tree(build);
    if root.us > 0 {
        walk(&mut out, &root, &stack_name(&title(build)));
    }
    out
}

/// A name without what separates stacks.
fn stack_name(name: &str) -> String {
    plain(name).replace([';', '\n', '\t'], "_")
}

fn title(build: &BuildRecord) -> String {
    format!("buildnet {}", build.head.command)
}

/// A picture that needs nothing else. Clicking a frame widens it, where the viewer runs scripts.
pub(crate) fn svg(build: &BuildRecord) -> String {
    let root = tree(build);
    let height = HEAD + 4 * (ROW + 1) + 8;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"ui-sans-serif, system-ui, sans-serif\" font-size=\"12\">\n\
         <style>{}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fbfaf8\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\" font-weight=\"600\">{}</text>\n\
         <text x=\"10\" y=\"39\" class=\"dim\">{} of task time in {} wall time; click a frame to widen it, the topmost to go back</text>\n",
        include_str!("flame.css"),
        escape(&title(build)),
        human_duration(root.us),
        human_duration(build.head.duration_us),
    );
    if root.us > 0 {
        draw(&mut out, &root, &title(build), Span { total_us: root.us, at_us: 0, depth: 0 });
    }
    let _ = write!(out, "<script><![CDATA[\n{}]]></script>\n</svg>\n", include_str!("flame.js"));
    out
}

/// Where a frame stands.
#[derive(Clone, Copy)]
struct Span {
    /// What the picture's whole width stands for.
    total_us: u64,
    at_us: u64,
    depth: u64,
}

fn draw(out: &mut String, frame: &Frame, name: &str, span: Span) {
    let inner = (WIDTH - 20) * 1000;
    let scale =
        |us: u64| u64::try_from(u128::from(us) * u128::from(inner) / u128::from(span.total_us)).unwrap_or(inner);
    let (x, width) = (scale(span.at_us) + 10_000, scale(frame.us));
    if width < NARROWEST {
        return;
    }
    let y = HEAD + span.depth * (ROW + 1);
    let percent = u64::try_from(u128::from(frame.us) * 1000 / u128::from(span.total_us)).unwrap_or(1000);
    let (name, time) = (escape(name), human_duration(frame.us));
    let room = usize::try_from(width / 1000 / CHARACTER).unwrap_or(0);
    let _ = write!(
        out,
        "<g class=\"f\" data-x=\"{}\" data-w=\"{}\" data-d=\"{}\"><title>{name}: {time}, {}.{} %</title>\
         <rect x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{ROW}\" fill=\"{}\"/>",
        span.at_us,
        frame.us,
        span.depth,
        percent / 10,
        percent % 10,
        thousandths(x),
        thousandths(width),
        frame.color,
    );
    let label = if room >= 3 { name.as_str() } else { "" };
    let clip = thousandths(width.saturating_sub(6_000));
    let _ = writeln!(
        out,
        "<svg x=\"{}\" y=\"{y}\" width=\"{clip}\" height=\"{ROW}\"><text y=\"14\">{label}</text></svg></g>",
        thousandths(x + 4_000)
    );
    let mut at_us = span.at_us;
    for (name, child) in &frame.children {
        draw(out, child, name, Span { at_us, depth: span.depth + 1, ..span });
        at_us += child.us;
    }
}

/// Thousandths of a pixel as a decimal number.
fn thousandths(value: u64) -> String {
    format!("{}.{:03}", value / 1000, value % 1000)
}

/// Text for XML, without characters that XML 1.0 does not allow.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
