//! What the routes share.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::metrics::Metrics;
use crate::service::{Bitbake, Service};

/// The daemon, as its routes see it.
#[derive(Clone)]
pub struct App {
    shared: Arc<Shared>,
}

struct Shared {
    service: Service,
    access: Access,
    metrics: Arc<Metrics>,
    started: Instant,
    instance: String,
    stop: CancellationToken,
    bitbake: Arc<Bitbake>,
    program: String,
}

impl App {
    /// A daemon around a service. `stop` ends it.
    pub fn new(service: Service, access: Access, stop: CancellationToken) -> Self {
        let metrics = Arc::new(Metrics::default());
        let instance = uuid::Uuid::new_v4().simple().to_string();
        let (bitbake, program) = (Arc::default(), crate::process::program());
        let shared = Shared { service, access, metrics, started: Instant::now(), instance, stop, bitbake, program };
        Self { shared: Arc::new(shared) }
    }

    /// The service.
    pub fn service(&self) -> &Service {
        &self.shared.service
    }

    /// Build directories of BitBake metadata.
    pub fn bitbake(&self) -> &Arc<Bitbake> {
        &self.shared.bitbake
    }

    /// Which build of the program it is.
    pub fn program(&self) -> &str {
        &self.shared.program
    }

    /// Who may use it.
    pub fn access(&self) -> &Access {
        &self.shared.access
    }

    /// Its counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// When it started.
    pub fn started(&self) -> Instant {
        self.shared.started
    }

    /// Names this process: event numbers of two processes have nothing to do with each other.
    pub fn instance(&self) -> &str {
        &self.shared.instance
    }

    /// The user it runs as.
    pub fn user(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// Ends the daemon when cancelled.
    pub fn stop(&self) -> &CancellationToken {
        &self.shared.stop
    }
}
