//! BitBake's hash equivalence through the daemon: over TCP, and over WebSocket on the one port.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use buildnet_bitbake::equivalence::{Address, Client, Credentials};
use buildnet_bitbake::signature::Equivalences as _;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::house::House;
use crate::support::{Daemon, Place, text};

const REPORTER: &str = "reporter-01234567";

/// What BitBake's client sends when it has connected: protocol, headers, and an empty line that ends them.
const GREETING: [&str; 3] = ["OEHASHEQUIV 1.1", "needs-headers: false", ""];

/// A client over TCP: a line for each message.
struct Lines {
    stream: BufReader<TcpStream>,
}

impl Lines {
    fn connect(address: &str) -> Self {
        let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
        stream.get_mut().write_all((GREETING.join("\n") + "\n").as_bytes()).unwrap();
        Self { stream }
    }

    fn ask(&mut self, message: &Value) -> Option<Value> {
        self.stream.get_mut().write_all(format!("{message}\n").as_bytes()).ok()?;
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}

fn daemon(place: &Place, arguments: &[&str]) -> (Daemon, String) {
    let mut all = vec!["--hash-equivalence", "127.0.0.1:0"];
    all.extend(arguments);
    let mut daemon = place.daemon(&all);
    let told = daemon.line();
    let address = told.trim().strip_prefix("Hash equivalence is served on ").and_then(|rest| rest.strip_suffix('.'));
    let address = address.unwrap_or_else(|| panic!("{told}")).to_owned();
    (daemon, address)
}

fn report(taskhash: &str, unihash: &str) -> Value {
    let report =
        json!({ "method": "m", "taskhash": taskhash, "outhash": "o", "unihash": unihash.repeat(64), "PN": "zlib" });
    json!({ "report": report })
}

fn get(taskhash: &str) -> Value {
    json!({ "get": { "method": "m", "taskhash": taskhash } })
}

#[tokio::test]
async fn both_ways_lead_to_the_same_equivalences() {
    let place = Place::new();
    let (daemon, address) = daemon(&place, &[]);
    let mut lines = Lines::connect(&address);
    assert_eq!(lines.ask(&json!({ "ping": {} })), Some(json!({ "alive": true })));
    assert_eq!(lines.ask(&report("t1", "a")).unwrap()["unihash"], "a".repeat(64));

    let url = format!("ws://{}/hash-equivalence", daemon.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for line in GREETING {
        socket.send(Message::text(line)).await.unwrap();
    }
    socket.send(Message::text(report("t2", "b").to_string())).await.unwrap();
    let answer: Value = serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
    assert_eq!(answer["unihash"], "a".repeat(64), "the outputs are those of t1");
    assert_eq!(lines.ask(&get("t2")).unwrap()["unihash"], "a".repeat(64));
}

#[tokio::test]
async fn tokens_decide_who_reports() {
    let place = Place::new();
    place.write("tokens", &format!("bb write {REPORTER}\n"));
    let (daemon, address) = daemon(&place, &["--tokens", "tokens"]);
    let mut lines = Lines::connect(&address);
    let refused = lines.ask(&get("t1")).unwrap();
    assert!(refused["invoke-error"].is_object(), "{refused}");
    let mut lines = Lines::connect(&address);
    let auth = json!({ "auth": { "username": "bb", "token": REPORTER } });
    assert_eq!(lines.ask(&auth).unwrap()["result"], true);
    assert_eq!(lines.ask(&report("t1", "a")).unwrap()["unihash"], "a".repeat(64));

    let url = format!("ws://{}/hash-equivalence", daemon.address);
    // BitBake's client shows its token after connecting, so that anyone may connect; but not ask.
    let (mut socket, _) = tokio_tungstenite::connect_async(url.as_str()).await.unwrap();
    for line in GREETING {
        socket.send(Message::text(line)).await.unwrap();
    }
    socket.send(Message::text(get("t1").to_string())).await.unwrap();
    let refused = socket.next().await.unwrap().unwrap();
    assert!(refused.to_text().unwrap().contains("invoke-error"), "{refused}");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {REPORTER}").parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    for line in GREETING {
        socket.send(Message::text(line)).await.unwrap();
    }
    socket.send(Message::text(get("t1").to_string())).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap().to_text().unwrap().contains(&"a".repeat(64)));

