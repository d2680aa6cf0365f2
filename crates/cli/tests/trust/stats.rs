//! What the daemon says of its clients.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use crate::support::{Daemon, Place, text};

/// 150 lookups that hit, or that miss, of a client named `tool`.
fn lookups(daemon: &Daemon, key: &str) -> u16 {
    let mut stream = BufReader::new(TcpStream::connect(daemon.address).unwrap());
    let mut last = 0;
    for _ in 0..150 {
        let head = format!("GET /gradle/{key} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: tool/1.0\r\n\r\n");
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(status) = line.strip_prefix("http/1.1 ") {
                last = status[..3].parse().unwrap();
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            } else if line.is_empty() {
                break;
            }
        }
        std::io::Read::read_exact(&mut stream, &mut vec![0; length]).unwrap();
    }
    last
}

#[test]
fn hits_bytes_and_times_by_protocol_client_and_instance() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    assert_eq!(daemon.http("PUT /gradle/aa", "user-agent: tool/1.0\r\n", b"content").0, 201);
    assert_eq!(lookups(&daemon, "aa"), 200);
    assert_eq!(daemon.http("GET /i/pr%2F1/nx/v1/cache/ff", "", b"").0, 404);
    let output = place.run(&daemon, None, &["cache", "stats", "--json"]);
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
    let traffic = &report["traffic"];
    let find = |kind: &str, name: &str| {
        let shares = traffic[kind].as_array().unwrap();
        shares.iter().find(|share| share["name"] == name).unwrap_or_else(|| panic!("{traffic}")).clone()
    };
    let gradle = find("protocols", "gradle");
    assert_eq!((&gradle["hits"], &gradle["stored"], &gradle["sent"]), (&150.into(), &1.into(), &1050.into()));
    assert!(gradle["p99_us"].as_u64().unwrap() >= gradle["p50_us"].as_u64().unwrap());
    assert_eq!(find("clients", "tool")["requests"], 151);
    assert_eq!(find("instances", "")["hits"], 150);
    assert!(report["directory"].as_str().unwrap().ends_with("cache"));
    let told = text(&place.run(&daemon, None, &["cache", "stats"]));
    assert!(told.contains("by client") && told.contains("tool"), "{told}");
    let page = daemon.http("GET /metrics", "", b"").1;
    assert!(
        page.contains("protocol=\"gradle\",operation=\"get\",instance=\"\",client=\"tool\",outcome=\"hit\"} 150"),
        "{page}"
    );
    // Without the daemon there is what lies in files.
    let alone = text(&place.program().args(["--no-daemon", "cache", "stats", "--json"]).output().unwrap());
    assert!(alone.contains("\"traffic\":null"), "{alone}");
}

#[test]
fn a_client_that_stops_hitting_is_told_to_whoever_listens() {
    let place = Place::new();
    place.write("buildnet.yaml", "packages: [{name: a, build_cmd: \"true\"}]\n");
    std::fs::create_dir(place.path("a")).unwrap();
    let daemon = place.daemon(&[]);
    let mut events = TcpStream::connect(daemon.address).unwrap();
    events.write_all(b"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").unwrap();
    let mut watch = place.program();
    watch.args(["watch", "--daemon-address", &daemon.address.to_string()]);
    let mut watch = watch.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut watched = BufReader::new(watch.stderr.take().unwrap()).lines().map_while(Result::ok);
    watched.find(|line| line.contains("Waiting for changes")).expect("it waits");

    assert_eq!(daemon.http("PUT /gradle/aa", "", b"content").0, 201);
    assert_eq!(lookups(&daemon, "aa"), 200);
    assert_eq!(lookups(&daemon, "bb"), 404);
    let warning = "tool stopped hitting the cache in the default instance";
    let mut streamed = BufReader::new(events).lines().map_while(Result::ok);
    let line = streamed.find(|line| line.contains(warning)).expect("on the event stream");
    assert!(line.contains("\"level\":\"warning\"") && line.contains("buildnet why --action"), "{line}");
    watched.find(|line| line.contains(warning)).expect("in `buildnet watch`");
    assert!(daemon.log().contains("hits fell from"), "in the log");
    let _ = watch.kill();
    let _ = watch.wait();
}
