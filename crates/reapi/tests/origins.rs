//! Assets from real origins: an HTTP and an HTTPS server, and a git daemon, all on this machine.

mod common;

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use base64::Engine as _;
use bazel_remote_apis::build::bazel::remote::asset::v1::fetch_client::FetchClient;
use bazel_remote_apis::build::bazel::remote::asset::v1::{
    FetchBlobRequest, FetchBlobResponse, FetchDirectoryRequest, FetchDirectoryResponse, Qualifier,
};
use buildnet_digest::{Digest, DigestFunction, protobuf, reapi};
use buildnet_reapi::{CacheOptions, Origins};
use prost::Message;
use tokio::net::TcpListener;
use tonic::{Code, Status};

use self::common::{Server, blob};

/// An HTTP server with all that can be met in the wild.
struct Origin {
    port: u16,
    /// Requests for `/counted`.
    counted: Arc<std::sync::atomic::AtomicU32>,
}

async fn origin(files: Vec<(&'static str, Vec<u8>)>) -> Origin {
    let counted = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let asked = Arc::clone(&counted);
    let endless = || {
        let zeros = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![0; 65536])));
        Body::from_stream(zeros)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut app = Router::new()
        .route("/gone", get(|| async { StatusCode::NOT_FOUND }))
        .route("/forbidden", get(|| async { StatusCode::FORBIDDEN }))
        .route("/broken", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .route("/endless", get(move || async move { endless() }))
        .route("/never", get(std::future::pending::<Response>))
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route("/redirect", get(|| async { Redirect::temporary("file") }))
        .route("/climb", get(|| async { Redirect::temporary("/../file") }))
        .route("/encoded", get(|| async { ([("content-encoding", "gzip")], "x").into_response() }))
        .route("/elsewhere", get(move || async move { Redirect::permanent(&format!("http://localhost:{port}/file")) }))
        .route(
            "/secret",
            get(|headers: HeaderMap| async move {
                let token = headers.get("authorization").is_some_and(|value| value == "Bearer hush");
                if token { StatusCode::OK.into_response() } else { StatusCode::UNAUTHORIZED.into_response() }
            }),
        )
        .route(
            "/counted",
            get(move || async move {
                let number = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                format!("answer {number}")
            }),
        );
    for (path, content) in files {
        app = app.route(path, get(move || async move { content.clone() }));
    }
    tokio::spawn(async move { axum::serve(listener, app).await });
    Origin { port, counted }
}

fn allowing(rules: &[String]) -> Origins {
    Origins { allowed: rules.iter().map(|rule| rule.parse().unwrap()).collect(), ..Origins::default() }
}

async fn server(origins: Origins) -> Server {
    Server::start(CacheOptions { origins, ..CacheOptions::default() }).await
}

fn qualifier(name: &str, value: &str) -> Qualifier {
    Qualifier { name: name.into(), value: value.into() }
}

async fn fetch_blob(server: &Server, uri: &str, qualifiers: Vec<Qualifier>) -> Result<FetchBlobResponse, Status> {
    let request = FetchBlobRequest { uris: vec![uri.into()], qualifiers, ..Default::default() };
    FetchClient::new(server.channel.clone()).fetch_blob(request).await.map(tonic::Response::into_inner)
}

async fn fetch_directory(
    server: &Server,
    uri: &str,
    qualifiers: Vec<Qualifier>,
) -> Result<FetchDirectoryResponse, Status> {
    let request = FetchDirectoryRequest { uris: vec![uri.into()], qualifiers, ..Default::default() };
    FetchClient::new(server.channel.clone()).fetch_directory(request).await.map(tonic::Response::into_inner)
}

fn sri(bytes: &[u8]) -> String {
    let hash = DigestFunction::Sha256.digest(bytes);
    format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(hash.hash()))
}

