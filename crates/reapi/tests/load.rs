//! The load generator against a real server.

mod common;

use std::time::Duration;

use buildnet_reapi::CacheOptions;
use buildnet_reapi::load::{LoadOptions, Workload, run};

use self::common::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_workload_runs_alone_and_in_a_row() {
    let server = Server::start(CacheOptions::default()).await;
    let target = format!("grpc://{}/bench", server.authority);
    let options = LoadOptions {
        in_flight: 8,
        connections: 2,
        duration: Duration::from_mins(1),
        requests: 20,
        large: 2 << 20,
        digests: 100,
        ..LoadOptions::default()
    };
    let mut told = 0;
    let report = run(&target, None, &options, |_| told += 1).await.unwrap();
    assert_eq!(told, Workload::ALL.len());
    for measurement in &report.measurements {
        assert_eq!(measurement.requests, 20, "{measurement}");
        assert!(measurement.p50 <= measurement.p99 && measurement.p99 <= measurement.worst);
    }
    let batch = &report.measurements[0];
    assert_eq!((batch.items, batch.bytes), (20 * 14, 20 * 14 * 4096));
    for workload in Workload::ALL {
        let options = LoadOptions { workloads: vec![workload], requests: 3, ..options.clone() };
        let report = run(&target, None, &options, |_| {}).await.unwrap();
        assert_eq!(report.measurements[0].requests, 3);
        assert_eq!(Workload::from_name(workload.name()), Some(workload));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machines_limits_are_told_and_nothing_stays_on_its_disk() {
    let server = Server::start(CacheOptions::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let options = LoadOptions {
        in_flight: 4,
        connections: 2,
        duration: Duration::from_millis(300),
        large: 2 << 20,
        workloads: vec![Workload::ActionUpdate, Workload::StreamWriteLarge],
        machine: Some(directory.path().to_owned()),
        ..LoadOptions::default()
    };
    let report = run(&format!("grpc://{}/bench", server.authority), None, &options, |_| {}).await.unwrap();
    let machine = report.machine.unwrap();
    assert!(machine.sha256 > 0.0 && machine.disk > 0.0 && machine.syncs > 0.0, "{machine}");
    let [update, write] = &report.measurements[..] else { panic!("two workloads") };
    let (update, write) = (update.nearness.unwrap(), write.nearness.unwrap());
    assert!(update.of_echo > 0.0 && update.of_disk.is_none(), "nothing but a result was stored");
    assert!(write.of_echo > 0.0 && write.of_sha256.unwrap() > 0.0 && write.of_disk.unwrap() > 0.0);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
