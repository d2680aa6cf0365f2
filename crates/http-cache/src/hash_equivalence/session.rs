//! One client's conversation: a greeting, then JSON messages with an answer to each.

use std::time::Instant;

use buildnet_reapi::metrics::{Outcome, Sample};
use buildnet_reapi::{CacheError, CacheService, Identity, Role};
use serde_json::{Value, json};

use super::database::{COLUMNS, Equivalences, Report};

/// Longest text of one field in bytes.
const MAX_FIELD: usize = 1 << 20;

/// A connection that carries texts in both directions.
pub(super) trait Line {
    /// The next line without its end; `None` when the client is gone or misbehaves.
    async fn receive_line(&mut self) -> Option<String>;
    /// The next JSON message, put together when it came in pieces.
    async fn receive_message(&mut self) -> Option<Value>;
    async fn send_line(&mut self, line: &str) -> Option<()>;
    async fn send_message(&mut self, message: &Value) -> Option<()>;
}

/// What one client may do and has done.
pub(super) struct Session {
    service: CacheService,
    equivalences: Equivalences,
    identity: Option<Identity>,
    /// Which tokens it was let in by.
    generation: u64,
    requests: u64,
    seconds: f64,
    longest: f64,
}

/// What the lines of a stream ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Get,
    Exists,
    Mark,
}

impl Stream {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "get-stream" => Some(Self::Get),
            "exists-stream" => Some(Self::Exists),
            "gc-mark-stream" => Some(Self::Mark),
            _ => None,
        }
    }
}

/// Unified hashes enter file names and signatures of other builds, so nothing but a SHA-256 is taken for one.
fn checked(unihash: String) -> Result<String, Refused> {
    let good = unihash.len() == 64 && unihash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if good { Ok(unihash) } else { Err(invalid_unihash()) }
}

fn invalid_unihash() -> Refused {
    Refused::Client("Invalid unihash".into())
}

/// Why a request is refused; told to the client, which is then dropped.
enum Refused {
    Client(String),
    Server(CacheError),
}

impl From<CacheError> for Refused {
    fn from(error: CacheError) -> Self {
        Self::Server(error)
    }
}

impl Session {
    pub(super) fn new(service: CacheService, equivalences: Equivalences, identity: Option<Identity>) -> Self {
        let generation = service.access().generation();
        Self { service, equivalences, identity, generation, requests: 0, seconds: 0.0, longest: 0.0 }
    }

    /// Until the client is gone.
    pub(super) async fn run<L: Line>(&mut self, line: &mut L) -> Option<()> {
        let greeting = line.receive_line().await?;
        let (protocol, version) = greeting.split_once(' ')?;
        if protocol != "OEHASHEQUIV" || !matches!(version, "1.0" | "1.1") {
            return None;
        }
        let mut wants_headers = false;
        loop {
            let header = line.receive_line().await?;
            match header.split_once(':') {
                None if header.is_empty() => break,
                Some(("needs-headers", value)) => wants_headers = value.trim() == "true",
                _ => {}
            }
        }
        if wants_headers {
            // No header of ours means anything; the empty line ends them.
            line.send_line("").await?;
        }
        loop {
            let message = line.receive_message().await?;
            // Whose token it was may have none any more: the client comes again and shows what it has.
            if self.service.access().generation() != self.generation {
                return None;
            }
            let started = Instant::now();
            let (name, argument) =
                message.as_object()?.iter().next().map(|(name, value)| (name.clone(), value.clone()))?;
            if let Some(kind) = Stream::from_name(&name) {
                self.stream(line, kind).await?;
                continue;
            }
            let answer = self.answer(&name, argument).await;
            self.count(started, answer.is_ok());
            match answer {
                Ok(answer) => line.send_message(&answer).await?,
                Err(refused) => {
                    let message = match refused {
                        Refused::Client(message) => message,
                        Refused::Server(error) => error.to_string(),
                    };
                    line.send_message(&json!({ "invoke-error": { "message": message } })).await?;
                    return None;
                }
            }
        }
    }

