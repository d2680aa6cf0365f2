//! Refusals that come before the request has ended: the client must hear them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::house::House;
use crate::support::{Daemon, text};

const WRITER: &str = "writer-0123456789";
const READER: &str = "reader-0123456789";

/// What curl says of an upload: the status, or what went wrong.
fn put(daemon: &Daemon, house: &House, version: &str, token: &str, body: &Path) -> String {
    let scheme = if version == "--http2" { "https" } else { "http" };
    let mut curl = Command::new("curl");
    curl.args(["-sS", version, "--max-time", "60", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]);
    curl.arg(house.path("ca.pem")).args(["-H", &format!("Authorization: Bearer {token}"), "-H", "Expect:"]);
    curl.arg("--upload-file").arg(body).arg(format!("{scheme}://{}/gradle/aa", daemon.address));
    text(&curl.output().unwrap())
}

#[test]
fn curl_hears_an_early_refusal_over_http_1_and_2_with_and_without_tls() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no curl");
        return;
    }
    let house = House::new();
    house.place.write("tokens", &format!("ci write {WRITER}\nsomebody read {READER}\n"));
    house.place.write("buildnet.yaml", "daemon: {limits: {blob: 100KiB}}\n");
    let daemon = house.daemon(&["--tokens", "tokens"]);
    for size in [1, 60 << 10, 1 << 20, 12 << 20, 96 << 20] {
        let body = house.path("body");
        fs::write(&body, vec![b'x'; size]).unwrap();
        for version in ["--http1.1", "--http2-prior-knowledge", "--http2"] {
            assert_eq!(put(&daemon, &house, version, "nobody-0123456789", &body), "401", "{version} {size}");
            assert_eq!(put(&daemon, &house, version, READER, &body), "403", "{version} {size}");
            let expected = if size > 100 << 10 { "413" } else { "201" };
            assert_eq!(put(&daemon, &house, version, WRITER, &body), expected, "{version} {size}");
        }
    }
    assert_eq!(daemon.http("GET /health", "", b"").0, 200);
}
