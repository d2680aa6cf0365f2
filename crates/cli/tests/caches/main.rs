//! The daemon's one port is the cache of other build tools.

mod daemon;
mod faults;

use std::process::Command;

use buildnet_digest::{DigestFunction, reapi};
use buildnet_reapi::RemoteCache;
use bytes::Bytes;

use self::daemon::Daemon;

#[tokio::test]
async fn a_blob_written_over_grpc_is_read_over_http_and_the_other_way_round() {
    let daemon = Daemon::start();
    let remote = RemoteCache::connect(&format!("grpc://{}", daemon.address), None).await.unwrap();
    let blob = Bytes::from_static(b"from a gRPC client");
    let digest = DigestFunction::Sha256.digest(&blob);
    assert_eq!(remote.find_missing(&[digest]).await.unwrap(), [digest]);
    remote.write(&[(digest, blob.clone())]).await.unwrap();
    assert_eq!(remote.find_missing(&[digest]).await.unwrap(), []);
    // HTTP names blobs by hash alone, and finds those that an action result named with their size.
    let action = DigestFunction::Sha256.digest(b"an action");
    let file = reapi::OutputFile { path: "out".to_owned(), digest: Some(digest.to_reapi()), ..Default::default() };
    let result = reapi::ActionResult { output_files: vec![file], ..Default::default() };
    remote.put_action_result(&action, &result).await.unwrap();
    let (status, _) = daemon.http(&format!("GET /ac/{}", action.hex()), &daemon.address, b"");
    assert_eq!(status, 200);
    let (status, body) = daemon.http(&format!("GET /cas/{}", digest.hex()), &daemon.address, b"");
    assert_eq!((status, body.as_slice()), (200, &*blob));

    let other = b"from an HTTP client";
    let digest = DigestFunction::Sha256.digest(other);
    let (status, _) = daemon.http(&format!("PUT /cas/{}", digest.hex()), &daemon.address, other);
    assert_eq!(status, 200);
    assert_eq!(remote.read(&[digest]).await.unwrap()[&digest], other.as_slice());
}

#[test]
fn a_page_whose_name_was_rebound_to_loopback_is_kept_out_of_the_caches() {
    let daemon = Daemon::start();
    let digest = DigestFunction::Sha256.digest(b"x").hex();
    let (status, _) = daemon.http(&format!("PUT /cas/{digest}"), "evil.example", b"x");
    assert_eq!(status, 403);
    let (status, _) = daemon.http(&format!("GET /cas/{digest}"), &daemon.address, b"");
    assert_eq!(status, 404);
}

#[test]
fn a_blob_that_is_not_what_its_digest_says_is_refused() {
    let daemon = Daemon::start();
    let digest = DigestFunction::Sha256.digest(b"x").hex();
    let (status, _) = daemon.http(&format!("PUT /cas/{digest}"), &daemon.address, b"poison");
    assert_eq!(status, 400);
}

#[test]
fn shared_state_is_pushed_once() {
    let daemon = Daemon::start();
    let state = tempfile::tempdir().unwrap();
    let name = "sstate:zlib:core2-64-oe-linux:1.3.1:r0:core2-64:14:abcd_package.tar.zst";
    std::fs::create_dir_all(state.path().join("ab/cd")).unwrap();
    std::fs::write(state.path().join("ab/cd").join(name), b"an archive").unwrap();
    std::fs::write(state.path().join("ab/cd").join(format!("{name}.siginfo")), b"{}").unwrap();
    let push = |directory: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_buildnet"));
        command.args(["--daemon-address", &daemon.address, "cache", "push-sstate"]).arg(directory);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code(), text.replace(&daemon.address, "HOST"))
    };
    let (code, text) = push(state.path());
    assert_eq!((code, text.as_str()), (Some(0), "Sent 2 files (12 B) to http://HOST/sstate; 0 were there already.\n"));
    let (code, text) = push(state.path());
    assert_eq!((code, text.as_str()), (Some(0), "Sent 0 files (0 B) to http://HOST/sstate; 2 were there already.\n"));
    let escaped = name.replace(':', "%3A");
    let (status, body) = daemon.http(&format!("GET /sstate/ab/cd/{escaped}"), &daemon.address, b"");
    assert_eq!((status, body.as_slice()), (200, b"an archive".as_slice()));
    let (code, text) = push(tempfile::tempdir().unwrap().path());
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("there is no shared state in"), "{text}");
}

#[test]
fn the_cache_is_measured_from_the_command_line() {
    let daemon = Daemon::start();
    let bench = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_buildnet"));
        command.args(["bench", "cache", "--target", &format!("grpc://{}", daemon.address)]);
        command.args(["--instance", "measured", "--requests", "4", "--in-flight", "2", "--large", "1MiB"]);
        command.args(arguments).output().unwrap()
    };
    let output = bench(&["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let measurements = report["measurements"].as_array().unwrap();
    assert_eq!(measurements.len(), 9);
    assert!(measurements.iter().all(|measured| measured["requests"] == 4), "{report}");
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 9, "progress goes to standard error");

    let output = bench(&["--workload", "find-missing,action-get"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("find-missing") && text.lines().count() == 2, "{text}");
    // A server that is none.
    let nowhere = Command::new(env!("CARGO_BIN_EXE_buildnet"))
        .args(["bench", "cache", "--target", "grpc://127.0.0.1:1/main"])
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(3), "{}", String::from_utf8_lossy(&nowhere.stderr));
    let twice = Command::new(env!("CARGO_BIN_EXE_buildnet"))
        .args(["bench", "cache", "--target", "grpc://127.0.0.1:1/main", "--instance", "other"])
        .output()
        .unwrap();
    assert_eq!(twice.status.code(), Some(2));
}
