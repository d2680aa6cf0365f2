//! What each protocol promises, and what clients must not get away with.

mod common;

use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::{Access, CacheOptions, Limits, RemoteCache};
use prost::Message;
use serde_json::{Value, json};

use self::common::{ENTRIES, Server, bytes};

fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(body)))
}

#[test]
fn gradle() {
    let server = Server::start(CacheOptions::default());
    let large = bytes(1, 3_000_000);
    assert_eq!(server.curl("/gradle/0a1b", &[]).0, 404);
    assert_eq!(server.put("/gradle/0a1b", &large, &["--header", "Expect: 100-continue"]), 201);
    assert_eq!(server.curl("/gradle/0a1b", &[]), (200, large.clone()));
    assert_eq!(server.put("/gradle/0a1b", b"newer", &["--header", "Transfer-Encoding: chunked"]), 201);
    assert_eq!(server.curl("/gradle/0a1b", &[]), (200, b"newer".to_vec()));
    assert_eq!(server.curl("/i/other/gradle/0a1b", &[]).0, 404, "each instance has its own");
    assert_eq!(server.put("/i/main/gradle/k", b"main", &[]), 201);
    assert_eq!(server.curl("/i/pr%2F7/gradle/k", &[]), (200, b"main".to_vec()), "an overlay reads what is below");
    assert_eq!(server.put("/i/pr%2F7/gradle/k", b"pull", &[]), 201);
    assert_eq!(server.curl("/i/main/gradle/k", &[]), (200, b"main".to_vec()));
    assert_eq!(server.curl("/i/a%2F..%2Fb/gradle/k", &[]).0, 400);
}

/// Any answer but these makes Gradle give up the cache.
#[test]
fn gradle_is_not_told_of_a_busy_server() {
    let limits = Limits { max_in_flight: 0, ..Limits::default() };
    let server = Server::start(CacheOptions { limits, ..CacheOptions::default() });
    for instance in ["", "/i/main", "/i/pr%2F1"] {
        assert_eq!(server.curl(&format!("{instance}/gradle/0a1b"), &[]).0, 404, "{instance}");
        assert_eq!(server.put(&format!("{instance}/gradle/0a1b"), b"x", &[]), 503, "{instance}");
        assert_eq!(server.curl(&format!("{instance}/v1/cache/12"), &[]).0, 503, "{instance}");
    }
}

#[test]
fn nx_answers_exactly() {
    let server = Server::start(CacheOptions::default());
    assert_eq!(server.curl("/v1/cache/123", &[]).0, 404);
    assert_eq!(server.put("/v1/cache/123", b"archive", &[]), 200);
    assert_eq!(server.put("/nx/v1/cache/123", b"other", &[]), 409, "records never change");
    assert_eq!(server.curl("/nx/v1/cache/123", &[]), (200, b"archive".to_vec()));
}

