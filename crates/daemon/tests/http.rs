//! The daemon over real connections.

mod support;

use std::sync::atomic::Ordering;

use buildnet_daemon::client::ClientError;
use buildnet_daemon::error::Category;
use buildnet_daemon::server::routes::status::Health;
use buildnet_daemon::service::{BuildRequest, Line};
use buildnet_event::EventKind;
use support::{Bench, Running, TOKEN, raw, request, start, until};

const HOST: &str = "host: 127.0.0.1\r\n";

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

/// Calls the blocking client from a test's runtime.
async fn client<T: Send + 'static>(
    running: &Running,
    call: impl FnOnce(buildnet_daemon::client::Daemon) -> T + Send + 'static,
) -> T {
    let daemon = running.daemon.clone();
    tokio::task::spawn_blocking(move || call(daemon)).await.unwrap()
}

#[tokio::test]
async fn the_client_streams_a_build() {
    let running = start(Bench::open(1), None).await;
    let lines: Vec<_> = client(&running, |daemon| {
        let request = BuildRequest { workspace: "/w".into(), ..BuildRequest::default() };
        daemon.build(&request).unwrap().unwrap().collect::<Result<Vec<_>, _>>().unwrap()
    })
    .await;
    assert_eq!(lines.len(), 5);
    let Some(Line::Event(last)) = lines.last() else { panic!("{lines:?}") };
    assert!(matches!(last.kind, EventKind::BuildFinished { .. }));
}

#[tokio::test]
async fn nothing_that_listens_is_no_error() {
    let running = start(Bench::open(0), None).await;
    running.stop.cancel();
    until(|| std::net::TcpStream::connect(running.address).is_err()).await;
    assert!(client(&running, |daemon| daemon.get::<Health>("/health")).await.unwrap().is_none());
}

