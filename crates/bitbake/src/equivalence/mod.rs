//! Asking a hash equivalence server: which unified hash stands for a task's hash.
//!
//! `BB_HASHSERVE` names the server: `HOST:PORT`, `unix://PATH`, `ws://…` or `wss://…` ([`Client`]); or `auto` for the server that BitBake
//! starts for itself over a database of the build directory. While BitBake runs, that one is asked through its socket, else its
//! [`Database`] is read, and then the server that `BB_HASHSERVE_UPSTREAM` names (`Local`).

mod client;
mod database;
mod line;

use std::path::PathBuf;
use std::time::Duration;

pub use client::{Address, AddressError, Client, Credentials};
pub use database::Database;

use crate::signature::Equivalences;

/// How long a server may take for a connection, and for each answer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a configuration says of its server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// `BB_HASHSERVE`.
    pub server: String,
    /// `BB_HASHSERVE_UPSTREAM`.
    pub upstream: String,
    /// `BB_HASHSERVE_USERNAME` and `BB_HASHSERVE_PASSWORD`, where both are set.
    pub credentials: Option<Credentials>,
    /// `TOPDIR`.
    pub top: PathBuf,
    /// The directory of the database of `auto`: `BB_HASHSERVE_DB_DIR`, else `PERSISTENT_DIR`, else `CACHE`.
    pub database_directory: PathBuf,
}

/// What `BB_HASHSERVE = "auto"` means while BitBake does not run.
struct Local {
    address: String,
    database: Option<Database>,
    upstream: Option<Client>,
}

impl Equivalences for Local {
    fn unihashes(&mut self, queries: &[(&str, &str)]) -> Result<Vec<Option<String>>, String> {
        let mut answers = match &mut self.database {
            Some(database) => database.unihashes(queries)?,
            None => vec![None; queries.len()],
        };
        let open: Vec<usize> = (0..queries.len()).filter(|at| answers[*at].is_none()).collect();
        if let Some(upstream) = self.upstream.as_mut().filter(|_| !open.is_empty()) {
            let queries: Vec<(&str, &str)> = open.iter().map(|at| queries[*at]).collect();
            for (at, answer) in open.into_iter().zip(upstream.unihashes(&queries)?) {
                answers[at] = answer;
            }
        }
        Ok(answers)
    }

    fn address(&self) -> &str {
        self.upstream.as_ref().map_or(&self.address, |upstream| upstream.address())
    }
}

/// The server that a configuration names; `None` where it names none. Nothing is connected yet.
///
/// # Errors
///
/// Where the address is none, or the database of `auto` cannot be read.
pub fn server(settings: &ServerSettings) -> Result<Option<Box<dyn Equivalences>>, String> {
    let named = |address: &str| {
        let address = address.parse::<Address>().map_err(|error| error.to_string())?;
        Ok::<_, String>(Client::new(address, settings.credentials.clone(), PATIENCE))
    };
    match settings.server.as_str() {
        "" => Ok(None),
        "auto" => {
            let socket = format!("unix://{}/hashserve.sock", settings.top.display());
            if let Ok(mut running) = named(&socket)
                && running.connect().is_ok()
            {
                return Ok(Some(Box::new(running)));
            }
            let upstream = match settings.upstream.as_str() {
                "" => None,
                address => Some(named(address)?),
            };
            let file = settings.database_directory.join("hashserv.db");
            let database = if file.exists() { Some(Database::open(&file)?) } else { None };
            Ok(Some(Box::new(Local { address: file.display().to_string(), database, upstream })))
        }
        address => Ok(Some(Box::new(named(address)?))),
    }
}
