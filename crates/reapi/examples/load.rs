//! Load on any REAPI cache: `cargo run --release -p buildnet-reapi --example load -- grpc://127.0.0.1:9876/main [seconds [workload,…]]`.

use std::error::Error;
use std::time::Duration;

use buildnet_reapi::load::{LoadOptions, Workload, run};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let target = arguments.next().ok_or("the address is missing")?;
    let seconds = arguments.next().map_or(Ok(5), |seconds| seconds.parse())?;
    let mut options = LoadOptions { duration: Duration::from_secs(seconds), ..LoadOptions::default() };
    if let Some(names) = arguments.next() {
        let workload = |name| Workload::from_name(name).ok_or_else(|| format!("there is no workload `{name}`"));
        options.workloads = names.split(',').map(workload).collect::<Result<_, _>>()?;
    }
    run(&target, None, &options, |measurement| println!("{measurement}")).await?;
    Ok(())
}
