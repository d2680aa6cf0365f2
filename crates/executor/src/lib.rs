//! One action: materialise inputs, run in the sandbox, collect outputs.
//!
//! [`Executor::execute`] runs one command over an execution root that holds only its inputs, and stores what it declared as
//! outputs. [`place`] puts outputs into a workspace, from a run or from the store.

mod collect;
mod error;
mod execute;
pub mod outputs;
mod place;
mod root;
mod scratch;

pub use crate::error::ExecutorError;
pub use crate::execute::{EXECUTION_ROOT, Executed, Execution, Executor, HostMount, Input, StateDir};
pub use crate::outputs::{Output, Outputs};
pub use crate::place::{Placed, place, remove};
pub use buildnet_sandbox::{CancelHandle, Limits, Mode, Status, Usage};
