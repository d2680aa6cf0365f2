//! Hash equivalence over TCP, as BitBake speaks it.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use buildnet_reapi::{Access, CacheOptions, Role};
use serde_json::{Value, json};

use self::common::Server;

struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(server: &Server) -> Self {
        let mut client = Self { reader: BufReader::new(TcpStream::connect(&server.equivalence).unwrap()) };
        client.send("OEHASHEQUIV 1.1\nneeds-headers: false\n\n");
        client
    }

    fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.reader.read_line(&mut line).unwrap_or(0);
        (length > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    fn ask(&mut self, message: &Value) -> Value {
        self.send(&format!("{message}\n"));
        serde_json::from_str(&self.line().unwrap()).unwrap()
    }
}

/// A name as a unified hash: 64 hexadecimal digits.
fn hash(name: &str) -> String {
    buildnet_digest::DigestFunction::Sha256.digest(name.as_bytes()).hex()
}

fn report(taskhash: &str, outhash: &str, name: &str) -> Value {
    let unihash = hash(name);
    json!({ "report": { "method": "m", "taskhash": taskhash, "outhash": outhash, "unihash": unihash, "PN": "zlib" } })
}

#[test]
fn equal_outputs_share_a_unihash() {
    let server = Server::start(CacheOptions::default());
    let mut client = Client::connect(&server);
    assert_eq!(client.ask(&json!({ "ping": {} })), json!({ "alive": true }));
    assert_eq!(client.ask(&json!({ "get": { "method": "m", "taskhash": "t1" } })), Value::Null);
    let answer = |taskhash: &str, name: &str| json!({ "method": "m", "taskhash": taskhash, "unihash": hash(name) });
    assert_eq!(client.ask(&report("t1", "o", "u1")), answer("t1", "u1"));
    assert_eq!(client.ask(&report("t2", "o", "u2")), answer("t2", "u1"));
    let mut other = Client::connect(&server);
    assert_eq!(other.ask(&json!({ "get": { "method": "m", "taskhash": "t2" } })), answer("t2", "u1"));
    let all = other.ask(&json!({ "get": { "method": "m", "taskhash": "t2", "all": true } }));
    assert_eq!((&all["outhash"], &all["PN"]), (&json!("o"), &json!("zlib")));
    let found = other.ask(&json!({ "get-outhash": { "method": "m", "outhash": "o", "taskhash": "t9" } }));
    assert_eq!((&found["taskhash"], &found["unihash"]), (&json!("t1"), &json!(hash("u1"))));
    let equal = json!({ "report-equiv": { "method": "m", "taskhash": "t3", "unihash": hash("u1") } });
    assert_eq!(other.ask(&equal), answer("t3", "u1"));
    assert!(other.ask(&json!({ "get-stats": null }))["requests"]["num"].as_u64().unwrap() >= 4);
}

#[test]
fn streams_and_chunks() {
    let server = Server::start(CacheOptions::default());
    let mut client = Client::connect(&server);
    client.ask(&report("t1", "o", "u1"));
    assert_eq!(client.ask(&json!({ "get-stream": null })), json!("ok"));
    client.send("m t1\nm t2\nEND\n");
    assert_eq!([client.line(), client.line(), client.line()].map(Option::unwrap), [&hash("u1"), "", "ok"]);
    assert_eq!(client.ask(&json!({ "exists-stream": null })), json!("ok"));
    client.send(&format!("{}\nu2\nEND\n", hash("u1")));
    assert_eq!([client.line(), client.line(), client.line()].map(Option::unwrap), ["true", "false", "ok"]);

    // A long message comes in chunks, and its answer goes in chunks.
    let siginfo = "x".repeat(100_000);
    let mut long = report("t5", "o5", "u5");
    long["report"]["outhash_siginfo"] = json!(siginfo);
    let text = long.to_string();
    client.send("{\"chunk-stream\": null}\n");
    for piece in text.as_bytes().chunks(32_000) {
        client.send(&format!("{}\n", std::str::from_utf8(piece).unwrap()));
    }
    client.send("\n");
    assert_eq!(serde_json::from_str::<Value>(&client.line().unwrap()).unwrap()["unihash"], hash("u5"));
    assert_eq!(
        client.ask(&json!({ "get": { "method": "m", "taskhash": "t5", "all": true } })),
        json!({ "chunk-stream": null })
    );
    let mut whole = String::new();
    while let Some(piece) = client.line().filter(|piece| !piece.is_empty()) {
        whole.push_str(&piece);
    }
    assert_eq!(serde_json::from_str::<Value>(&whole).unwrap()["outhash_siginfo"], siginfo);
}

#[test]
fn bad_input_ends_the_connection() {
    let server = Server::start(CacheOptions::default());
    for greeting in ["GET / HTTP/1.1\n\n", "OEHASHEQUIV 9.9\n\n", "\n"] {
        let mut client = Client { reader: BufReader::new(TcpStream::connect(&server.equivalence).unwrap()) };
        client.send(greeting);
        assert_eq!(client.line(), None, "{greeting}");
    }
    let mut client = Client::connect(&server);
    let refused = client.ask(&json!({ "get": { "method": "m" } }));
    assert!(refused["invoke-error"]["message"].as_str().unwrap().contains("taskhash"), "{refused}");
    assert_eq!(client.line(), None);
    let mut client = Client::connect(&server);
    let mut injected = report("t", "o", "u");
    injected["report"]["unihash"] = json!("${@os.system('true')}");
    assert_eq!(client.ask(&injected), json!({ "invoke-error": { "message": "Invalid unihash" } }));
    let mut client = Client::connect(&server);
    client.send("this is no JSON\n");
    assert_eq!(client.line(), None);
    let mut client = Client::connect(&server);
    // More than a line may have; the server may close before all of it is written.
    let _ = client.reader.get_mut().write_all("x".repeat(200_000).as_bytes());
    assert_eq!(client.line(), None);
}

#[test]
fn tokens_decide() {
    let access = Access::parse("bb write 0123456789abcdef-bb", Some(Role::Read)).unwrap();
    let server = Server::start(CacheOptions { access, ..CacheOptions::default() });
    let mut client = Client::connect(&server);
    assert_eq!(client.ask(&report("t1", "o", "u1"))["unihash"], hash("u1"), "answered, but not kept");
    assert_eq!(client.ask(&json!({ "get": { "method": "m", "taskhash": "t1" } })), Value::Null);
    let auth = |token: &str| json!({ "auth": { "username": "bb", "token": token } });
    assert_eq!(client.ask(&auth("0123456789abcdef-bb"))["result"], true);
    client.ask(&report("t1", "o", "u1"));
    assert_eq!(client.ask(&json!({ "get": { "method": "m", "taskhash": "t1" } }))["unihash"], hash("u1"));
    let refused = client.ask(&json!({ "remove": { "where": { "method": "m" } } }));
    assert!(refused["invoke-error"].is_object(), "only administrators remove");
}