#[tokio::test]
async fn blobs_are_fetched_checked_and_kept() {
    let (digest, bytes) = blob(1, 300_000);
    let origin = origin(vec![("/file", bytes.to_vec())]).await;
    let base = format!("http://127.0.0.1:{}", origin.port);
    let server = server(allowing(std::slice::from_ref(&base))).await;
    let uri = format!("{base}/file");
    let answer = fetch_blob(&server, &uri, vec![]).await.unwrap();
    assert_eq!((answer.status.unwrap().code, answer.uri), (0, uri.clone()));
    assert_eq!(answer.blob_digest, Some(digest.to_reapi()));
    assert!(answer.expires_at.is_some(), "nothing says that it stays the same");
    assert_eq!(server.cache("").await.read(&[digest]).await.unwrap()[&digest], bytes);

    let pinned = vec![qualifier("checksum.sri", &sri(&bytes)), qualifier("bazel.canonical_id", "x")];
    let answer = fetch_blob(&server, &uri, pinned).await.unwrap();
    assert_eq!((answer.blob_digest, answer.expires_at), (Some(digest.to_reapi()), None));
    let wrong = vec![qualifier("checksum.sri", &sri(b"other"))];
    let answer = fetch_blob(&server, &uri, wrong).await.unwrap();
    assert_eq!((answer.status.unwrap().code, answer.blob_digest), (Code::Aborted as i32, None));

    let request = FetchBlobRequest {
        uris: vec![format!("{base}/gone"), uri.clone()],
        digest_function: reapi::digest_function::Value::Sha256tree as i32,
        ..Default::default()
    };
    let answer = FetchClient::new(server.channel.clone()).fetch_blob(request).await.unwrap().into_inner();
    assert_eq!(answer.uri, uri, "a mirror helps");
    assert_eq!(answer.digest_function, reapi::digest_function::Value::Sha256tree as i32);
    assert_eq!(answer.blob_digest, Some(DigestFunction::Sha256Tree.digest(&bytes).to_reapi()));
}

