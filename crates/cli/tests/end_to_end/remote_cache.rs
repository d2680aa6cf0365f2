//! Builds that share results over the network, and what happens to them when the network or the server fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use buildnet_cas::{Store, StoreOptions};
use buildnet_reapi::{Access, CacheOptions, CacheService};

use crate::layers::{assert_right, layers};
use crate::support::{Ended, Place, those, tiers};

/// `buildnet start` with a cache of its own. Killed when this goes.
struct Server {
    process: Child,
    address: String,
    _place: Place,
}

impl Server {
    fn start() -> Self {
        let place = Place::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        drop(listener);
        let mut command = place.command(&["start", "--listen", &address]);
        command.env_remove("BUILDNET_NO_DAEMON").stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("it starts");
        let server = Self { process, address, _place: place };
        for _ in 0..600 {
            if TcpStream::connect(&server.address).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not listen after half a minute");
    }

    fn url(&self) -> String {
        format!("grpc://{}/team", self.address)
    }

    fn kill(&mut self) {
        self.process.kill().expect("a child can be killed");
        self.process.wait().expect("a child can be waited for");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server of this process that knows tokens; returns its address. Lives as long as the test.
fn with_tokens(tokens: &str, directory: &Path) -> String {
    let store = Store::open(&directory.join("store"), StoreOptions::default()).expect("temporary directories work");
    let access = Access::parse(tokens, None).expect("these are tokens");
    let options = CacheOptions { access, ..CacheOptions::default() };
    let service = CacheService::open(store, directory, options).expect("temporary directories work");
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    listener.set_nonblocking(true).expect("sockets can be told so");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it is a socket");
            axum::serve(listener, buildnet_reapi::router(service)).await
        })
    });
    address
}

/// The program in another checkout of a place, with a cache of its own.
fn elsewhere(place: &Place, name: &str, arguments: &[&str]) -> Command {
    let checkout = place.checkout(name, |entry| !entry.starts_with('.'));
    for package in std::fs::read_dir(&checkout.root).expect("it was copied").flatten() {
        let _ = std::fs::remove_dir_all(package.path().join("out"));
    }
    let mut command = checkout.command(arguments);
    command.env("BUILDNET_CACHE_DIR", place.beside(&format!("{name}-cache")));
    command
}

