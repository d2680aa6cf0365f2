//! What stands behind the daemon's cache, and the remote cache of builds, over TLS: other daemons, and an object store.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::RemoteCache;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::house::House;
use crate::support::{Daemon, Place, bearer, text, until};

const WRITER: &str = "writer-0123456789";
const BOSS: &str = "boss-0123456789ab";

/// Stores the result of an action with one file.
async fn put(daemon: &Daemon, name: &str) -> Digest {
    let cache = RemoteCache::connect(&daemon.grpc("main"), None).await.unwrap();
    let blob = bytes::Bytes::from(format!("output of {name}"));
    let digest = DigestFunction::Sha256.digest(&blob);
    cache.write(&[(digest, blob)]).await.unwrap();
    let action = DigestFunction::Sha256.digest(name.as_bytes());
    let file = reapi::OutputFile { path: "out".into(), digest: Some(digest.to_reapi()), ..Default::default() };
    let result = reapi::ActionResult { output_files: vec![file], ..Default::default() };
    cache.put_action_result(&action, &result).await.unwrap();
    action
}

async fn has(daemon: &Daemon, action: &Digest) -> bool {
    let cache = RemoteCache::connect(&daemon.grpc("main"), None).await.unwrap();
    cache.action_result(action).await.unwrap().is_some()
}