#[tokio::test]
async fn what_answers_but_is_no_daemon_is_told_apart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for (stream, answer) in
            listener.incoming().zip(["SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"])
        {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let daemon = buildnet_daemon::client::Daemon::at(address, None);
    for _ in 0..2 {
        let error = daemon.get::<Health>("/health").unwrap_err();
        assert!(matches!(error, ClientError::Stranger { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_build() {
    let bench = Bench::open(0);
    let running = start(bench.clone(), None).await;
    let lines = client(&running, |daemon| daemon.build(&BuildRequest::default()).unwrap().unwrap()).await;
    assert_eq!(running.service.in_flight()[0].id, lines.id());
    drop(lines);
    until(|| running.service.in_flight().is_empty()).await;
    assert_eq!(bench.at_once.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn json_when_done_or_an_identifier_at_once() {
    let bench = Bench::open(1);
    let running = start(bench.clone(), None).await;
    let answer = request(running.address, "POST /build", HOST, "").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains(r#""outcome":"success""#), "{answer}");

    let answer = request(running.address, "POST /build/api?wait=false", HOST, "").await;
    assert_eq!(status(&answer), "202");
    let builds = request(running.address, "GET /builds", HOST, "").await;
    assert!(builds.contains(r#""command":"build api""#), "{builds}");
    let id = running.service.in_flight()[0].id.clone();
    assert_eq!(status(&request(running.address, &format!("GET /builds/{id}"), HOST, "").await), "200");
    let answer = request(running.address, &format!("POST /builds/{id}/cancel?all=true"), HOST, "").await;
    assert!(answer.contains("cancelling"), "{answer}");
    until(|| running.service.in_flight().is_empty()).await;
}

#[tokio::test]
async fn a_users_mistake_is_told_as_such() {
    let running = start(Bench::open(0), None).await;
    let answer = request(running.address, "POST /build/missing", HOST, "").await;
    assert_eq!(status(&answer), "422");
    assert!(answer.contains("Did you mean"), "{answer}");
    let error = client(&running, |daemon| {
        daemon.build(&BuildRequest { packages: vec!["missing".into()], ..BuildRequest::default() }).err().unwrap()
    })
    .await;
    assert_eq!(error.report().category, Category::User);

    let json = format!("{HOST}content-type: application/json\r\n");
    assert_eq!(status(&request(running.address, "POST /build", &json, r#"{"pakages":[]}"#).await), "400");
    let text = format!("{HOST}content-type: text/plain\r\n");
    assert_eq!(status(&request(running.address, "POST /build", &text, "{}").await), "415");
    assert_eq!(status(&request(running.address, "GET /nowhere", HOST, "").await), "404");
    assert_eq!(status(&request(running.address, "GET /build", HOST, "").await), "405");
}

#[tokio::test]
async fn other_sites_and_rebound_names_are_refused() {
    let running = start(Bench::open(0), None).await;
    for headers in [
        "host: evil.example\r\n".to_owned(),
        format!("{HOST}origin: http://evil.example\r\n"),
        format!("{HOST}origin: null\r\n"),
        format!("{HOST}sec-fetch-site: cross-site\r\n"),
    ] {
        for line in ["POST /build", "GET /status", "POST /stop", "GET /health"] {
            assert_eq!(status(&request(running.address, line, &headers, "").await), "403", "{line} {headers}");
        }
    }
    let own = format!("host: {0}\r\norigin: http://{0}\r\n", running.address);
    assert_eq!(status(&request(running.address, "GET /status", &own, "").await), "200");
}

#[tokio::test]
async fn a_token_is_asked_for_where_there_is_one() {
    let running = start(Bench::open(1), Some(TOKEN)).await;
    assert_eq!(status(&request(running.address, "GET /health", HOST, "").await), "200");
    for headers in [HOST.to_owned(), format!("{HOST}authorization: Bearer wrong\r\n")] {
        assert_eq!(status(&request(running.address, "POST /build", &headers, "").await), "401");
    }
    let right = format!("{HOST}authorization: Bearer {TOKEN}\r\n");
    assert_eq!(status(&request(running.address, "POST /build", &right, "").await), "200");
}

#[tokio::test]
async fn a_program_of_another_version_is_turned_away_but_may_stop_us() {
    let running = start(Bench::open(0), None).await;
    let old = format!("{HOST}x-buildnet-version: 0.0.0\r\n");
    let answer = request(running.address, "POST /build", &old, "").await;
    assert_eq!(status(&answer), "409");
    assert_eq!(status(&request(running.address, "POST /stop", &old, "").await), "200");
    until(|| running.stop.is_cancelled()).await;
}

#[tokio::test]
async fn bodies_and_headers_are_bounded() {
    let running = start(Bench::open(0), None).await;
    let json = format!("{HOST}content-type: application/json\r\n");
    let big = format!("{{\"task\": \"{}\"}}", "x".repeat(5 << 20));
    let claim = big.len();
    // The refusal may come before all of the body is sent; the claim alone is enough for it.
    let answer = raw(
        running.address,
        format!("POST /build HTTP/1.1\r\nconnection: close\r\n{json}content-length: {claim}\r\n\r\n"),
    )
    .await;
    assert_eq!(status(&answer), "413", "{answer}");
    let answer = request(running.address, "GET /health", &format!("{HOST}x: {}\r\n", "y".repeat(100_000)), "").await;
    assert_eq!(status(&answer), "431", "{answer}");
}

#[tokio::test]
async fn events_resume_and_tell_gaps() {
    let running = start(Bench::open(30), None).await;
    let build = || request(running.address, "POST /build", HOST, "");
    build().await;
    let listen = |headers: &str, query: &str| {
        let text = format!("GET /events{query} HTTP/1.1\r\n{HOST}{headers}\r\n");
        raw(running.address, text)
    };
    // The stream ends when the daemon stops, so that each look at it needs a daemon of its own; here one look sees all.
    for _ in 0..20 {
        build().await;
    }
    let stop = running.stop.clone();
    let (replayed, strange, ()) = futures::join!(
        listen("", "?replay=true"),
        listen("last-event-id: 00000000000000000000000000000000-7\r\n", ""),
        async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            stop.cancel();
        }
    );
    // 21 builds of 5 events went through a memory of 64.
    assert!(replayed.contains("event: gap\ndata: {\"missed\":41}"), "{replayed}");
    assert_eq!(replayed.matches("\nid: ").count() + usize::from(replayed.contains("\r\n\r\nid: ")), 64, "{replayed}");
    assert!(strange.contains("event: gap\ndata: {\"missed\":null}"), "{strange}");
}

#[tokio::test]
async fn counters_and_the_interfaces_description() {
    let running = start(Bench::open(1), None).await;
    request(running.address, "POST /build", HOST, "").await;
    let page = request(running.address, "GET /metrics", HOST, "").await;
    assert!(page.contains("buildnet_builds_total{outcome=\"success\"} 1"), "{page}");
    assert!(page.contains("buildnet_tasks_total{tier=\"instant\"} 3"), "{page}");
    let document = request(running.address, "GET /openapi.json", HOST, "").await;
    for path in ["/build/{package}", "/builds/{id}", "/events", "/metrics"] {
        assert!(document.contains(&format!("\"{path}\"")), "{path} is not described");
    }
}