#[tokio::test]
async fn the_same_is_fetched_once_and_again_when_it_is_too_old() {
    let origin = origin(vec![]).await;
    let base = format!("http://127.0.0.1:{}", origin.port);
    let server = server(allowing(std::slice::from_ref(&base))).await;
    let uri = format!("{base}/counted");
    let all = futures::future::join_all((0..8).map(|_| fetch_blob(&server, &uri, vec![]))).await;
    let first = all[0].as_ref().unwrap().blob_digest.clone();
    assert!(all.iter().all(|answer| answer.as_ref().unwrap().blob_digest == first));
    assert_eq!(origin.counted.load(std::sync::atomic::Ordering::SeqCst), 1);
    let request = FetchBlobRequest {
        uris: vec![uri],
        oldest_content_accepted: Some(protobuf::Timestamp { seconds: i64::MAX / 2, nanos: 0 }),
        ..Default::default()
    };
    let answer = FetchClient::new(server.channel.clone()).fetch_blob(request).await.unwrap().into_inner();
    assert_ne!(answer.blob_digest, first);
    assert_eq!(origin.counted.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn only_what_is_allowed_is_asked() {
    let origin = origin(vec![("/file", b"content".to_vec()), ("/sub/file", b"content".to_vec())]).await;
    let base = format!("http://127.0.0.1:{}", origin.port);
    let nothing = server(Origins::default()).await;
    let refused = fetch_blob(&nothing, &format!("{base}/file"), vec![]).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "by default the server asks nobody");

    let code = |answer: Result<FetchBlobResponse, Status>| Code::from(answer.unwrap().status.unwrap().code);
    let below = server(allowing(&[format!("{base}/sub")])).await;
    assert_eq!(code(fetch_blob(&below, &format!("{base}/sub/file"), vec![]).await), Code::Ok);
    assert!(fetch_blob(&below, &format!("{base}/file"), vec![]).await.is_err());
    assert!(fetch_blob(&below, &format!("{base}/sub/../file"), vec![]).await.is_err());

    let open = server(allowing(std::slice::from_ref(&base))).await;
    assert_eq!(code(fetch_blob(&open, &format!("{base}/redirect"), vec![]).await), Code::Ok);
    for path in ["/elsewhere", "/climb"] {
        let answer = fetch_blob(&open, &format!("{base}{path}"), vec![]).await;
        assert_eq!(code(answer), Code::PermissionDenied, "a redirect {path} must be allowed as well");
    }

    // What a rule does not name itself may not lead to this machine, unless that was meant.
    let any = format!("http://*.0.0.1:{}", origin.port);
    let wild = server(allowing(std::slice::from_ref(&any))).await;
    assert_eq!(code(fetch_blob(&wild, &format!("{base}/file"), vec![]).await), Code::PermissionDenied);
    let meant = server(Origins { private_addresses: true, ..allowing(std::slice::from_ref(&any)) }).await;
    assert_eq!(code(fetch_blob(&meant, &format!("{base}/file"), vec![]).await), Code::Ok);
    assert!(fetch_blob(&open, &format!("file:///etc/passwd#{base}"), vec![]).await.is_err());
}

#[tokio::test]
async fn failures_of_origins_are_in_the_answer() {
    let origin = origin(vec![("/file", vec![7; 1 << 20])]).await;
    let base = format!("http://127.0.0.1:{}", origin.port);
    let origins =
        Origins { max_bytes: 1 << 19, timeout: Duration::from_secs(20), ..allowing(std::slice::from_ref(&base)) };
    let server = server(origins).await;
    let code = |answer: FetchBlobResponse| Code::from(answer.status.unwrap().code);
    for (path, expected) in [
        ("/gone", Code::NotFound),
        ("/nothing", Code::NotFound),
        ("/forbidden", Code::PermissionDenied),
        ("/broken", Code::Unavailable),
        ("/loop", Code::Aborted),
        ("/encoded", Code::Aborted),
        ("/file", Code::ResourceExhausted),
        ("/endless", Code::ResourceExhausted),
        ("/secret", Code::PermissionDenied),
    ] {
        let uri = format!("{base}{path}");
        let answer = fetch_blob(&server, &uri, vec![]).await.unwrap();
        assert_eq!((code(answer.clone()), answer.uri), (expected, uri), "{path}");
    }
    let with_token = vec![qualifier("http_header:Authorization", "Bearer hush")];
    assert_eq!(code(fetch_blob(&server, &format!("{base}/secret"), with_token).await.unwrap()), Code::Ok);
    let notes = server.notes();
    assert!(notes.contains("/secret") && !notes.contains("hush"), "secrets are not kept: {notes}");

    let request = FetchBlobRequest {
        uris: vec![format!("{base}/never")],
        timeout: Some(protobuf::Duration { seconds: 0, nanos: 50_000_000 }),
        ..Default::default()
    };
    let mut client = FetchClient::new(server.channel.clone());
    assert_eq!(code(client.fetch_blob(request.clone()).await.unwrap().into_inner()), Code::DeadlineExceeded);
    let negative = FetchBlobRequest { timeout: Some(protobuf::Duration { seconds: -1, nanos: 0 }), ..request };
    assert_eq!(client.fetch_blob(negative).await.unwrap_err().code(), Code::InvalidArgument);
    for bad in [
        vec![qualifier("odd", "x")],
        vec![qualifier("vcs.commit", &"a".repeat(40))],
        vec![qualifier("checksum.sri", "md5-xx")],
        vec![qualifier("directory", "a"), qualifier("directory", "b")],
        vec![qualifier("http_header:Host", "evil")],
    ] {
        let status = fetch_blob(&server, &format!("{base}/file2"), bad.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{bad:?}");
    }
    let spool = std::fs::read_dir(server.service.dir().join("spool")).unwrap().count();
    assert_eq!(spool, 0, "nothing is left of what failed");
}

#[tokio::test]
async fn https_with_the_right_authority_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = key.cert.der().to_vec();
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let serve = hyper::service::service_fn(|_| async {
                    Ok::<_, std::convert::Infallible>(axum::http::Response::new("over TLS".to_owned()))
                });
                let stream = hyper_util::rt::TokioIo::new(stream);
                // A client that goes away in mid-connection is its own business.
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, serve).await;
            });
        }
    });
    let base = format!("https://localhost:{port}");
    let uri = format!("{base}/file");
    let trusting = server(Origins { authorities: vec![certificate], ..allowing(std::slice::from_ref(&base)) }).await;
    let answer = fetch_blob(&trusting, &uri, vec![]).await.unwrap();
    assert_eq!(answer.status.clone().unwrap().message, "");
    assert_eq!(answer.blob_digest, Some(DigestFunction::Sha256.digest(b"over TLS").to_reapi()));
    let doubting = server(allowing(std::slice::from_ref(&base))).await;
    let status = fetch_blob(&doubting, &uri, vec![]).await.unwrap().status.unwrap();
    assert_eq!(Code::from(status.code), Code::Unavailable, "{status:?}");
}

