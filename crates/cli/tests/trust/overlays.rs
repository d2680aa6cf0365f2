//! Instances over others, what administrators move between them, and that nobody else does.

use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::RemoteCache;

use crate::support::{Daemon, Place, bearer, text};

const PULL: &str = "pull-request-0123";
const MAIN: &str = "main-ci-012345678";
const BOSS: &str = "boss-0123456789ab";

fn house() -> (Place, Daemon) {
    let place = Place::new();
    place.write("tokens", &format!("pr-ci write {PULL} pr/*\nmain-ci write {MAIN} main,.\nboss admin {BOSS}\n"));
    place.write("buildnet.yaml", "daemon: {tokens: tokens}\ncache: {overlays: {pr: main, team/pr: team/main}}\n");
    let daemon = place.daemon(&[]);
    (place, daemon)
}

async fn cache(daemon: &Daemon, instance: &str, token: &str) -> RemoteCache {
    RemoteCache::connect(&daemon.grpc(instance), Some(token)).await.unwrap()
}

async fn put(cache: &RemoteCache, action: &Digest, code: i32) {
    cache.put_action_result(action, &reapi::ActionResult { exit_code: code, ..Default::default() }).await.unwrap();
}

async fn code(cache: &RemoteCache, action: &Digest) -> Option<i32> {
    cache.action_result(action).await.unwrap().map(|result| result.exit_code)
}

