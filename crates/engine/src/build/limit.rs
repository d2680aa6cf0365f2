//! How many commands run at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use buildnet_event::TaskName;

use super::session::BuildOptions;
use super::spec::{ActionSpec, Plan};

/// Hands out the machine's cores.
#[derive(Debug)]
pub(super) struct Limit {
    cores: Arc<Semaphore>,
    count: u32,
}

impl Limit {
    pub(super) fn new(_plan: &Plan, options: &BuildOptions) -> Self {
        let machine = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
        let count = if options.jobs == 0 { machine } else { options.jobs };
        Self { cores: Arc::new(Semaphore::new(count as usize)), count }
    }

    /// Waits until the command may start; what it holds is free again when the permit is dropped.
    pub(super) async fn admit(&self, _task: &TaskName, spec: &ActionSpec) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.cores).acquire_many_owned(spec.cpus.clamp(1, self.count)).await.ok()
    }
}