/// Warnings that a build told.
fn warnings(ended: &Ended) -> usize {
    ended.stdout.lines().filter(|line| line.contains(r#""level":"warning""#)).count()
}

#[test]
fn a_second_checkout_gets_everything() {
    let server = Server::start();
    let place = layers("one");
    let url = server.url();
    place.run(&["build", "--remote-cache", &url]).expect(0, &["6 full"]);
    let ended =
        Ended::of(&mut elsewhere(&place, "second", &["build", "--json", "--remote-cache", &url])).expect(0, &[]);
    assert_eq!(those(&tiers(&ended), &["cached"]), "a:build b:build c:build d:build e:build f:build");
    assert_eq!(ended.stdout.matches(r#""remote":true"#).count(), 6, "{}", ended.stdout);
    assert_eq!(warnings(&ended), 0, "{}", ended.stdout);
    assert_right(&place.beside("second"), "one");
    // The variable and the configuration name it as well; and what came once is in the local cache.
    let mut third = elsewhere(&place, "third", &["build"]);
    third.env("BUILDNET_REMOTE_CACHE", &url);
    Ended::of(&mut third).expect(0, &["6 cached"]);
    place.append("buildnet.yaml", &format!("cache: {{remote: '{url}'}}\n"));
    Ended::of(&mut elsewhere(&place, "fourth", &["build"])).expect(0, &["6 cached"]);
    Ended::of(&mut elsewhere(&place, "fifth", &["build", "--remote-cache="])).expect(0, &["6 full"]);
    // Another instance knows nothing of it.
    let other = format!("grpc://{}/other", server.address);
    Ended::of(&mut elsewhere(&place, "sixth", &["build", "--remote-cache", &other])).expect(0, &["6 full"]);
}

#[test]
fn through_the_daemon() {
    let server = Server::start();
    let place = layers("one");
    let url = server.url();
    place.run(&["build", "--remote-cache", &url]).expect(0, &["6 full"]);
    let other = Place::copy_of(place.root());
    for package in ["a", "b", "c", "d", "e", "f"] {
        std::fs::remove_dir_all(other.root().join(package).join("out")).expect("it was built");
    }
    std::fs::remove_dir_all(other.root().join(".buildnet")).expect("it was built");
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    drop(listener);
    let mut start = other.command(&["start", "--detach", "--listen", &address]);
    Ended::of(start.env_remove("BUILDNET_NO_DAEMON")).expect(0, &[]);
    let mut build = other.command(&["build", "--daemon-address", &address, "--remote-cache", &url]);
    let ended = Ended::of(build.env_remove("BUILDNET_NO_DAEMON"));
    let mut stop = other.command(&["stop", "--daemon-address", &address]);
    Ended::of(stop.env_remove("BUILDNET_NO_DAEMON")).expect(0, &[]);
    ended.expect(0, &["6 cached"]);
    assert_right(other.root(), "one");
}

#[test]
fn what_fails_or_is_not_to_be_cached_is_not_sent() {
    let server = Server::start();
    let place = Place::with(&[("p/in", ""), ("q/in", ""), ("r/in", "")]);
    let package = |name: &str, script: &str, more: &str| {
        format!("  - name: {name}\n    path: {name}\n    output_dir: out\n    build_cmd: {script}\n{more}")
    };
    let text = String::from("packages:\n")
        + &package("p", "mkdir out; echo p > out/x", "")
        + &package("q", "mkdir out; echo q > out/x; exit 3", "")
        + &package("r", "mkdir out; echo r > out/x", "    cache: false\n");
    place.write("buildnet.yaml", &text);
    let url = server.url();
    place.run(&["build", "-k", "--remote-cache", &url]).expect(1, &["q:build", "exit"]);
    let ended = Ended::of(&mut elsewhere(&place, "second", &["build", "-k", "--json", "--remote-cache", &url]));
    let tiers = tiers(&ended);
    assert_eq!((those(&tiers, &["cached"]), those(&tiers, &["full"])), ("p:build".into(), "r:build".into()));
    assert_eq!(those(&tiers, &["failed"]), "q:build");
    // Without uploads nothing is sent either.
    place.write("p/in", "changed");
    place.run(&["build", "-k", "--remote-cache", &url, "--remote-upload=false"]).expect(1, &[]);
    let ended = Ended::of(&mut elsewhere(&place, "third", &["build", "-k", "--json", "--remote-cache", &url]));
    assert_eq!(those(&crate::support::tiers(&ended), &["full"]), "p:build r:build");
}

/// Packages that wait for each other, each of which takes a while.
fn slow_chain() -> Place {
    let place = Place::new();
    let mut packages = vec!["packages:\n".to_owned()];
    for number in 0..6 {
        let before = if number == 0 { String::new() } else { format!("p{}", number - 1) };
        packages.push(format!(
            "  - name: p{number}\n    path: p{number}\n    dependencies: [{before}]\n    output_dir: out\n    \
             build_cmd: sleep 0.3; mkdir out; echo {number} > out/x\n"
        ));
        place.write(&format!("p{number}/in"), "");
    }
    place.write("buildnet.yaml", &packages.concat());
    place
}

#[test]
fn a_server_that_dies_in_mid_build() {
    let mut server = Server::start();
    let place = slow_chain();
    let mut command = place.command(&["build", "--json", "--remote-cache", &server.url()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut told = String::new();
    for line in lines.by_ref().map_while(Result::ok) {
        let ended = line.contains("task_finished");
        told += &(line + "\n");
        if ended {
            break;
        }
    }
    server.kill();
    for line in lines.map_while(Result::ok) {
        told += &(line + "\n");
    }
    let status = child.wait().expect("a child can be waited for");
    let ended = Ended { code: status.code(), stdout: told, stderr: String::new() };
    let ended = ended.expect(0, &["the remote cache fails, and the build goes on without it"]);
    assert_eq!(warnings(&ended), 1, "{}", ended.stdout);
    assert_eq!(those(&tiers(&ended), &["full"]).split(' ').count(), 6);
    for number in 0..6 {
        assert_eq!(place.read(&format!("p{number}/out/x")), format!("{number}\n"));
    }
    // It is down from the start: one warning, and everything is built all the same.
    let ended = Ended::of(&mut elsewhere(&place, "second", &["build", "--json", "--remote-cache", &server.url()]));
    let ended = ended.expect(0, &["cannot connect", r#""hint":"check that the server runs"#]);
    assert_eq!(warnings(&ended), 1, "{}", ended.stdout);
}

/// Passes connections on to a server, and changes `from` into `to` in what the server says.
fn tampering(server: String, from: &'static [u8], to: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&server) else { return };
            let (Ok(mut up), Ok(mut from_client)) = (server.try_clone(), client.try_clone()) else { return };
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut up));
            std::thread::spawn(move || {
                let (mut server, mut client) = (server, client);
                let mut buffer = vec![0; 1 << 20];
                while let Ok(length @ 1..) = server.read(&mut buffer) {
                    for start in 0..length.saturating_sub(from.len() - 1) {
                        if &buffer[start..start + from.len()] == from {
                            buffer[start..start + from.len()].copy_from_slice(to);
                        }
                    }
                    if client.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn damaged_content_is_never_used() {
    let server = Server::start();
    // What cannot be compressed travels as it is.
    let place = Place::with(&[("p/in", "")]);
    let script = "mkdir out; { head -c 3000 /dev/urandom; echo to-be-damaged; } > out/x";
    let text = format!("packages:\n  - name: p\n    path: p\n    output_dir: out\n    build_cmd: '{script}'\n");
    place.write("buildnet.yaml", &text);
    place.run(&["build", "--remote-cache", &server.url()]).expect(0, &["1 full"]);
    let tampered = tampering(server.address.clone(), b"to-be-damaged", b"was-tampered!");
    let url = format!("grpc://{tampered}/team");
    let ended = Ended::of(&mut elsewhere(&place, "second", &["build", "--json", "--remote-cache", &url]));
    let ended = ended.expect(0, &["the remote cache fails", "instead of"]);
    assert_eq!(warnings(&ended), 1, "{}", ended.stdout);
    assert_eq!(those(&tiers(&ended), &["full"]), "p:build");
    let made = std::fs::read(place.beside("second").join("p/out/x")).expect("it was built");
    assert!(made.ends_with(b"to-be-damaged\n"));
    // The same checkout, straight from the server.
    Ended::of(&mut elsewhere(&place, "third", &["build", "--remote-cache", &server.url()])).expect(0, &["1 cached"]);
}

#[test]
fn tokens() {
    const WRITE: &str = "0123456789abcdef-w";
    const READ: &str = "0123456789abcdef-r";
    let place = layers("one");
    let address = with_tokens(&format!("ci write {WRITE}\ndeveloper read {READ}\n"), &place.beside("server"));
    let url = format!("grpc://{address}/main");
    let mut build = place.command(&["build", "--remote-cache", &url]);
    Ended::of(build.env("BUILDNET_REMOTE_TOKEN", WRITE)).expect(0, &["6 full"]);
    // One that may read gets everything; that it may not write is no trouble.
    let mut reader = elsewhere(&place, "reader", &["build", "--json", "--remote-cache", &url]);
    let ended = Ended::of(reader.env("BUILDNET_REMOTE_TOKEN", READ)).expect(0, &[]);
    assert_eq!(those(&tiers(&ended), &["cached"]).split(' ').count(), 6);
    assert_eq!(warnings(&ended), 0);
    crate::layers::change(&place, "two");
    let mut reader = elsewhere(&place, "reader2", &["build", "--json", "--remote-cache", &url]);
    let ended =
        Ended::of(reader.env("BUILDNET_REMOTE_TOKEN", READ)).expect(0, &["results are not sent", "role `write`"]);
    assert_eq!((those(&tiers(&ended), &["full"]).split(' ').count(), warnings(&ended)), (6, 0), "{}", ended.stdout);
    // No token, or one from another variable that the configuration names.
    let ended = Ended::of(&mut elsewhere(&place, "nobody", &["build", "--json", "--remote-cache", &url]));
    assert_eq!(warnings(&ended.expect(0, &["the remote cache fails", r#""hint":"give a token"#])), 1);
    place.append("buildnet.yaml", &format!("cache: {{remote: '{url}', remote_token_env: TEAM_TOKEN}}\n"));
    crate::layers::change(&place, "one");
    let mut other = elsewhere(&place, "other", &["build"]);
    Ended::of(other.env("TEAM_TOKEN", READ)).expect(0, &["6 cached"]);
}

#[test]
fn addresses_that_are_none() {
    let place = layers("one");
    for address in ["http://cache", "cache:9876", "grpc://cache", "ftp://x/y"] {
        place.run(&["build", "--remote-cache", address]).expect(2, &[address, "hint: ", "grpc://"]);
    }
}

#[test]
fn a_cache_behind_the_cache() {
    let house = Server::start();
    let office = |place: &Place| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        drop(listener);
        let mut start = place.command(&["start", "--detach", "--listen", &address, "--backing", &house.url()]);
        Ended::of(start.env_remove("BUILDNET_NO_DAEMON")).expect(0, &[]);
        address
    };
    let stop = |place: &Place, address: &str| {
        let mut stop = place.command(&["stop", "--daemon-address", address]);
        Ended::of(stop.env_remove("BUILDNET_NO_DAEMON")).expect(0, &[]);
    };
    let (one, other, place) = (Place::new(), Place::new(), layers("one"));
    let address = office(&one);
    place.run(&["build", "--remote-cache", &format!("grpc://{address}/main")]).expect(0, &["6 full"]);
    // What waits to be written is written before the daemon ends.
    stop(&one, &address);
    let address = office(&other);
    let url = format!("grpc://{address}/main");
    let ended = Ended::of(&mut elsewhere(&place, "second", &["build", "--remote-cache", &url]));
    stop(&other, &address);
    ended.expect(0, &["6 cached"]);
    assert_right(&place.beside("second"), "one");
}

#[test]
fn a_cache_carried_in_a_file() {
    let place = layers("one");
    place.run(&["build"]).expect(0, &["6 full"]);
    let file = place.beside("cache.tar.zst").display().to_string();
    place.run(&["cache", "export", &file, "--dry-run"]).expect(0, &["Would export", "6 results"]);
    place.run(&["cache", "export", &file]).expect(0, &["Exported", "6 results"]);
    place.run(&["cache", "export", &file]).expect(2, &["exists already", "hint: "]);
    Ended::of(&mut elsewhere(&place, "second", &["cache", "import", &file])).expect(0, &["Imported", "6 results"]);
    let cache = place.beside("second-cache");
    let mut build = elsewhere(&place, "third", &["build"]);
    Ended::of(build.env("BUILDNET_CACHE_DIR", &cache)).expect(0, &["6 cached"]);
    assert_right(&place.beside("third"), "one");
    let mut again = elsewhere(&place, "fourth", &["cache", "import", &file, "--json"]);
    again.env("BUILDNET_CACHE_DIR", &cache);
    let ended = Ended::of(&mut again).expect(0, &[]);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).expect("`--json` writes JSON");
    assert_eq!((&report["blobs"], &report["results"]), (&0.into(), &0.into()));
    std::fs::write(place.beside("nonsense"), "nonsense").expect("temporary directory is writable");
    let nonsense = place.beside("nonsense").display().to_string();
    place.run(&["cache", "import", &nonsense]).expect(2, &["no cache that can be imported", "hint: "]);
}