    fn count(&mut self, started: Instant, good: bool) {
        let latency = started.elapsed();
        self.requests += 1;
        self.seconds += latency.as_secs_f64();
        self.longest = self.longest.max(latency.as_secs_f64());
        self.service.metrics().record(&Sample {
            protocol: "hash-equivalence",
            operation: "request",
            instance: "",
            client: "bitbake",
            outcome: if good { Outcome::Done } else { Outcome::Failed },
            received: 0,
            sent: 0,
            latency,
        });
    }

    fn allow(&self, role: Role) -> Result<(), Refused> {
        Ok(self.service.authorize(self.identity.as_ref(), "", role).map(drop)?)
    }

    /// Works on the database outside the threads that serve connections.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Equivalences) -> Result<T, CacheError> + Send + 'static,
    ) -> Result<T, Refused> {
        let equivalences = self.equivalences.clone();
        Ok(self.service.run(move |_| work(&equivalences)).await?)
    }

    /// Raw lines, one answer each, until `END`.
    async fn stream<L: Line>(&mut self, line: &mut L, kind: Stream) -> Option<()> {
        let allowed = self.allow(if kind == Stream::Mark { Role::Admin } else { Role::Read }).is_ok();
        line.send_message(&json!(if allowed { "ok" } else { "denied" })).await?;
        if !allowed {
            return None;
        }
        loop {
            let text = line.receive_line().await?.trim().to_owned();
            if text == "END" {
                return line.send_line("ok").await;
            }
            let started = Instant::now();
            let answer = match kind {
                Stream::Exists => {
                    self.ask(move |database| database.unihash_exists(&text)).await.map(|found| found.to_string())
                }
                Stream::Get => {
                    let (method, taskhash) = text.split_once(' ')?;
                    let (method, taskhash) = (method.to_owned(), taskhash.to_owned());
                    self.ask(move |database| database.unihash(&method, &taskhash)).await.map(Option::unwrap_or_default)
                }
                Stream::Mark => {
                    let marked: Value = serde_json::from_str(&text).ok()?;
                    let mark = marked.get("mark")?.as_str()?.to_owned();
                    let conditions = conditions(&marked);
                    let count = self.ask(move |database| database.mark(&mark, &conditions)).await;
                    count.map(|count| json!({ "count": count }).to_string())
                }
            };
            self.count(started, answer.is_ok());
            line.send_line(&answer.ok()?).await?;
        }
    }

    async fn answer(&mut self, name: &str, argument: Value) -> Result<Value, Refused> {
        let text = |field: &str| match argument.get(field).and_then(Value::as_str) {
            Some(text) if text.len() <= MAX_FIELD => Ok(text.to_owned()),
            _ => Err(Refused::Client(format!("`{name}` needs the text `{field}`"))),
        };
        let flag = |field: &str, default: bool| argument.get(field).and_then(Value::as_bool).unwrap_or(default);
        match name {
            "ping" => Ok(json!({ "alive": true })),
            "auth" => self.authenticate(&text("token")?),
            "get-stats" => Ok(self.stats()),
            "reset-stats" => {
                self.allow(Role::Admin)?;
                let before = self.stats();
                (self.requests, self.seconds, self.longest) = (0, 0.0, 0.0);
                Ok(before)
            }
            "backfill-wait" => Ok(json!({ "tasks": 0 })),
            "get" => {
                self.allow(Role::Read)?;
                let (method, taskhash, all) = (text("method")?, text("taskhash")?, flag("all", false));
                self.ask(move |database| {
                    if all {
                        return Ok(database.task(&method, &taskhash)?.unwrap_or(Value::Null));
                    }
                    let unihash = database.unihash(&method, &taskhash)?;
                    Ok(unihash.map_or(
                        Value::Null,
                        |unihash| json!({ "taskhash": taskhash, "method": method, "unihash": unihash }),
                    ))
                })
                .await
            }
            "get-outhash" => {
                self.allow(Role::Read)?;
                let (method, outhash, with) = (text("method")?, text("outhash")?, flag("with_unihash", true));
                self.ask(move |database| Ok(database.outhash(&method, &outhash, with)?.unwrap_or(Value::Null))).await
            }
            "report" => self.report(&argument).await,
            "report-equiv" => {
                self.allow(Role::Write)?;
                let (method, taskhash, unihash) = (text("method")?, text("taskhash")?, checked(text("unihash")?)?);
                self.ask(move |database| {
                    let unihash = database.report_equivalent(&method, &taskhash, &unihash)?;
                    Ok(json!({ "taskhash": taskhash, "method": method, "unihash": unihash }))
                })
                .await
            }
            _ => self.maintain(name, argument).await,
        }
    }

    async fn report(&self, argument: &Value) -> Result<Value, Refused> {
        if argument.get("unihash").and_then(Value::as_str).is_none() {
            return Err(invalid_unihash());
        }
        let report = Report::of(argument)
            .ok_or_else(|| Refused::Client("`report` lacks method, taskhash, outhash or unihash".into()))?;
        checked(report.unihash.clone())?;
        // Who may only read gets what would be the answer, and nothing is kept.
        let writable = self.allow(Role::Write).is_ok();
        self.allow(Role::Read)?;
        self.ask(move |database| {
            let unihash = if writable {
                database.report(&report)?
            } else {
                let known = database.outhash(&report.method, &report.outhash, true)?;
                let known = known.and_then(|row| row["unihash"].as_str().map(str::to_owned));
                known.unwrap_or_else(|| report.unihash.clone())
            };
            Ok(json!({ "taskhash": report.taskhash, "method": report.method, "unihash": unihash }))
        })
        .await
    }

    async fn maintain(&self, name: &str, argument: Value) -> Result<Value, Refused> {
        let unknown = || Refused::Client(format!("`{name}` is not known"));
        let conditions = conditions(&argument);
        let mark = argument.get("mark").and_then(Value::as_str).unwrap_or_default().to_owned();
        match name {
            "remove" | "gc-mark" | "gc-sweep" | "clean-unused" => self.allow(Role::Admin)?,
            _ => self.allow(Role::Read)?,
        }
        match name {
            "remove" => self.ask(move |database| Ok(json!({ "count": database.remove(&conditions)? }))).await,
            "clean-unused" => {
                let age = argument.get("max_age_seconds").and_then(Value::as_i64).ok_or_else(unknown)?;
                self.ask(move |database| Ok(json!({ "count": database.clean_unused(age)? }))).await
            }
            "gc-mark" => self.ask(move |database| Ok(json!({ "count": database.mark(&mark, &conditions)? }))).await,
            "gc-sweep" => {
                let swept = self.ask(move |database| database.sweep(&mark)).await?;
                let count = swept.ok_or_else(|| Refused::Client("this is not the mark in use".into()))?;
                Ok(json!({ "count": count }))
            }
            "gc-status" => {
                let (mark, keep, remove) = self.ask(Equivalences::marked).await?;
                Ok(json!({ "mark": mark, "keep": keep, "remove": remove }))
            }
            "get-db-usage" => Ok(json!({ "usage": self.ask(Equivalences::usage).await? })),
            "get-db-query-columns" => Ok(json!({ "columns": COLUMNS })),
            _ => Err(unknown()),
        }
    }

    fn authenticate(&mut self, token: &str) -> Result<Value, Refused> {
        let identity = self.service.access().identify_secret(token);
        let identity = identity.ok_or_else(|| Refused::Client("this token is not valid".into()))?;
        let permissions = match identity.role {
            Role::Read => vec!["@read"],
            Role::Write => vec!["@read", "@report"],
            Role::Admin => vec!["@read", "@report", "@db-admin"],
        };
        let answer = json!({ "result": true, "username": &*identity.name, "permissions": permissions });
        self.identity = Some(identity);
        Ok(answer)
    }

    /// Of this connection.
    fn stats(&self) -> Value {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let average = if self.requests == 0 { 0.0 } else { self.seconds / self.requests as f64 };
        json!({ "requests": {
            "num": self.requests, "total_time": self.seconds, "max_time": self.longest, "average": average, "stdev": 0.0,
        } })
    }
}

fn conditions(argument: &Value) -> Vec<(String, String)> {
    let fields = argument.get("where").and_then(Value::as_object).into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