#[test]
fn turborepo() {
    let server = Server::start(CacheOptions::default());
    assert_eq!(json_of(&server.curl("/v8/artifacts/status", &[]).1), json!({ "status": "enabled" }));
    let path = "/v8/artifacts/ab12?slug=house";
    assert_eq!(server.curl(path, &[]).0, 404);
    let headers = ["--header", "x-artifact-duration: 412", "--header", "x-artifact-tag: c2lnbmF0dXJl"];
    assert_eq!(server.put(path, b"tar", &headers), 202);
    let (status, headers, body) = server.curl_with_headers(path, &[]);
    assert_eq!((status, body), (200, b"tar".to_vec()));
    assert!(headers.contains("x-artifact-duration: 412") && headers.contains("x-artifact-tag: c2lnbmf0dxjl"));
    assert!(headers.contains("content-length: 3") && !headers.contains("content-encoding"));
    assert_eq!(server.curl(path, &["--head"]).0, 200);
    assert_eq!(server.curl("/v8/artifacts/ab12?slug=garden", &[]).0, 404, "teams are apart");
    assert_eq!(server.curl("/v8/artifacts/xyz?slug=house", &[]).0, 400);
    let query = ["--json", r#"{"hashes":["ab12","cd"]}"#];
    let answer = json_of(&server.curl("/v8/artifacts?slug=house", &query).1);
    assert_eq!(answer, json!({ "ab12": { "size": 3, "taskDurationMs": 412, "tag": "c2lnbmF0dXJl" }, "cd": null }));
    let events = r#"[{"sessionId":"s","source":"LOCAL","event":"HIT","hash":"ab12","duration":1}]"#;
    assert_eq!(server.curl("/v8/artifacts/events", &["--json", events]).0, 200);
    assert!(server.service.metrics().render().contains("operation=\"local_hit\""));
    let long = format!("x-artifact-tag: {}", "a".repeat(700));
    assert_eq!(server.put(path, b"tar", &["--header", &long]), 400);
}

#[test]
fn sccache_webdav() {
    let server = Server::start(CacheOptions::default());
    let find = ["--request", "PROPFIND", "--header", "Depth: 0"];
    let (status, body) = server.curl("/sccache/a/b/", &find);
    assert_eq!(status, 207);
    assert!(String::from_utf8(body).unwrap().contains("<D:collection/>"));
    assert_eq!(server.curl("/sccache/a/", &["--request", "MKCOL"]).0, 201);
    assert_eq!(server.curl("/sccache/a/b/c/abc", &find).0, 404);
    assert_eq!(server.put("/sccache/a/b/c/abc", b"object", &[]), 201);
    let (status, body) = server.curl("/sccache/a/b/c/abc", &find);
    assert_eq!(status, 207);
    assert!(String::from_utf8(body).unwrap().contains("<D:getcontentlength>6<"));
    assert_eq!(server.curl("/sccache/a/b/c/abc", &[]), (200, b"object".to_vec()));
    assert_eq!(server.curl("/sccache/a/b/c/abc", &["--request", "DELETE"]).0, 204);
    assert_eq!(server.curl("/sccache/a/b/c/abc", &[]).0, 404);
}

#[test]
fn shared_state_with_ranges() {
    let server = Server::start(CacheOptions::default());
    let object = bytes(2, 1_000_000);
    let path = "/sstate/universal/ab/cd/sstate%3Azlib%3Ax%3A1.3%3Ar0%3Ax%3A14%3Aabcd_populate_sysroot.tar.zst";
    assert_eq!(server.curl(path, &["--head"]).0, 404);
    assert_eq!(server.put(path, &object, &[]), 201);
    let (status, headers, _) = server.curl_with_headers(path, &["--head"]);
    assert_eq!(status, 200);
    assert!(headers.contains("content-length: 1000000") && headers.contains("accept-ranges: bytes"), "{headers}");
    // Escaped or not is the same.
    assert_eq!(server.curl(&path.replace("%3A", ":"), &[]), (200, object.clone()));
    assert_eq!(server.curl(path, &["--range", "999990-"]), (206, object[999_990..].to_vec()));
    assert_eq!(server.curl(path, &["--range", "300000-699999"]), (206, object[300_000..700_000].to_vec()));
    assert_eq!(server.curl(path, &["--range", "1000000-"]).0, 416);
    assert_eq!(server.put("/sstate/empty", b"", &[]), 400);
    for bad in ["/sstate/../../etc/passwd", "/sstate/a//b", "/sstate/a%00b", "/sstate/%2e%2e/x"] {
        assert_eq!(server.put(bad, b"x", &[]), 400, "{bad}");
    }
}

#[test]
fn bazel_shares_blobs_with_grpc() {
    let server = Server::start(CacheOptions::default());
    let content = bytes(3, 700_000);
    let digest = DigestFunction::Sha256.digest(&content);
    let cas = format!("/cas/{}", digest.hex());
    assert_eq!(server.curl(&cas, &[]).0, 404);
    assert_eq!(server.put(&cas, b"something else", &[]), 400);
    assert_eq!(server.put(&cas.to_uppercase().replace("/CAS", "/cas"), &content, &[]), 400);
    assert_eq!(server.curl(&cas, &[]).0, 404);
    assert_eq!(server.put(&cas, &content, &[]), 200);
    assert_eq!(server.curl(&cas, &[]), (200, content.clone()));
    let remote = format!("grpc://{}/main", server.authority);
    let cache = server.runtime.block_on(RemoteCache::connect(&remote, None)).unwrap();
    let read = server.runtime.block_on(cache.read(&[digest])).unwrap();
    assert_eq!(read[&digest], content, "over gRPC, too");

    // And the other way round: a blob from gRPC, which nothing names.
    let other = bytes::Bytes::from(bytes(4, 5000));
    let other_digest = DigestFunction::Sha256.digest(&other);
    server.runtime.block_on(cache.write(&[(other_digest, other.clone())])).unwrap();
    assert_eq!(server.curl(&format!("/cas/{}", other_digest.hex()), &[]), (200, other.to_vec()));
    let file = |digest: &Digest| reapi::OutputFile {
        path: "out".into(),
        digest: Some(digest.to_reapi()),
        ..Default::default()
    };
    let result = reapi::ActionResult { output_files: vec![file(&other_digest)], ..Default::default() };
    let key = DigestFunction::Sha256.digest(b"action").hex();
    for instance in ["", "/main"] {
        let ac = format!("{instance}/ac/{key}");
        assert_eq!(server.curl(&ac, &[]).0, 404);
        assert_eq!(server.put(&ac, b"\xff\xff no message", &[]), 400);
        assert_eq!(server.put(&ac, &result.encode_to_vec(), &[]), 200);
        assert_eq!(server.curl(&ac, &[]), (200, result.encode_to_vec()));
        assert_eq!(server.curl(&format!("{instance}/cas/{}", other_digest.hex()), &[]), (200, other.to_vec()));
    }
    // An incomplete result is a miss.
    let absent = DigestFunction::Sha256.digest(b"absent");
    let incomplete = reapi::ActionResult { output_files: vec![file(&absent)], ..Default::default() };
    assert_eq!(server.put(&format!("/ac/{key}"), &incomplete.encode_to_vec(), &[]), 200);
    assert_eq!(server.curl(&format!("/ac/{key}"), &[]).0, 404);
}

#[test]
fn roles_promotion_and_purging() {
    let tokens = "ci write 0123456789abcdef-ci pr\nreader read 0123456789abcdef-re\nboss admin 0123456789abcdef-bo\n";
    let access = Access::parse(tokens, None).unwrap();
    let limits = Limits { max_blob_bytes: 100_000, ..Limits::default() };
    let server = Server::start(CacheOptions { access, limits, ..CacheOptions::default() });
    let token = |name: &str| format!("Authorization: Bearer 0123456789abcdef-{name}");
    let (ci, reader, boss) = (token("ci"), token("re"), token("bo"));
    let (status, headers, _) = server.curl_with_headers("/gradle/k", &[]);
    assert_eq!(status, 401);
    assert!(headers.contains("www-authenticate: basic"), "{headers}");
    assert_eq!(server.curl("/gradle/k", &["--user", "x:0123456789abcdef-re"]).0, 404, "basic authentication");
    assert_eq!(server.put("/gradle/k", b"x", &["--header", &reader]), 403);
    assert_eq!(server.put("/gradle/k", b"x", &["--header", &ci]), 403, "not its instance");
    assert_eq!(server.put("/i/pr%2F1/gradle/k", b"x", &["--header", &ci]), 201);
    assert_eq!(server.put("/i/pr%2F1/gradle/k", &bytes(1, 100_001), &["--header", &ci]), 413);
    assert_eq!(server.curl("/i/main/gradle/k", &["--header", &reader]).0, 404);
    let (status, body) = server.curl("/v8/artifacts/ab?slug=s", &["--header", &ci]);
    assert_eq!((status, &json_of(&body)["error"]["code"]), (403, &json!("forbidden")));

    let promote = "/cache/promote?from=pr%2F1&to=main";
    assert_eq!(server.curl(promote, &["--request", "POST", "--header", &ci]).0, 403);
    let (status, body) = server.curl(promote, &["--request", "POST", "--header", &boss]);
    assert_eq!((status, json_of(&body)), (200, json!({ "promoted": 1 })));
    assert_eq!(server.curl("/i/main/gradle/k", &["--header", &reader]), (200, b"x".to_vec()));

    let purge = ["--request", "POST", "--header", &boss];
    // What was promoted is purged with what it was promoted from; of the one who promoted it nothing is left to purge.
    let dry = json_of(&server.curl("/cache/purge?writer=ci&dry_run=true&instance=main", &purge).1);
    assert_eq!((&dry["purged"], &dry["entries"][0]["name"]), (&json!(1), &json!("k")), "{dry}");
    assert_eq!(json_of(&server.curl("/cache/purge?writer=ci", &purge).1)["purged"], 2);
    assert_eq!(json_of(&server.curl("/cache/purge?writer=boss", &purge).1)["purged"], 0);
    let (status, body) = server.curl("/cache/purge?author=ci", &purge);
    assert_eq!((status, &json_of(&body)["category"]), (400, &json!("user")));
    assert_eq!(server.curl("/i/pr%2F1/gradle/k", &["--header", &ci]).0, 404);
    assert_eq!(server.curl("/i/main/gradle/k", &["--header", &reader]).0, 404);
}

/// Whatever brought a blob, it is there for all that name blobs by their digests.
#[test]
fn every_protocol_stores_into_one_store() {
    let server = Server::start(CacheOptions::default());
    let remote = format!("grpc://{}/elsewhere", server.authority);
    let cache = server.runtime.block_on(RemoteCache::connect(&remote, None)).unwrap();
    let read = |digest: Digest| server.runtime.block_on(cache.read(&[digest])).unwrap().remove(&digest);
    let mut stored = Vec::new();
    // Small enough for a batch, and large enough for a stream.
    for (size, seed) in [(1000, 100), (5_000_000, 200)] {
        for (index, path) in ENTRIES.iter().enumerate() {
            let content = bytes(seed + index as u64, size);
            let path = path.replacen("ab", &format!("{index}f"), 1);
            let path = if size == 1000 { path } else { format!("/i/other{path}") };
            assert!(matches!(server.put(&path, &content, &[]), 200..=202), "{path}");
            stored.push((path, content));
        }
        let content = bytes(seed + 50, size);
        let path = format!("/cas/{}", DigestFunction::Sha256.digest(&content).hex());
        assert_eq!(server.put(&path, &content, &[]), 200);
        stored.push((path, content));
        let content = bytes(seed + 60, size);
        let digest = DigestFunction::Sha256.digest(&content);
        server.runtime.block_on(cache.write(&[(digest, content.clone().into())])).unwrap();
        stored.push((format!("gRPC, {size} bytes"), content));
    }
    for (from, content) in stored {
        let digest = DigestFunction::Sha256.digest(&content);
        assert!(read(digest).is_some_and(|found| found == content), "{from} over gRPC");
        for address in ["/cas", "/main/cas", "/i/main/cas"] {
            let (status, found) = server.curl(&format!("{address}/{}", digest.hex()), &[]);
            assert!(status == 200 && found == content, "{from} at {address}: {status}");
        }
    }
}