    // A token that is taken away ends the conversations that it began.
    place.write("tokens", "other read other-0123456789ab\n");
    daemon.signal("HUP");
    crate::support::until(|| daemon.log().contains("tokens read again"));
    assert_eq!(lines.ask(&get("t1")), None);
}

#[test]
fn to_other_machines_only_with_tokens() {
    let place = Place::new();
    let output =
        place.program().args(["start", "--listen", "127.0.0.1:0", "--hash-equivalence", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("refusing to serve hash equivalence"), "{}", text(&output));
}

/// Our own client, as `buildnet bitbake` uses it, over WebSocket in the clear and over TLS, by token.
#[test]
fn our_own_client_asks_over_web_sockets_with_and_without_tls() {
    let house = House::new();
    house.place.write("tokens", &format!("bb write {REPORTER}\n"));
    let mut daemon = house.daemon(&["--tokens", "tokens", "--hash-equivalence", "127.0.0.1:0"]);
    let told = daemon.line();
    let lines = told.trim().trim_start_matches("Hash equivalence is served on ").trim_end_matches('.').to_owned();
    let mut reporter = Lines::connect(&lines);
    let auth = json!({ "auth": { "username": "bb", "token": REPORTER } });
    assert_eq!(reporter.ask(&auth).unwrap()["result"], true);
    for number in 0..1000 {
        let report = json!({ "report": {
            "method": "m", "taskhash": format!("t{number}"), "outhash": format!("o{number}"),
            "unihash": format!("{number:064x}"), "PN": "zlib",
        } });
        assert!(reporter.ask(&report).unwrap()["unihash"].is_string());
    }
    let tls = Arc::new(house.tls(None).client_config().unwrap());
    let client = |scheme: &str, token: &str, tls: &Arc<rustls::ClientConfig>| {
        let address: Address = format!("{scheme}://{}/hash-equivalence", daemon.address).parse().unwrap();
        let credentials = Credentials { user: "bb".to_owned(), token: token.to_owned() };
        Client::new(address, Some(credentials), Duration::from_secs(20)).with_tls(Arc::clone(tls))
    };
    let hashes: Vec<String> = (0..1000).map(|number| format!("t{number}")).chain(["unknown".to_owned()]).collect();
    let queries: Vec<(&str, &str)> = hashes.iter().map(|hash| ("m", hash.as_str())).collect();
    for scheme in ["ws", "wss"] {
        let answers = client(scheme, REPORTER, &tls).unihashes(&queries).unwrap();
        assert_eq!(answers[999].as_deref(), Some(format!("{:064x}", 999).as_str()), "{scheme}");
        assert_eq!((answers.len(), &answers[1000]), (1001, &None), "{scheme}");
        let refused = client(scheme, "another-0123456789", &tls).unihashes(&queries[..1]);
        assert!(refused.is_err(), "{scheme}: {refused:?}");
    }
    let others = Arc::new(House::new().tls(None).client_config().unwrap());
    let distrusted = client("wss", REPORTER, &others).unihashes(&queries[..1]).unwrap_err();
    assert!(distrusted.contains("certificate"), "{distrusted}");
}

/// With BitBake's own client, where `BUILDNET_BITBAKE` names a checkout of BitBake.
#[test]
fn bitbakes_own_client_reports_and_asks() {
    let Some(checkout) = std::env::var_os("BUILDNET_BITBAKE").map(PathBuf::from) else {
        eprintln!("skipped: BUILDNET_BITBAKE names no checkout of BitBake");
        return;
    };
    let place = Place::new();
    let (_daemon, address) = daemon(&place, &[]);
    let script = "
import hashserv, sys
client = hashserv.create_client(sys.argv[1])
print(client.report_unihash('t1', 'm', 'o', 'a' * 64)['unihash'])
print(client.report_unihash('t2', 'm', 'o', 'b' * 64)['unihash'])
print(client.get_unihash('m', 't2'), client.ping())
";
    let mut python = Command::new("python3");
    python.args(["-c", script, &address]).env("PYTHONPATH", checkout.join("lib"));
    let output = python.output().unwrap();
    let a = "a".repeat(64);
    assert_eq!(text(&output), format!("{a}\n{a}\n{a} {{'alive': True}}\n"));
}
