//! A cache that fills up: what it takes in memory, what a request costs as it grows, and whether each blob that it acknowledged is
//! there after `kill -9`.
//!
//! Costs are processor time of the server per item, which is steady on a busy machine; latencies are told beside them. All content
//! comes from the seed.

#![allow(clippy::cast_precision_loss, reason = "counts and bytes fit into 52 bits")]

mod client;
mod server;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use buildnet_digest::Digest;
use tokio::task::JoinSet;

use self::client::{BATCH, BLOB, Client, mix};
use self::server::{Home, Server};

/// How much is written.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Scale {
    /// cache-scale: blobs of 4 KiB to store before the server is killed. More than this would reach the bound of the cache.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(20_000..=2_500_000))]
    blobs: u64,
    /// cache-scale: what all content and every choice comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// cache-scale: seconds of each workload of `buildnet bench cache`, which runs over the full cache; 0 leaves it out.
    #[arg(long, default_value_t = 4)]
    load: u64,
}

/// Requests in flight.
const LANES: usize = 32;
/// Items that a cost is measured over.
const SAMPLE: u64 = 28_000;
const DIGESTS: usize = 1000;
/// Resident memory that a cache with a million blobs may take, in bytes.
const BAR: u64 = 200_000_000;
/// Lost blobs that are named.
const NAMED: usize = 10;

/// Runs everything; an error where a blob is lost.
pub(crate) fn run(scale: &Scale, program: &Path, dir: &Path) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(measure(scale, program, &dir.join("cache-scale")))
}

async fn measure(scale: &Scale, program: &Path, dir: &Path) -> Result<(), String> {
    println!("{} blobs of {BLOB} bytes, seed {}; costs are the server's processor time", scale.blobs, scale.seed);
    let home = Home::create(program, dir)?;
    let server = home.start()?;
    let client = Client::connect(&server.address, scale.seed).await?;
    println!("started empty:              {}", memory(&server)?);
    let mut run = Run { client, seed: scale.seed, digests: Vec::new(), absent: Vec::new() };
    run.absent = (0..DIGESTS as u64).map(|number| run.client.digest(u64::MAX - number)).collect();
    let mut costs = Vec::new();
    for stage in [10_000, 100_000, 1_000_000, scale.blobs].into_iter().filter(|stage| *stage <= scale.blobs) {
        let missing = stage.saturating_sub(run.digests.len() as u64);
        run.put(missing / BATCH).await?;
        println!("\nwith {:>9} blobs:        {}", run.digests.len(), memory(&server)?);
        costs.push((stage, run.costs(&server).await?));
        if stage == scale.blobs {
            break;
        }
    }
    flat(&costs);

    let full = memory(&server)?;
    println!("\nafter {} blobs:        {full}", run.digests.len());
    if scale.load > 0 {
        load(program, &server, scale.load)?;
        println!("after `bench cache`:        {}", memory(&server)?);
    }
    let resident = server.memory()?.resident;
    let verdict = if resident < BAR { "under" } else { "OVER" };
    println!("resident memory is {verdict} {} MB", BAR / 1_000_000);

    run.put_until_killed(server).await?;
    println!("\nkilled in mid-writing; {} blobs were acknowledged", run.digests.len());
    let server = run.restart(&home, "").await?;
    run.verify(&server).await?;
    server.kill()?;

    let bytes = home.forget_pages()?;
    println!("\nrestarted with none of its {} MB in the page cache:", bytes / 1_000_000);
    let server = run.restart(&home, " (cold)").await?;
    run.tiers(&server).await?;
    drop(server);
    std::fs::remove_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))
}

fn memory(server: &Server) -> Result<String, String> {
    let memory = server.memory()?;
    let [resident, anonymous, peak] = [memory.resident, memory.anonymous, memory.peak].map(|bytes| bytes as f64 / 1e6);
    Ok(format!("{resident:7.1} MB resident ({anonymous:.1} MB anonymous, {peak:.1} MB at most)"))
}

/// Says how far the costs at the last size are from those at the first.
fn flat(costs: &[(u64, Vec<(&'static str, f64)>)]) {
    let [(from, first), .., (to, last)] = costs else { return };
    println!("\ncost with {to} blobs over cost with {from}:");
    for ((name, before), (_, after)) in first.iter().zip(last) {
        println!("  {name:24} {:6.2}", after / before.max(f64::MIN_POSITIVE));
    }
}

/// `buildnet bench cache` over the full cache, as anyone would run it.
fn load(program: &Path, server: &Server, seconds: u64) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(["bench", "cache", "--target", &format!("grpc://{}/bench", server.address)]);
    command.args(["--seconds", &seconds.to_string()]);
    println!("\nbench cache:");
    let status = command.status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("bench cache: {status}")) }
}