#[tokio::test]
async fn a_pull_request_reads_main_and_reaches_it_by_promotion_alone() {
    let (place, daemon) = house();
    let (main, pull) = (cache(&daemon, "main", MAIN).await, cache(&daemon, "pr/7", PULL).await);
    let [a, b] = [b"a", b"b"].map(|name| DigestFunction::Sha256.digest(name));
    put(&main, &a, 1).await;
    assert_eq!(code(&pull, &a).await, Some(1), "read from below");
    put(&pull, &a, 2).await;
    put(&pull, &b, 3).await;
    assert_eq!((code(&pull, &a).await, code(&main, &a).await, code(&main, &b).await), (Some(2), Some(1), None));

    let promote = |token: &str, what: &[&str]| {
        let mut arguments = vec!["cache", "promote", "--from", "pr/7", "--to", "main"];
        arguments.extend(what);
        place.run(&daemon, Some(token), &arguments)
    };
    let refused = promote(PULL, &["--all"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("`pr-ci` may not administrate"), "{}", text(&refused));
    assert_eq!(promote(BOSS, &[]).status.code(), Some(2), "one action, or all");
    let nothing = promote(BOSS, &["--action", &"0".repeat(64)]);
    assert_eq!(nothing.status.code(), Some(2), "{}", text(&nothing));
    let one = promote(BOSS, &["--action", &b.hex()]);
    assert_eq!(String::from_utf8_lossy(&one.stdout), "Copied 1 result from pr/7 to main.\n");
    assert_eq!((code(&main, &a).await, code(&main, &b).await), (Some(1), Some(3)));
    let all = promote(BOSS, &["--all", "--json"]);
    assert_eq!(String::from_utf8_lossy(&all.stdout), "{\"promoted\":2}\n");
    assert_eq!(code(&main, &a).await, Some(2));
}

#[tokio::test]
async fn what_a_bad_writer_wrote_is_forgotten_wherever_it_got() {
    let (place, daemon) = house();
    let pull = cache(&daemon, "pr/7", PULL).await;
    let action = DigestFunction::Sha256.digest(b"a");
    put(&pull, &action, 2).await;
    assert_eq!(daemon.http("PUT /i/pr%2F7/gradle/aa", &bearer(PULL), b"poison").0, 201);
    assert_eq!(daemon.http("PUT /i/main/gradle/bb", &bearer(MAIN), b"good").0, 201);
    assert!(
        place
            .run(&daemon, Some(BOSS), &["cache", "promote", "--from", "pr/7", "--to", "main", "--all"])
            .status
            .success()
    );
    let purge = |token: &str, more: &[&str]| {
        let mut arguments = vec!["cache", "purge", "--by-writer", "pr-ci", "--since", "1h"];
        arguments.extend(more);
        place.run(&daemon, Some(token), &arguments)
    };
    assert_eq!(purge(MAIN, &[]).status.code(), Some(2));
    let dry = text(&purge(BOSS, &["--dry-run"]));
    assert!(dry.contains("gradle pr/7 aa") && dry.contains("Would forget 4 results of pr-ci."), "{dry}");
    let main = cache(&daemon, "main", MAIN).await;
    assert_eq!(code(&main, &action).await, Some(2), "still there");
    let done = text(&purge(BOSS, &[]));
    assert!(done.contains("Forgot 4 results of pr-ci."), "{done}");
    assert_eq!((code(&main, &action).await, code(&pull, &action).await), (None, None));
    assert_eq!(daemon.http("GET /i/main/gradle/aa", &bearer(MAIN), b"").0, 404);
    assert_eq!(daemon.http("GET /i/main/gradle/bb", &bearer(MAIN), b"").1, "good");
}

/// Every address that an adapter takes writes at, for an instance in front of it.
fn addresses(instance: &str, key: &str) -> Vec<String> {
    let sha = "b".repeat(64);
    let mut all = vec![format!("/{instance}/ac/{sha}")];
    for protocol in [
        format!("ac/{sha}"),
        format!("gradle/{key}"),
        format!("ccache/{key}"),
        format!("sccache/{key}"),
        format!("sstate/{key}"),
        format!("v1/cache/{key}"),
        format!("v8/artifacts/{key}"),
    ] {
        all.push(format!("/i/{instance}/{protocol}"));
        if instance.is_empty() {
            all.push(format!("/{protocol}"));
        }
    }
    all
}

#[test]
fn a_token_of_one_instance_writes_to_no_other_by_any_trick() {
    let (_place, daemon) = house();
    let tricks = [
        "main",
        "",
        "%6dain",
        "pr",
        "pr%2F",
        "pr%2F..",
        "pr%2F..%2Fmain",
        "pr%2F%2e%2e%2Fmain",
        "pr/../main",
        "pr%2F1/../../main",
        "pr%252F..%252Fmain",
        "pr%5C..%5Cmain",
        "main%00",
        "main%2F",
        "%2Fmain",
        "pr%2F1%2F..%2F..%2Fmain",
        ".",
        "..",
        "main%2Fpr%2F1",
        "PR%2F1",
        "pr%2F1%00%2F..%2Fmain",
        "pr%2F.%2F..%2Fmain",
        "team%2Fpr%2F1",
        "pr%2F1%0d%0ax: y",
    ];
    let key = "a".repeat(32);
    for trick in tricks {
        for address in addresses(trick, &key) {
            for method in ["PUT", "POST", "DELETE", "MKCOL"] {
                let headers = format!("{}content-type: application/octet-stream\r\n", bearer(PULL));
                let status = daemon.http(&format!("{method} {address}"), &headers, b"poison").0;
                assert!(matches!(status, 400 | 403 | 404 | 405), "{method} {address} gave {status}");
            }
        }
    }
    // The instance in headers or parameters that some protocols know changes nothing.
    for address in
        [format!("/v8/artifacts/{key}?teamId=pr/1&slug=pr/1"), format!("/i/main/v8/artifacts/{key}?teamId=pr/1")]
    {
        assert_eq!(daemon.http(&format!("PUT {address}"), &bearer(PULL), b"poison").0, 403, "{address}");
    }
    // And nothing arrived: neither in main, nor in the default instance.
    for instance in ["main", ""] {
        for address in addresses(instance, &key).into_iter().filter(|address| !address.contains("//")) {
            let (status, body) = daemon.http(&format!("GET {address}"), &bearer(MAIN), b"");
            assert!(status == 404 && !body.contains("poison"), "GET {address}: {status} {body}");
        }
    }
    // Where it may, it can.
    assert_eq!(daemon.http(&format!("PUT /i/pr%2F1/gradle/{key}"), &bearer(PULL), b"own").0, 201);
    assert_eq!(daemon.http("POST /cache/promote?from=pr%2F1&to=main", &bearer(PULL), b"").0, 403);
    assert_eq!(daemon.http("POST /i/pr%2F1/cache/promote?from=pr%2F1&to=main", &bearer(PULL), b"").0, 403);
    assert_eq!(daemon.http("POST /cache/purge?writer=main-ci", &bearer(MAIN), b"").0, 403);
}

#[tokio::test]
async fn grpc_names_no_other_instance_either() {
    let (_place, daemon) = house();
    let pull = cache(&daemon, "pr/1", PULL).await;
    let action = DigestFunction::Sha256.digest(b"a");
    for instance in [
        "main",
        "",
        "pr",
        "pr/",
        "pr/../main",
        "../main",
        "pr/1/../../main",
        "main/pr/1",
        "pr//1",
        "pr/1\0",
        "team/pr/1",
    ] {
        let put = pull.with_instance(instance).put_action_result(&action, &reapi::ActionResult::default()).await;
        assert!(put.is_err(), "{instance:?}");
    }
    for instance in ["main", ""] {
        let read = cache(&daemon, instance, MAIN).await;
        assert_eq!(code(&read, &action).await, None);
    }
    put(&pull, &action, 1).await;
}

#[test]
fn overlays_that_cannot_be_are_told() {
    let place = Place::new();
    place.write("buildnet.yaml", "cache: {overlays: {main: main}}\n");
    let output = place.program().args(["start", "--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("`main` cannot lie over `main`"), "{}", text(&output));
}
