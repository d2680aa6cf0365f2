//! Where the daemon listens, and under which name it runs.

use std::net::TcpListener;

use crate::support::{Place, named, text};

#[test]
fn the_settings_say_where_the_daemon_listens_and_commands_find_it() {
    let place = Place::new();
    // Free a moment ago; taken by another in between, the daemon says so and the test fails.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    place.write("buildnet.yaml", &format!("daemon: {{listen: \"{address}\"}}\n"));
    let daemon = place.daemon_by(place.program().arg("start"));
    assert_eq!(daemon.address, address);
    let config = daemon.http("GET /config", "", b"").1;
    assert!(config.contains(&format!("\"listen\":\"{address}\"")), "{config}");
    let status = place.program().args(["status", "--json"]).output().unwrap();
    assert!(text(&status).contains("\"version\""), "{}", text(&status));
    assert!(place.program().arg("stop").output().unwrap().status.success());
}

#[test]
fn a_port_of_the_kernels_choice_is_told() {
    let place = Place::new();
    place.write("buildnet.yaml", "jobs: 1\n");
    let daemon = place.daemon(&[]);
    assert_ne!(daemon.address.port(), 0);
    let config = daemon.http("GET /config", "", b"").1;
    assert!(config.contains(&format!("\"listen\":\"{}\"", daemon.address)), "{config}");
}

#[test]
fn the_daemons_own_name_starts_it() {
    let place = Place::new();
    let mut command = named(place.dir.path(), "buildnetd");
    command.current_dir(place.dir.path()).env("HOME", place.dir.path());
    command.arg("--cache-dir").arg(place.path("cache")).args(["--listen", "127.0.0.1:0"]);
    let daemon = place.daemon_by(&mut command);
    assert_eq!(daemon.http("GET /health", "", b"").0, 200);
}

#[test]
fn a_bad_address_is_told() {
    let place = Place::new();
    place.write("buildnet.yaml", "daemon: {listen: nowhere}\n");
    let output = place.program().arg("start").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("daemon.listen is `nowhere`"), "{}", text(&output));
}

#[test]
fn the_cache_is_served_from_where_there_is_nothing_to_build() {
    let place = Place::new();
    place.write("package.json", r#"{"dependencies": {"x": "1"}}"#);
    let daemon = place.daemon(&[]);
    assert_eq!(daemon.http("GET /health", "", b"").0, 200);
    assert_eq!(daemon.http("PUT /gradle/aa", "", b"x").0, 201);
}