/// What was acknowledged, by number.
struct Run {
    client: Client,
    seed: u64,
    /// Digests of all blobs that were acknowledged, by number; the batches that are missing were not acknowledged and are `None`.
    digests: Vec<Option<Digest>>,
    absent: Vec<Digest>,
}

/// Times of requests.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, rank: usize) -> f64 {
        let mut times = self.0.clone();
        times.sort_unstable();
        times.get(times.len() * rank / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

impl Run {
    /// Sends `count` requests, some at a time, and gives back what each gave, in order.
    async fn each<T, F>(&self, count: u64, request: impl Fn(Client, usize, u64) -> F) -> Result<Vec<T>, String>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        let mut done: Vec<Option<T>> = (0..count).map(|_| None).collect();
        for number in 0..count {
            if tasks.len() >= LANES {
                take(&mut tasks, &mut done).await?;
            }
            let lane = index(number);
            let request = request(self.client.clone(), lane, number);
            tasks.spawn(async move { request.await.map(|gave| (lane, gave)) });
        }
        while !tasks.is_empty() {
            take(&mut tasks, &mut done).await?;
        }
        Ok(done.into_iter().flatten().collect())
    }

    /// Stores so many batches of new blobs.
    async fn put(&mut self, batches: u64) -> Result<Times, String> {
        let first = self.digests.len() as u64 / BATCH;
        let put = |client: Client, lane: usize, number: u64| async move { client.put(lane, first + number).await };
        let mut times = Vec::new();
        let stored = self.each(batches, put).await?;
        for (digests, took) in stored {
            self.digests.extend(digests.into_iter().map(Some));
            times.push(took);
        }
        Ok(Times(times))
    }

    /// Acknowledged blobs, spread over all of them: number and digest.
    fn some(&self, salt: u64, count: usize) -> (Vec<u64>, Vec<Digest>) {
        let all = self.digests.len() as u64;
        let any = (0..).map(|step| mix(self.seed ^ mix(salt) ^ step) % all.max(1));
        let known = any.filter_map(|number| Some((number, self.digests[usize::try_from(number).ok()?]?)));
        known.take(count).unzip()
    }

    /// What requests of each kind cost the server now, in microseconds per item.
    async fn costs(&mut self, server: &Server) -> Result<Vec<(&'static str, f64)>, String> {
        let mut costs = Vec::new();
        let mut told = |name: &'static str, before: Duration, items: u64, times: &Times| {
            let used = server.processor()?.saturating_sub(before);
            let each = used.as_secs_f64() * 1e6 / items as f64;
            println!("  {name:24} {each:8.2} µs each   p50 {:7.2} ms  p99 {:7.2} ms", times.at(50), times.at(99));
            costs.push((name, each));
            Ok::<_, String>(())
        };
        let before = server.processor()?;
        let times = self.put(SAMPLE / BATCH).await?;
        told("batch update", before, SAMPLE, &times)?;

        // Half of what is asked for is there. What was not used lately is marked as used, which the second time needs not.
        let count = 400;
        for name in ["find missing", "find missing, again"] {
            let before = server.processor()?;
            let find = |client: Client, lane: usize, number: u64| {
                let (_, mut digests) = self.some(number, DIGESTS / 2);
                digests.extend_from_slice(&self.absent[..DIGESTS / 2]);
                async move { client.find(lane, &digests, DIGESTS / 2).await }
            };
            let times = Times(self.each(count, find).await?);
            told(name, before, count * DIGESTS as u64, &times)?;
        }
        let before = server.processor()?;
        let times = self.read(SAMPLE, 1 << 32).await?;
        told("batch read", before, SAMPLE, &times)?;

        let (count, base) = (6000, self.digests.len() as u64);
        let (_, outputs) = self.some(2 << 32, index(count));
        let before = server.processor()?;
        let put = |client: Client, lane: usize, number: u64| {
            let output = outputs[lane];
            async move { client.put_result(lane, base + number, &output).await }
        };
        let times = Times(self.each(count, put).await?);
        told("action result update", before, count, &times)?;
        let before = server.processor()?;
        let get = |client: Client, lane: usize, number: u64| async move { client.result(lane, base + number).await };
        let times = Times(self.each(count, get).await?);
        told("action result get", before, count, &times)?;
        Ok(costs)
    }

    /// Reads some blobs of all, each checked.
    async fn read(&self, blobs: u64, salt: u64) -> Result<Times, String> {
        let read = |client: Client, lane: usize, number: u64| {
            let (numbers, digests) = self.some(salt + number, index(BATCH));
            async move { client.read(lane, &numbers, &digests).await }
        };
        let read = self.each(blobs / BATCH, read).await?;
        match read.iter().find_map(|(verified, _)| verified.lost.first()) {
            Some(number) => Err(format!("blob {number} was acknowledged, and is not there as it was written")),
            None => Ok(Times(read.into_iter().map(|(_, took)| took).collect())),
        }
    }

    /// Writes with all lanes, and kills the server while they do.
    async fn put_until_killed(&mut self, server: Server) -> Result<(), String> {
        let first = self.digests.len() as u64 / BATCH;
        let next = Arc::new(AtomicU64::new(first));
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            let (client, next) = (self.client.clone(), Arc::clone(&next));
            lanes.spawn(async move {
                let mut acknowledged = Vec::new();
                loop {
                    let batch = next.fetch_add(1, Ordering::Relaxed);
                    // It ends when the server does; a batch without an answer was not acknowledged.
                    let Ok((digests, _)) = client.put(lane, batch).await else { return acknowledged };
                    acknowledged.push((batch, digests));
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(2000 + mix(self.seed) % 1000)).await;
        server.kill()?;
        let written = index(next.load(Ordering::Relaxed).max(first) * BATCH);
        self.digests.resize(written.max(self.digests.len()), None);
        while let Some(lane) = lanes.join_next().await {
            for (batch, digests) in lane.map_err(|error| error.to_string())? {
                let at = index(batch * BATCH);
                for (place, digest) in self.digests[at..].iter_mut().zip(digests) {
                    *place = Some(digest);
                }
            }
        }
        Ok(())
    }

    /// Starts the server again, and says how long it took until it answered, and until it knew what it has.
    async fn restart(&mut self, home: &Home, how: &str) -> Result<Server, String> {
        let server = home.start()?;
        self.client = Client::connect(&server.address, self.seed).await?;
        let ready = server.started.elapsed();
        let (_, mut digests) = self.some(3 << 32, DIGESTS / 2);
        digests.extend_from_slice(&self.absent[..DIGESTS / 2]);
        self.client.find(0, &digests, DIGESTS / 2).await?;
        println!(
            "ready{how} after {:.3} s; the first {DIGESTS} digests answered rightly after {:.3} s",
            ready.as_secs_f64(),
            server.started.elapsed().as_secs_f64()
        );
        println!("reopened:                   {}", memory(&server)?);
        Ok(server)
    }

    /// Reads every blob that was acknowledged.
    async fn verify(&self, server: &Server) -> Result<(), String> {
        let known: Vec<(u64, Digest)> =
            (0..).zip(&self.digests).filter_map(|(number, digest)| Some((number, (*digest)?))).collect();
        let batches: Vec<&[(u64, Digest)]> = known.chunks(index(BATCH)).collect();
        let read = |client: Client, lane: usize, _: u64| {
            let (numbers, digests): (Vec<u64>, Vec<Digest>) = batches[lane].iter().copied().unzip();
            async move { client.read(lane, &numbers, &digests).await }
        };
        let read = self.each(batches.len() as u64, read).await?;
        let whole: u64 = read.iter().map(|(verified, _)| verified.whole).sum();
        let lost: Vec<u64> = read.into_iter().flat_map(|(verified, _)| verified.lost).collect();
        println!("verified {whole} of {} acknowledged blobs, each by its digest; {} lost", known.len(), lost.len());
        println!("all read:                   {}", memory(server)?);
        if lost.is_empty() {
            return Ok(());
        }
        Err(format!("acknowledged blobs are lost, among them {:?}", &lost[..lost.len().min(NAMED)]))
    }

    /// Reads the same blobs again and again: first from the disk, then from the page cache.
    async fn tiers(&self, server: &Server) -> Result<(), String> {
        for name in ["from disk", "again", "once more"] {
            let before = server.processor()?;
            let times = self.read(SAMPLE, 4 << 32).await?;
            let each = server.processor()?.saturating_sub(before).as_secs_f64() * 1e6 / SAMPLE as f64;
            let (half, most) = (times.at(50), times.at(99));
            println!("  read, {name:18} {each:8.2} µs each   p50 {half:7.2} ms  p99 {most:7.2} ms");
        }
        Ok(())
    }
}

/// A number of blobs as a place in a list of them.
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

async fn take<T: 'static>(
    tasks: &mut JoinSet<Result<(usize, T), String>>,
    done: &mut [Option<T>],
) -> Result<(), String> {
    let Some(task) = tasks.join_next().await else { return Ok(()) };
    let (at, gave) = task.map_err(|error| error.to_string())??;
    done[at] = Some(gave);
    Ok(())
}