/// A tar archive: name, kind, content or target, mode.
fn tar(entries: &[(&str, tar::EntryType, &[u8], u32)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, content, mode) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        // Past the library's own checks, as an attacker would.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        if kind.is_file() {
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        } else {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content);
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, &b""[..]).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip(entries: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content, mode) in entries {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(*mode);
        if mode & 0o170_000 == 0o120_000 {
            writer.add_symlink(*name, std::str::from_utf8(content).unwrap(), options).unwrap();
        } else {
            writer.start_file(*name, options).unwrap();
            writer.write_all(content).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

/// The paths of a directory, with what they are.
async fn listing(server: &Server, root: &reapi::Digest) -> Vec<String> {
    let cache = server.cache("").await;
    let mut lines = Vec::new();
    let mut waiting = vec![(String::new(), Digest::from_reapi(DigestFunction::Sha256, root).unwrap())];
    while let Some((prefix, digest)) = waiting.pop() {
        let bytes = cache.read(&[digest]).await.unwrap().remove(&digest).unwrap();
        let directory = reapi::Directory::decode(bytes).unwrap();
        for file in directory.files {
            let digest = Digest::from_reapi(DigestFunction::Sha256, &file.digest.unwrap()).unwrap();
            let content = cache.read(&[digest]).await.unwrap().remove(&digest).unwrap();
            let executable = if file.is_executable { "*" } else { "" };
            let text = if content.len() < 100 {
                String::from_utf8_lossy(&content).into_owned()
            } else {
                content.len().to_string()
            };
            lines.push(format!("{prefix}{}{executable} {text}", file.name));
        }
        for link in directory.symlinks {
            lines.push(format!("{prefix}{} -> {}", link.name, link.target));
        }
        for child in directory.directories {
            let path = format!("{prefix}{}/", child.name);
            waiting.push((path.clone(), Digest::from_reapi(DigestFunction::Sha256, &child.digest.unwrap()).unwrap()));
            lines.push(path);
        }
    }
    lines.sort();
    lines
}

#[tokio::test]
async fn archives_become_directories() {
    use tar::EntryType;
    let large = vec![b'x'; 3 << 20];
    let long = format!("{}/deep", "d".repeat(90));
    let mut entries = vec![
        ("./top/", EntryType::Directory, &b""[..], 0o755),
        ("./top/run", EntryType::Regular, &b"#!"[..], 0o755),
        ("./top/data", EntryType::Regular, &large[..], 0o644),
        ("./top/link", EntryType::Symlink, &b"data"[..], 0o777),
        ("./top/again", EntryType::Link, &b"./top/run"[..], 0o644),
        ("./empty/", EntryType::Directory, &b""[..], 0o755),
    ];
    entries.push((&long, EntryType::Regular, b"deep", 0o644));
    let plain = tar(&entries);
    let zipped = zip(&[("top/run", b"#!", 0o755), ("top/data", &large, 0o644), ("top/link", b"data", 0o120_777)]);
    let origin = origin(vec![
        ("/a.tar", plain.clone()),
        ("/a.tar.gz", gzip(&plain)),
        ("/a.tar.zst", zstd::bulk::compress(&plain, 3).unwrap()),
        ("/a.zip", zipped),
        ("/a.txt", b"only a text".to_vec()),
    ])
    .await;
    let base = format!("http://127.0.0.1:{}", origin.port);
    let server = server(allowing(std::slice::from_ref(&base))).await;
    let expected = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let mut roots = Vec::new();
    for name in ["a.tar", "a.tar.gz", "a.tar.zst"] {
        let answer = fetch_directory(&server, &format!("{base}/{name}"), vec![]).await.unwrap();
        assert_eq!(answer.status.unwrap().message, "", "{name}");
        roots.push(answer.root_directory_digest.unwrap());
    }
    assert!(roots.windows(2).all(|pair| pair[0] == pair[1]));
    let deep = format!("{long} deep");
    let parent = format!("{}/", "d".repeat(90));
    let all = listing(&server, &roots[0]).await;
    let mut wanted = expected(&[
        "empty/",
        "top/",
        "top/again* #!",
        "top/data 3145728",
        "top/link -> data",
        "top/run* #!",
        &deep,
        &parent,
    ]);
    wanted.sort();
    assert_eq!(all, wanted);

    let part = vec![qualifier("directory", "top"), qualifier("resource_type", "application/zip")];
    let answer = fetch_directory(&server, &format!("{base}/a.zip"), part).await.unwrap();
    let all = listing(&server, &answer.root_directory_digest.unwrap()).await;
    assert_eq!(all, expected(&["data 3145728", "link -> data", "run* #!"]));
    let absent = vec![qualifier("directory", "nowhere")];
    let answer = fetch_directory(&server, &format!("{base}/a.zip"), absent).await.unwrap();
    assert_eq!(Code::from(answer.status.unwrap().code), Code::NotFound);
    let answer = fetch_directory(&server, &format!("{base}/a.txt"), vec![]).await.unwrap();
    assert_eq!(Code::from(answer.status.unwrap().code), Code::InvalidArgument);
}

#[tokio::test]
async fn hostile_archives_are_refused() {
    use tar::EntryType;
    let file = |name: &'static str| tar(&[(name, EntryType::Regular, b"evil", 0o644)]);
    let bomb = gzip(&tar(&[("zeros", EntryType::Regular, &vec![0; 64 << 20], 0o644)]));
    let through_link =
        tar(&[("out", EntryType::Symlink, b"/etc", 0o777), ("out/passwd", EntryType::Regular, b"evil", 0o644)]);
    let mut liar = tar(&[("short", EntryType::Regular, b"evil", 0o644)]);
    liar.truncate(514);
    let many: Vec<_> = (0..2000).map(|number| format!("f{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), EntryType::Regular, &b""[..], 0o644)).collect();
    // A name of 1 GiB, of which the archive has only the beginning.
    let mut long_name = tar::Header::new_gnu();
    long_name.set_entry_type(EntryType::GNULongName);
    long_name.set_size(1 << 30);
    long_name.set_cksum();
    // The end of a zip archive that claims four billion entries.
    let mut claims = b"PK\x03\x04".to_vec();
    claims.extend([0; 200]);
    claims.extend(b"PK\x06\x06");
    claims.extend([0; 28]);
    claims.extend(u64::from(u32::MAX).to_le_bytes());
    claims.extend([0; 40]);
    claims.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    let cases: Vec<(&'static str, Vec<u8>)> = vec![
        ("/up", file("../evil")),
        ("/up-deep", file("a/../../evil")),
        ("/absolute", file("/etc/evil")),
        ("/through-link", through_link),
        ("/bomb", bomb),
        ("/many", tar(&many)),
        ("/liar", liar),
        ("/device", tar(&[("dev", EntryType::Char, b"", 0o644)])),
        ("/hard-link", tar(&[("link", EntryType::Link, b"../../etc/passwd", 0o644)])),
        ("/long-name", [long_name.as_bytes().to_vec(), vec![b'x'; 4096]].concat()),
        ("/zip-up", zip(&[("../evil", b"evil", 0o644)])),
        ("/zip-claims", claims),
        ("/zip-cut", zip(&[("a", b"content", 0o644)])[..40].to_vec()),
        ("/gzip-cut", gzip(&file("a"))[..30].to_vec()),
    ];
    let names: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
    let origin = origin(cases).await;
    let base = format!("http://127.0.0.1:{}", origin.port);
    let origins = Origins { max_expanded_bytes: 8 << 20, max_entries: 1000, ..allowing(std::slice::from_ref(&base)) };
    let server = server(origins).await;
    for name in names {
        let answer = fetch_directory(&server, &format!("{base}{name}"), vec![]).await.unwrap();
        let code = Code::from(answer.status.unwrap().code);
        let large = ["/bomb", "/many", "/zip-claims"].contains(&name);
        assert_eq!(code, if large { Code::ResourceExhausted } else { Code::Aborted }, "{name}");
        assert_eq!(answer.root_directory_digest, None);
    }
    let spool = std::fs::read_dir(server.service.dir().join("spool")).unwrap().count();
    assert_eq!(spool, 0, "nothing is left of what failed");
}

/// `git daemon` over one repository, stopped with the test.
struct Daemon {
    child: Child,
    port: u16,
    commits: Vec<String>,
    _dir: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn git(dir: &std::path::Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn daemon() -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("project.git");
    std::fs::create_dir_all(repository.join("src/deep")).unwrap();
    git(&repository, &["init", "-q", "-b", "main"]);
    std::fs::write(repository.join("src/deep/a.txt"), "one").unwrap();
    std::fs::write(repository.join("run.sh"), "#!").unwrap();
    std::os::unix::fs::symlink("src/deep/a.txt", repository.join("link")).unwrap();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(repository.join("run.sh"), permissions).unwrap();
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "-q", "-m", "first"]);
    let first = git(&repository, &["rev-parse", "HEAD"]);
    std::fs::write(repository.join("src/deep/a.txt"), "two").unwrap();
    git(&repository, &["commit", "-q", "-a", "-m", "second"]);
    let second = git(&repository, &["rev-parse", "HEAD"]);
    git(&repository, &["branch", "old", &first]);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let child = Command::new("git")
        .args(["daemon", "--listen=127.0.0.1", "--reuseaddr", "--export-all", &format!("--port={port}")])
        .arg(format!("--base-path={}", dir.path().display()))
        .args(["--", &dir.path().display().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .spawn()
        .unwrap();
    let daemon = Daemon { child, port, commits: vec![first, second], _dir: dir };
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    daemon
}

#[tokio::test]
async fn directories_out_of_a_repository() {
    let daemon = daemon().await;
    let base = format!("git://127.0.0.1:{}", daemon.port);
    let uri = format!("{base}/project.git");
    let origins = Origins { git: Some("git".into()), ..allowing(std::slice::from_ref(&base)) };
    let server = server(origins).await;
    let get = async |qualifiers: Vec<Qualifier>| {
        let answer = fetch_directory(&server, &uri, qualifiers).await.unwrap();
        assert_eq!(answer.status.unwrap().message, "");
        let commit = answer.qualifiers.iter().find(|one| one.name == "vcs.commit").map(|one| one.value.clone());
        (listing(&server, &answer.root_directory_digest.unwrap()).await, commit.unwrap(), answer.expires_at)
    };
    let (first, second) = (daemon.commits[0].clone(), daemon.commits[1].clone());
    let (files, commit, expires) = get(vec![]).await;
    assert_eq!(files, ["link -> src/deep/a.txt", "run.sh* #!", "src/", "src/deep/", "src/deep/a.txt two"]);
    assert_eq!(commit, second);
    assert!(expires.is_some(), "a branch moves");
    let (files, commit, _) = get(vec![qualifier("vcs.branch", "old"), qualifier("directory", "src")]).await;
    assert_eq!((files, commit), (vec!["deep/".to_owned(), "deep/a.txt one".to_owned()], first.clone()));
    let (files, commit, expires) = get(vec![qualifier("vcs.commit", &first), qualifier("directory", "src/deep")]).await;
    assert_eq!((files, commit, expires), (vec!["a.txt one".to_owned()], first, None));

    let code = async |uri: &str, qualifiers: Vec<Qualifier>| {
        let answer = fetch_directory(&server, uri, qualifiers).await.unwrap();
        Code::from(answer.status.unwrap().code)
    };
    assert_eq!(code(&uri, vec![qualifier("vcs.branch", "absent")]).await, Code::NotFound);
    assert_eq!(code(&uri, vec![qualifier("vcs.commit", &"a".repeat(40))]).await, Code::NotFound);
    assert_ne!(code(&format!("{base}/absent.git"), vec![]).await, Code::Ok);
    for bad in [qualifier("vcs.branch", "--upload-pack=touch /tmp/x"), qualifier("vcs.commit", "HEAD")] {
        assert_eq!(fetch_directory(&server, &uri, vec![bad]).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let without = self::server(allowing(std::slice::from_ref(&base))).await;
    let status = fetch_directory(&without, &uri, vec![]).await.unwrap().status.unwrap();
    assert_eq!(Code::from(status.code), Code::Unimplemented);
    let spool = std::fs::read_dir(server.service.dir().join("spool")).unwrap().count();
    assert_eq!(spool, 0, "no repository is left");
}