/// How much waits to be written behind, and how often that was done and failed, by the daemon's own counters.
fn behind(daemon: &Daemon, counter: &str) -> u64 {
    let text = daemon.http("GET /metrics", "", b"").1;
    let name = format!("buildnet_backing_{counter} ");
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_behind_the_daemon_over_tls_by_flag_and_by_configuration() {
    let house = House::new();
    house.place.write("tokens", &format!("office write {WRITER}\n"));
    let far = house.daemon(&["--tokens", "tokens"]);
    let url = format!("grpcs://{}/house", far.address);
    let ca = house.path("ca.pem");
    let near = Place::new();
    let mut command = near.program();
    command.args(["start", "--listen", "127.0.0.1:0", "--backing", &url, "--tls-ca"]).arg(&ca);
    let one = near.daemon_by(command.env("BUILDNET_BACKING_TOKEN", WRITER));
    let action = put(&one, "a").await;
    until(|| behind(&one, "written_total") == 1);

    let other = Place::new();
    fs::copy(&ca, other.path("house.pem")).unwrap();
    other.write("buildnet.yaml", &format!("daemon: {{backing: '{url}'}}\ncache: {{tls_ca: house.pem}}\n"));
    let mut command = other.program();
    command.args(["start", "--listen", "127.0.0.1:0"]).env("BUILDNET_BACKING_TOKEN", WRITER);
    let two = other.daemon_by(&mut command);
    assert!(has(&two, &action).await, "{}", two.log());

    // Whom nobody vouched for is not believed; the cache goes on without it.
    let stranger = Place::new();
    let mut command = stranger.program();
    command.args(["start", "--listen", "127.0.0.1:0", "--backing", &url]).env("BUILDNET_BACKING_TOKEN", WRITER);
    let three = stranger.daemon_by(&mut command);
    assert!(!has(&three, &action).await);
    assert!(behind(&three, "failures_total") > 0 && three.log().contains("certificate"), "{}", three.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_lets_the_daemon_in_behind() {
    let house = House::new();
    house.vouch("office");
    house.place.write("tokens", "office write cert:office house\n");
    let far = house.daemon(&["--tokens", "tokens", "--client-ca", "ca.pem"]);
    let url = format!("grpcs://{}/house", far.address);
    let shown = |place: &Place, certificate: &str| {
        let mut command = place.program();
        command.args(["start", "--listen", "127.0.0.1:0", "--backing", &url]).arg("--tls-ca").arg(house.path("ca.pem"));
        if !certificate.is_empty() {
            command.arg("--tls-client-cert").arg(house.path(&format!("{certificate}.pem")));
            command.arg("--tls-client-key").arg(house.path(&format!("{certificate}.key")));
        }
        place.daemon_by(&mut command)
    };
    let places = [Place::new(), Place::new(), Place::new()];
    let one = shown(&places[0], "office");
    let action = put(&one, "a").await;
    until(|| behind(&one, "written_total") == 1);
    assert!(has(&shown(&places[1], "office"), &action).await);
    let nobody = shown(&places[2], "");
    assert!(!has(&nobody, &action).await);
    assert!(nobody.log().contains("a valid token is needed"), "{}", nobody.log());
    // Half of a pair is told before anything starts.
    let output = places[2].program().args(["start", "--tls-client-cert", "x.pem"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("--tls-client-key"), "{}", text(&output));
}

/// A workspace with one package, in a checkout and with a cache of its own.
fn workspace(more: &str) -> Place {
    let place = Place::new();
    fs::create_dir(place.path("p")).unwrap();
    place.write("p/in", "x\n");
    let package = "packages:\n  - {name: p, path: p, output_dir: out, build_cmd: 'mkdir -p out; cat in > out/x'}\n";
    place.write("buildnet.yaml", &format!("{package}{more}"));
    place
}

fn build(place: &Place, arguments: &[&str]) -> Output {
    let mut command = place.program();
    command.args(["build", "--json"]).args(arguments).env("BUILDNET_REMOTE_TOKEN", WRITER);
    command.output().unwrap()
}

#[test]
fn builds_share_a_cache_over_tls_of_a_private_authority() {
    let house = House::new();
    house.place.write("tokens", &format!("ci write {WRITER}\n"));
    let far = house.daemon(&["--tokens", "tokens"]);
    let url = format!("grpcs://{}/main", far.address);
    let ca = house.path("ca.pem").display().to_string();
    let first = text(&build(&workspace(""), &["--no-daemon", "--remote-cache", &url, "--tls-ca", &ca]));
    assert!(first.contains(r#""tier":"full""#) && !first.contains(r#""level":"warning""#), "{first}");
    let second = text(&build(&workspace(""), &["--no-daemon", "--remote-cache", &url, "--tls-ca", &ca]));
    assert!(second.contains(r#""remote":true"#), "{second}");
    let configured = workspace(&format!("cache: {{remote: '{url}', tls_ca: '{ca}'}}\n"));
    let third = text(&build(&configured, &["--no-daemon"]));
    assert!(third.contains(r#""remote":true"#), "{third}");
    // By a daemon, which works in another directory: the file's name is relative to where the user stands.
    let place = workspace("");
    fs::copy(&ca, place.path("house.pem")).unwrap();
    let daemon = place.daemon(&[]);
    let address = daemon.address.to_string();
    let arguments = ["--daemon-address", &address, "--remote-cache", &url, "--tls-ca", "house.pem"];
    let fourth = text(&build(&place, &arguments));
    assert!(fourth.contains(r#""remote":true"#), "{fourth}");
    // Without the authority the build goes on alone, and says why.
    let alone = text(&build(&workspace(""), &["--no-daemon", "--remote-cache", &url]));
    assert!(alone.contains(r#""tier":"full""#) && alone.contains("certificate"), "{alone}");
}

const KEY: &str = "test-key";
const SECRET: &str = "test-secret";

/// A server that speaks S3 over HTTPS, over the files of a directory. Lives as long as the test's runtime.
struct ObjectStore {
    root: PathBuf,
    address: SocketAddr,
}

impl ObjectStore {
    async fn start(house: &House) -> Self {
        let root = house.path("objects");
        fs::create_dir_all(root.join("builds")).unwrap();
        let mut builder = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(&root).unwrap());
        builder.set_auth(s3s::auth::SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();
        let certificate = CertificateDer::from_pem_file(house.path("daemon.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(house.path("daemon.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, acceptor) = (service.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let stream = hyper_util::rt::TokioIo::new(stream);
                    // A client that goes away is no failure.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
                });
            }
        });
        Self { root, address }
    }

    fn url(&self) -> String {
        format!("s3://builds/team?endpoint=https://{}", self.address)
    }

    /// Files of objects.
    fn objects(&self) -> Vec<PathBuf> {
        fn walk(at: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(at).unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), found);
                } else {
                    found.push(entry.path());
                }
            }
        }
        let mut found = Vec::new();
        let team = self.root.join("builds/team");
        if team.exists() {
            walk(&team, &mut found);
        }
        found
    }
}

/// The program with the keys of the object store, trusting the house.
fn with_keys(place: &Place, house: &House) -> Command {
    let mut command = place.program();
    command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET).env_remove("AWS_SESSION_TOKEN");
    command.env("BUILDNET_TLS_CA", house.path("ca.pem"));
    command
}

fn office(place: &Place, house: &House, store: &ObjectStore, more: &[&str]) -> Daemon {
    let mut command = with_keys(place, house);
    command.args(["start", "--listen", "127.0.0.1:0", "--backing", &store.url()]).args(more);
    place.daemon_by(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_over_https_is_filled_read_and_swept_from_the_command_line() {
    let house = House::new();
    let store = ObjectStore::start(&house).await;
    let places = [Place::new(), Place::new(), Place::new()];
    let one = office(&places[0], &house, &store, &[]);
    let (a, b) = (put(&one, "a").await, put(&one, "b").await);
    until(|| behind(&one, "written_total") == 2);
    assert_eq!(store.objects().len(), 4);
    let two = office(&places[1], &house, &store, &[]);
    assert!(has(&two, &a).await && has(&two, &b).await, "{}", two.log());

    // One result was written long ago: it goes, and its blob, as young as the other, stays.
    let old = store.objects().into_iter().find(|path| path.to_string_lossy().contains("/ac/")).unwrap();
    let then = SystemTime::now() - Duration::from_hours(24 * 40);
    fs::File::options().write(true).open(&old).unwrap().set_modified(then).unwrap();
    let sweep = |more: &[&str]| {
        let mut command = with_keys(&places[2], &house);
        command.args(["cache", "sweep", &store.url()]).args(more);
        command.output().unwrap()
    };
    let dry = text(&sweep(&["--max-age", "30d", "--dry-run"]));
    assert!(dry.contains("Would remove 1 object") && dry.contains("of 4 objects"), "{dry}");
    assert_eq!(store.objects().len(), 4);
    let swept = text(&sweep(&["--max-age", "30d", "--json"]));
    let report: serde_json::Value = serde_json::from_str(&swept).unwrap();
    assert_eq!((&report["objects"], &report["removed"]), (&4.into(), &1.into()), "{swept}");
    assert!(!old.exists());
    let three = office(&places[2], &house, &store, &[]);
    assert_eq!(u8::from(has(&three, &a).await) + u8::from(has(&three, &b).await), 1);
    assert!(sweep(&["--max-size", "0"]).status.success());
    assert_eq!(store.objects(), [] as [PathBuf; 0]);
    // Wrong keys are told, and what to do.
    let mut wrong = with_keys(&places[2], &house);
    wrong.env("AWS_SECRET_ACCESS_KEY", "wrong").args(["cache", "sweep", &store.url(), "--max-age", "1d"]);
    let wrong = wrong.output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong).contains("AWS_SECRET_ACCESS_KEY"), "{}", text(&wrong));
}

/// What a bad writer wrote is gone from the object store behind, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_reaches_the_object_store() {
    let house = House::new();
    let store = ObjectStore::start(&house).await;
    let (place, other) = (Place::new(), Place::new());
    place.write("tokens", &format!("mallory write {WRITER}\nboss admin {BOSS}\n"));
    let near = office(&place, &house, &store, &["--tokens", "tokens"]);
    assert_eq!(near.http("PUT /gradle/aa", &bearer(WRITER), b"poison").0, 201);
    assert_eq!(near.http("PUT /gradle/bb", &bearer(BOSS), b"good").0, 201);
    let results = || store.objects().iter().filter(|path| path.to_string_lossy().contains("/ac/")).count();
    until(|| results() == 2);
    let purged = text(&place.run(&near, Some(BOSS), &["cache", "purge", "--by-writer", "mallory"]));
    assert!(purged.contains("Forgot 1 result of mallory.") && !purged.contains("may still be there"), "{purged}");
    assert_eq!(results(), 1);
    let fresh = office(&other, &house, &store, &[]);
    assert_eq!(fresh.http("GET /gradle/aa", "", b"").0, 404);
    assert_eq!(fresh.http("GET /gradle/bb", "", b"").0, 200);
}

/// Another REAPI cache cannot be told to forget: that is said, and what was purged does not come back from it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_purged_does_not_come_back_from_a_cache_that_cannot_forget() {
    let (house, place) = (Place::new(), Place::new());
    let far = house.daemon(&[]);
    let url = far.grpc("house");
    place.write("tokens", &format!("mallory write {WRITER}\nboss admin {BOSS}\n"));
    let start = || place.daemon(&["--tokens", "tokens", "--backing", &url]);
    let near = start();
    let get = |daemon: &Daemon, key: &str| daemon.http(&format!("GET /gradle/{key}"), &bearer(BOSS), b"").0;
    for (key, token) in [("aa", WRITER), ("bb", BOSS), ("cc", WRITER)] {
        assert_eq!(near.http(&format!("PUT /gradle/{key}"), &bearer(token), key.as_bytes()).0, 201);
    }
    let text_of = |counter: &str, daemon: &Daemon| {
        let text = daemon.http("GET /metrics", &bearer(BOSS), b"").1;
        let name = format!("buildnet_backing_{counter} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap()
    };
    until(|| text_of("written_total", &near) == 3);
    let dry = text(&place.run(&near, Some(BOSS), &["cache", "purge", "--by-writer", "mallory", "--dry-run"]));
    assert!(dry.contains("Would forget 2 results"), "{dry}");
    let purged = text(&place.run(&near, Some(BOSS), &["cache", "purge", "--by-writer", "mallory"]));
    assert!(purged.contains("Forgot 2 results of mallory."), "{purged}");
    assert!(
        purged.contains(&format!("{url} cannot be told to forget")) && purged.contains("2 results may"),
        "{purged}"
    );
    assert_eq!((get(&near, "aa"), get(&near, "bb"), get(&near, "cc")), (404, 200, 404));
    // Written anew by somebody else it is there again; the rest stays away after a restart.
    assert_eq!(near.http("PUT /gradle/cc", &bearer(BOSS), b"clean").0, 201);
    until(|| text_of("written_total", &near) == 4);
    drop(near);
    let near = start();
    assert_eq!((get(&near, "aa"), get(&near, "bb"), get(&near, "cc")), (404, 200, 200));
    // Nor when the local copy of the clean one is gone: then what is behind is the clean one.
    drop(near);
    let again = text(&place.program().args(["cache", "clear"]).output().unwrap());
    assert!(again.contains("Removed"), "{again}");
    let near = start();
    assert_eq!(near.http("GET /gradle/cc", &bearer(BOSS), b""), (200, "clean".to_owned()));
    assert_eq!(get(&near, "aa"), 404);
}
