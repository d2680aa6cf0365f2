//! Why an action of a build tool missed: what differs from the one that hit.

use buildnet_digest::{Digest, DigestFunction, protobuf, reapi};
use buildnet_reapi::RemoteCache;
use bytes::Bytes;
use prost::Message as _;

use crate::support::{Daemon, Place, text};

const FUNCTION: DigestFunction = DigestFunction::Sha256;

/// Uploads messages of one client.
struct Client {
    cache: RemoteCache,
}

impl Client {
    async fn new(daemon: &Daemon) -> Self {
        Self { cache: RemoteCache::connect(&daemon.grpc("main"), None).await.unwrap() }
    }

    async fn upload(&self, content: Vec<u8>) -> reapi::Digest {
        let digest = FUNCTION.digest(&content);
        self.cache.write(&[(digest, Bytes::from(content))]).await.unwrap();
        digest.to_reapi()
    }

    async fn file(&self, name: &str, content: &str, is_executable: bool) -> reapi::FileNode {
        let digest = Some(self.upload(content.as_bytes().to_vec()).await);
        reapi::FileNode { name: name.to_owned(), digest, is_executable, ..Default::default() }
    }

    /// The digest of an action with this command and this input root, as the client's log would write it.
    async fn action(&self, command: reapi::Command, root: reapi::Directory, action: reapi::Action) -> String {
        let action = reapi::Action {
            command_digest: Some(self.upload(command.encode_to_vec()).await),
            input_root_digest: Some(self.upload(root.encode_to_vec()).await),
            ..action
        };
        let digest = self.upload(action.encode_to_vec()).await;
        format!("{}/{}", digest.hash, digest.size_bytes)
    }
}

fn variable(name: &str, value: &str) -> reapi::command::EnvironmentVariable {
    reapi::command::EnvironmentVariable { name: name.to_owned(), value: value.to_owned() }
}

fn platform(name: &str, value: &str) -> reapi::Platform {
    let property = reapi::platform::Property { name: name.to_owned(), value: value.to_owned() };
    reapi::Platform { properties: vec![property] }
}

fn command(words: &[&str], output: &str) -> reapi::Command {
    reapi::Command {
        arguments: words.iter().map(|word| (*word).to_owned()).collect(),
        output_paths: vec![output.to_owned()],
        ..Default::default()
    }
}

/// Two actions that differ in everything.
async fn two_actions(client: &Client) -> (String, String) {
    let same = client.file("same.h", "same", false).await;
    let shared = reapi::Directory { files: vec![same], ..Default::default() };
    let shared =
        reapi::DirectoryNode { name: "include".into(), digest: Some(client.upload(shared.encode_to_vec()).await) };
    let source = async |files: Vec<reapi::FileNode>| {
        let directory = reapi::Directory { files, ..Default::default() };
        reapi::DirectoryNode { name: "src".into(), digest: Some(client.upload(directory.encode_to_vec()).await) }
    };
    let src_a = source(vec![client.file("gone.c", "x", false).await, client.file("main.c", "old", false).await]).await;
    let src_b = source(vec![client.file("main.c", "newer", false).await, client.file("new.c", "y", false).await]).await;
    let link = |target: &str| reapi::SymlinkNode { name: "link".into(), target: target.into(), ..Default::default() };
    let root_a = reapi::Directory {
        files: vec![client.file("run.sh", "#!/bin/sh", false).await],
        directories: vec![shared.clone(), src_a],
        symlinks: vec![link("src/main.c")],
        ..Default::default()
    };
    let root_b = reapi::Directory {
        files: vec![client.file("run.sh", "#!/bin/sh", true).await],
        directories: vec![shared, src_b],
        symlinks: vec![link("src/new.c")],
        ..Default::default()
    };
    let command_a = reapi::Command {
        environment_variables: vec![variable("LANG", "C"), variable("ONLY_A", "1")],
        working_directory: "src".into(),
        ..command(&["cc", "-O2", "-c", "main.c"], "main.o")
    };
    let command_b = reapi::Command {
        environment_variables: vec![variable("LANG", "de_DE")],
        ..command(&["cc", "-O3", "-g", "-c", "main.c"], "out/main.o")
    };
    let action_a = reapi::Action { platform: Some(platform("OSFamily", "Linux")), ..Default::default() };
    let action_b = reapi::Action {
        platform: Some(platform("OSFamily", "Darwin")),
        timeout: Some(protobuf::Duration { seconds: 90, nanos: 0 }),
        do_not_cache: true,
        salt: vec![0xab, 0xcd],
        ..Default::default()
    };
    (client.action(command_a, root_a, action_a).await, client.action(command_b, root_b, action_b).await)
}

