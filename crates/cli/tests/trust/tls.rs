//! TLS on the one port, and clients that are known by their certificates.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use buildnet_digest::{DigestFunction, reapi};
use buildnet_reapi::{RemoteCache, RemoteError, TlsOptions};

use crate::house::{House, own_address};
use crate::support::{Daemon, bearer, exchange, text, until};

const READER: &str = "reader-0123456789";

async fn connect(daemon: &Daemon, tls: &TlsOptions, token: Option<&str>) -> Result<RemoteCache, RemoteError> {
    RemoteCache::connect_with(&format!("grpcs://{}/main", daemon.address), token, tls).await
}

async fn writes(cache: &RemoteCache) -> Result<(), RemoteError> {
    let action = DigestFunction::Sha256.digest(b"action");
    cache.put_action_result(&action, &reapi::ActionResult { exit_code: 3, ..Default::default() }).await
}

#[tokio::test]
async fn grpc_over_tls_trusts_the_authority_and_no_other() {
    let house = House::new();
    house.place.write("tokens", &format!("ci write {READER}\n"));
    let daemon = house.daemon(&["--tokens", "tokens"]);
    let cache = connect(&daemon, &house.tls(None), Some(READER)).await.unwrap();
    writes(&cache).await.unwrap();
    let other = House::new();
    assert!(matches!(connect(&daemon, &other.tls(None), Some(READER)).await, Err(RemoteError::Connect { .. })));
    assert!(connect(&daemon, &house.tls(None), None).await.is_err(), "a token is needed all the same");
}

#[test]
fn http_over_tls_by_a_client_that_others_wrote() {
    let house = House::new();
    house.place.write("tokens", &format!("ci write {READER}\n"));
    let daemon = house.daemon(&["--tokens", "tokens"]);
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: there is no curl");
        return;
    }
    let curl = |version: &str, url: &str, more: &[&str]| {
        let mut command = Command::new("curl");
        command
            .args(["-sS", version, "--cacert"])
            .arg(house.path("ca.pem"))
            .args(["-w", " %{http_version} %{http_code}"]);
        let output = command.args(more).arg(format!("https://{}{url}", daemon.address)).output().unwrap();
        text(&output)
    };
    let header = format!("Authorization: Bearer {READER}");
    assert_eq!(curl("--http1.1", "/gradle/aa", &["-H", &header, "-X", "PUT", "-d", "content"]).trim(), "1.1 201");
    assert_eq!(curl("--http2", "/gradle/aa", &["-H", &header]), "content 2 200");
    assert_eq!(curl("--http1.1", "/health", &["-o", "/dev/null"]).trim(), "1.1 200");
}

#[tokio::test]
async fn certificates_have_the_roles_of_the_token_file() {
    let house = House::new();
    house.vouch("worker-1");
    house.vouch("stranger");
    house.place.write("tokens", "builder write cert:worker-1 main\n");
    let daemon = house.daemon(&["--tokens", "tokens", "--client-ca", "ca.pem"]);
    let cache = connect(&daemon, &house.tls(Some("worker-1")), None).await.unwrap();
    writes(&cache).await.unwrap();
    let error = writes(&cache.with_instance("prod")).await.unwrap_err().to_string();
    assert!(error.contains("`builder` may not"), "{error}");
    assert!(connect(&daemon, &house.tls(Some("stranger")), None).await.is_err());
    assert!(connect(&daemon, &house.tls(None), None).await.is_err());
    // Over HTTP by a client that others wrote.
    let put = |version: &str, name: &str, instance: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", version, "-o", "/dev/null", "-w", "%{http_code}", "-X", "PUT", "-d", "x", "--cacert"]);
        curl.arg(house.path("ca.pem")).arg("--cert").arg(house.path(&format!("{name}.pem")));
        curl.arg("--key").arg(house.path(&format!("{name}.key")));
        let output = curl.arg(format!("https://{}/i/{instance}/gradle/aa", daemon.address)).output();
        output.map_or_else(|_| String::new(), |output| text(&output))
    };
    if Command::new("curl").arg("--version").output().is_ok() {
        for version in ["--http1.1", "--http2"] {
            assert_eq!(put(version, "worker-1", "main"), "201");
            assert_eq!(put(version, "worker-1", "prod"), "403");
            assert_eq!(put(version, "stranger", "main"), "401");
        }
    }
    // A certificate of another authority does not even get a connection.
    let other = House::new();
    other.vouch("worker-1");
    let forged = TlsOptions { ca: Some(house.path("ca.pem")), ..other.tls(Some("worker-1")) };
    assert!(connect(&daemon, &forged, None).await.is_err());
}

#[tokio::test]
async fn without_a_token_file_every_certificate_may_write_and_none_administrates() {
    let house = House::new();
    house.vouch("worker-1");
    let daemon = house.daemon(&["--client-ca", "ca.pem"]);
    let cache = connect(&daemon, &house.tls(Some("worker-1")), None).await.unwrap();
    writes(&cache).await.unwrap();
    assert_eq!(daemon.http("POST /stop", "", b"").0, 401);
    assert_eq!(daemon.http("POST /stop", &bearer("anything"), b"").0, 401);
}

#[test]
fn from_other_machines_tls_is_a_must_and_commands_speak_it() {
    let house = House::new();
    let address = own_address();
    if address.is_loopback() {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    }
    house.place.write("tokens", &format!("boss admin {READER}\n"));
    house.place.write("buildnet.yaml", "jobs: 1\n");
    let mut command = house.place.program();
    command.args([
        "start",
        "--listen",
        "0.0.0.0:0",
        "--tokens",
        "tokens",
        "--tls-cert",
        "daemon.pem",
        "--tls-key",
        "daemon.key",
    ]);
    let daemon = house.place.daemon_by(&mut command);
    let far = SocketAddr::from((address, daemon.address.port()));
    let mut plain = TcpStream::connect(far).unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // Closed with what we sent unread, which resets the connection.
    let _ = plain.read_to_end(&mut answer);
    assert_eq!(answer, b"", "no answer in the clear");
    let near = TcpStream::connect(("127.0.0.1", far.port())).unwrap();
    assert_eq!(exchange(near, "GET /health", "", b"").0, 200, "between processes of one machine it may be");
    let mut status = house.place.program();
    status.args(["status", "--json", "--daemon-address", &far.to_string(), "--tls-ca"]).arg(house.path("ca.pem"));
    let output = status.env("BUILDNET_TOKEN", READER).output().unwrap();
    assert!(output.status.success() && text(&output).contains("\"uptime_s\""), "{}", text(&output));
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_without_a_restart() {
    let house = House::new();
    house.place.write("tokens", &format!("ci write {READER}\n"));
    let daemon = house.daemon(&["--tokens", "tokens"]);
    connect(&daemon, &house.tls(None), Some(READER)).await.unwrap();
    let next = House::new();
    std::fs::copy(next.path("daemon.pem"), house.path("daemon.pem")).unwrap();
    std::fs::copy(next.path("daemon.key"), house.path("daemon.key")).unwrap();
    daemon.signal("HUP");
    until(|| daemon.log().contains("certificates read again"));
    connect(&daemon, &next.tls(None), Some(READER)).await.unwrap();
}
