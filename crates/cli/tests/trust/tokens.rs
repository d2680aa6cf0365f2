//! Tokens with roles, for every protocol on the one port.

use buildnet_digest::{DigestFunction, reapi};
use buildnet_reapi::RemoteCache;

use crate::support::{Place, bearer, text, until};

const WRITER: &str = "writer-0123456789";
const READER: &str = "reader-0123456789";
const BOSS: &str = "boss-0123456789ab";

fn tokens() -> String {
    format!("ci write {WRITER} pr/*\nlaptop read {READER}\nboss admin {BOSS}\n")
}

#[test]
fn roles_decide_over_http() {
    let place = Place::new();
    place.write("tokens", &tokens());
    let daemon = place.daemon(&["--tokens", "tokens"]);
    let status = |request: &str, headers: &str| daemon.http(request, headers, b"x").0;
    assert_eq!(status("PUT /i/pr%2F1/gradle/aa", ""), 401);
    assert_eq!(status("PUT /i/pr%2F1/gradle/aa", &bearer("wrong-0123456789ab")), 401);
    assert_eq!(status("PUT /i/pr%2F1/gradle/aa", &bearer(READER)), 403);
    assert_eq!(status("PUT /i/pr%2F1/gradle/aa", &bearer(WRITER)), 201);
    assert_eq!(status("GET /i/pr%2F1/gradle/aa", &bearer(READER)), 200);
    // "anything:writer-0123456789", as Gradle and ccache send it.
    assert_eq!(status("GET /i/pr%2F1/gradle/aa", "authorization: Basic YW55dGhpbmc6d3JpdGVyLTAxMjM0NTY3ODk=\r\n"), 200);
    assert_eq!(status("GET /gradle/aa", &bearer(WRITER)), 403, "not its instance");
    // The daemon's own interface: readers may look at counters, administrators do the rest.
    assert_eq!(status("GET /metrics", ""), 401);
    assert_eq!(status("GET /metrics", &bearer(READER)), 200);
    for request in ["POST /build", "POST /stop", "POST /cache/clear", "GET /events", "GET /config", "GET /builds"] {
        assert_eq!(status(request, &bearer(WRITER)), 403, "{request}");
    }
    assert_eq!(status("POST /stop", &bearer(BOSS)), 200);
    let log = daemon.log();
    for secret in [WRITER, READER, BOSS] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn roles_decide_over_grpc() {
    let place = Place::new();
    place.write("tokens", &tokens());
    let daemon = place.daemon(&["--tokens", "tokens"]);
    let connect = async |instance: &str, token: Option<&str>| RemoteCache::connect(&daemon.grpc(instance), token).await;
    assert!(connect("pr/1", None).await.is_err());
    let action = DigestFunction::Sha256.digest(b"action");
    let result = reapi::ActionResult { exit_code: 7, ..Default::default() };
    let put = async |instance: &str, token: &str| {
        let cache = connect(instance, Some(token)).await.map_err(|error| error.to_string())?;
        cache.put_action_result(&action, &result).await.map_err(|error| error.to_string())
    };
    assert!(put("pr/1", READER).await.unwrap_err().contains("`laptop` may not write"));
    assert!(put("main", WRITER).await.unwrap_err().contains("may not"));
    assert_eq!(put("pr/1", WRITER).await, Ok(()));
    let read = connect("pr/1", Some(READER)).await.unwrap();
    assert_eq!(read.action_result(&action).await.unwrap().unwrap().exit_code, 7);
}

#[test]
fn tokens_are_read_again_and_bad_ones_leave_the_old_in_force() {
    let place = Place::new();
    place.write("tokens", &tokens());
    let daemon = place.daemon(&["--tokens", "tokens"]);
    let status = |token: &str| daemon.http("GET /metrics", &bearer(token), b"").0;
    assert_eq!(status(READER), 200);
    place.write("tokens", "laptop read other-0123456789\n");
    until(|| status("other-0123456789") == 200);
    assert_eq!(status(READER), 401);
    place.write("tokens", "laptop king other-0123456789\n");
    daemon.signal("HUP");
    until(|| daemon.log().contains("the tokens stay as they were"));
    assert_eq!(status("other-0123456789"), 200);
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let file = place.write("tokens", &tokens());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = place.program().args(["start", "--listen", "127.0.0.1:0", "--tokens", "tokens"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("other users may read it"), "{}", text(&output));
    assert!(text(&output).contains("chmod 600"), "{}", text(&output));
}

#[test]
fn a_new_token_is_a_line_with_its_hash() {
    let place = Place::new();
    let output = place
        .program()
        .args(["cache", "token", "new", "--name", "ci", "--role", "write", "--instance", "pr/*"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let secret = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert_eq!(secret.len(), 64, "{secret}");
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(line.contains("ci write sha256:") && line.contains("pr/*") && !line.contains(&secret), "{line}");
    // Straight into the file, which is made for its owner alone.
    let add = ["cache", "token", "new", "--name", "boss", "--role", "admin", "--file", "tokens"];
    let output = place.program().args(add).output().unwrap();
    let boss = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let daemon = place.daemon(&["--tokens", "tokens"]);
    assert_eq!(daemon.http("GET /config", &bearer(&boss), b"").0, 422, "let in; there is only no workspace here");
    let again = place.program().args(add).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "the name is taken: {}", text(&again));
}

#[test]
fn without_a_token_as_much_as_is_said() {
    let place = Place::new();
    place.write("tokens", &tokens());
    place.write("buildnet.yaml", "daemon: {tokens: tokens, anonymous: read}\n");
    let daemon = place.daemon(&[]);
    assert_eq!(daemon.http("GET /gradle/aa", "", b"").0, 404);
    assert_eq!(daemon.http("PUT /gradle/aa", "", b"x").0, 403);
    assert_eq!(daemon.http("GET /metrics", "", b"").0, 403, "what others do is nobody's business");
    assert_eq!(daemon.http("GET /cache/stats", &bearer(READER), b"").0, 200);
    assert_eq!(daemon.http("GET /status", &bearer(READER), b"").0, 403);
    assert_eq!(daemon.http("PUT /i/pr%2F1/gradle/aa", &bearer(WRITER), b"x").0, 201);
}