fn why(place: &Place, arguments: &[&str]) -> (Option<i32>, String) {
    let output = place.program().args(["why"]).args(arguments).output().unwrap();
    (output.status.code(), text(&output))
}

#[tokio::test]
async fn every_part_that_differs_is_named() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    let client = Client::new(&daemon).await;
    let (a, b) = two_actions(&client).await;
    let digest: Digest = format!("sha256:{a}").parse().unwrap();
    client.cache.put_action_result(&digest, &reapi::ActionResult::default()).await.unwrap();

    let (code, told) = why(&place, &["--action", &a, "--other", &b, "--instance", "main"]);
    assert_eq!(code, Some(0), "{told}");
    insta::assert_snapshot!(told);
    // The hash alone will do, here and at a server, which is asked for the instance in its address.
    let hash = |digest: &str| digest.split('/').next().unwrap().to_owned();
    assert_eq!(why(&place, &["--action", &hash(&a), "--other", &hash(&b), "--instance", "main"]).1, told);
    assert_eq!(why(&place, &["--action", &hash(&a), "--other", &b, "--remote", &daemon.grpc("main")]).1, told);

    let (_, json) = why(&place, &["--json", "--action", &a, "--other", &b]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["action"]["cached"], false, "the default instance has no result");
    let part = |name: &str| json["differences"].as_array().unwrap().iter().filter(|one| one["part"] == name).count();
    assert_eq!((part("file"), part("environment_variable"), part("arguments"), part("salt")), (4, 2, 1, 1), "{json}");
    let (_, same) = why(&place, &["--action", &a, "--other", &a]);
    assert!(same.contains("one and the same action"), "{same}");
}

#[tokio::test]
async fn what_is_not_there_is_told_as_such() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    let client = Client::new(&daemon).await;
    let tree = |name: &str| {
        let directory =
            reapi::DirectoryNode { name: name.to_owned(), digest: Some(FUNCTION.digest(name.as_bytes()).to_reapi()) };
        reapi::Directory { directories: vec![directory], ..Default::default() }
    };
    let compile = command(&["cc"], "o");
    // As Bazel leaves it: the action and its command, but not the directories below.
    let a = client.action(compile.clone(), tree("one"), reapi::Action::default()).await;
    let b = client.action(compile.clone(), tree("two"), reapi::Action::default()).await;
    let (code, told) = why(&place, &["--action", &a, "--other", &b]);
    assert_eq!(code, Some(0));
    assert!(told.contains("directory one of A") && told.contains("directory two of B"), "{told}");

    let nothing = format!("{}/140", "0".repeat(64));
    for target in [&nothing, &"0".repeat(64)] {
        let (code, told) = why(&place, &["--action", &a, "--other", target]);
        assert_eq!(code, Some(2));
        assert!(told.contains(&format!("action {target} is not in the cache")), "{told}");
        let (code, told) = why(&place, &["--action", &a, "--other", target, "--remote", &daemon.grpc("")]);
        assert!(code == Some(2) && told.contains("is not in the cache"), "{told}");
    }
    let command = FUNCTION.digest(b"a command that nobody uploaded");
    let orphan = reapi::Action { command_digest: Some(command.to_reapi()), ..Default::default() };
    let orphan = client.upload(orphan.encode_to_vec()).await;
    let (code, told) = why(&place, &["--action", &a, "--other", &format!("{}/{}", orphan.hash, orphan.size_bytes)]);
    assert_eq!(code, Some(2));
    assert!(told.contains(&format!("command {}/{} is not in the cache", command.hex(), command.size())), "{told}");

    for bad in ["xyz", "12/12", "sha256:12", &format!("{}/x", "0".repeat(64)), &format!("md9:{}/1", "0".repeat(32))] {
        let (code, told) = why(&place, &["--action", bad, "--other", &a]);
        assert!(code == Some(2) && told.contains("is no action digest"), "{bad}: {told}");
    }
    let garbage = client.upload(b"\xff\xff\xff".to_vec()).await;
    let (code, told) = why(&place, &["--action", &format!("{}/3", garbage.hash), "--other", &a]);
    assert!(code == Some(2) && told.contains("is not an action"), "{told}");
}
