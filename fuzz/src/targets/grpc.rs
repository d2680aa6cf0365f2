//! The gRPC services, by their real routes.

use axum::body::Body;
use axum::http::Request;
use bazel_remote_apis::build::bazel::remote::asset::v1 as asset;
use bazel_remote_apis::google::bytestream;
use buildnet_digest::{Digest, DigestFunction, reapi};
use prost::Message;

use crate::house::{Answer, house};

pub(super) const NAME_WORDS: &[&str] = &[
    "blobs/",
    "compressed-blobs/",
    "uploads/",
    "zstd/",
    "deflate/",
    "identity/",
    "blake3/",
    "sha256tree/",
    "sha256/",
    "../",
    "/",
    "actions",
    "operations",
    "-1",
    "pr/1",
    "main",
    "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73/7",
];

const CAS: &str = "build.bazel.remote.execution.v2.ContentAddressableStorage";
const ACTIONS: &str = "build.bazel.remote.execution.v2.ActionCache";

/// Methods by the first byte of an input; those that wait for their client to go on are left out.
const METHODS: [(&str, &str); 16] = [
    (CAS, "FindMissingBlobs"),
    (CAS, "BatchUpdateBlobs"),
    (CAS, "BatchReadBlobs"),
    (CAS, "GetTree"),
    (CAS, "SplitBlob"),
    (CAS, "SpliceBlob"),
    (CAS, "GetChunkMapping"),
    (CAS, "RegisterChunkMapping"),
    (ACTIONS, "GetActionResult"),
    (ACTIONS, "UpdateActionResult"),
    ("build.bazel.remote.asset.v1.Fetch", "FetchBlob"),
    ("build.bazel.remote.asset.v1.Fetch", "FetchDirectory"),
    ("build.bazel.remote.asset.v1.Push", "PushBlob"),
    ("build.bazel.remote.asset.v1.Push", "PushDirectory"),
    ("build.bazel.remote.execution.v2.Capabilities", "GetCapabilities"),
    ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo"),
];

fn ask(service: &str, method: &str, body: Vec<u8>) -> Answer {
    let request = Request::post(format!("/{service}/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::from(body));
    house().grpc(request.expect("the path is good"))
}

/// A message with gRPC's prefix.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("inputs are short");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// The server's own failures are not the answer to any input; its work threads die of panics and say that it is stopping.
fn check(answer: &Answer, lenient: bool) -> u16 {
    let header = |name| answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (code, message) = (header("grpc-status"), header("grpc-message"));
    assert!(!message.contains("stopping") && !message.contains("broke%20off"), "{code} {message}");
    let codec = message.starts_with("failed%20to%20decode") || message.contains("rotocol%20error");
    assert!(lenient || codec || !matches!(code, "2" | "13" | "14" | "15"), "{code} {message}");
    code.parse().unwrap_or(0)
}

/// The first byte is the method, the rest the message.
pub(super) fn message(input: &[u8]) {
    answered(input);
}

fn answered(input: &[u8]) -> Option<u16> {
    let (method, message) = input.split_first()?;
    let (service, method) = METHODS[usize::from(*method) % METHODS.len()];
    Some(check(&ask(service, method, framed(message)), false))
}

#[expect(clippy::too_many_lines, reason = "a list of messages")]
pub(super) fn message_seeds() -> Vec<Vec<u8>> {
    let function = DigestFunction::Sha256;
    let content = b"content".to_vec();
    let digest = Some(function.digest(&content).to_reapi());
    let empty = Digest::empty(function).to_reapi();
    let shrunk = zstd::bulk::compress(&content, 1).unwrap_or_default();
    let item = |data: &[u8], compressor| reapi::batch_update_blobs_request::Request {
        digest: digest.clone(),
        data: data.to_vec(),
        compressor,
    };
    let directory = reapi::Directory {
        directories: vec![reapi::DirectoryNode { name: "d".into(), digest: Some(empty.clone()) }],
        ..Default::default()
    };
    let directory = directory.encode_to_vec();
    let root = Some(function.digest(&directory).to_reapi());
    let tree = reapi::batch_update_blobs_request::Request { digest: root.clone(), data: directory, compressor: 0 };
    let result = reapi::ActionResult {
        output_files: vec![reapi::OutputFile {
            path: "out".into(),
            digest: digest.clone(),
            contents: content,
            ..Default::default()
        }],
        output_directories: vec![reapi::OutputDirectory {
            path: "dir".into(),
            root_directory_digest: root.clone(),
            ..Default::default()
        }],
        stdout_digest: digest.clone(),
        ..Default::default()
    };
    let qualifiers = vec![asset::Qualifier { name: "vcs.branch".into(), value: "main".into() }];
    let uris = vec!["https://example.com/a.tar".to_owned()];
    let chunks = vec![digest.clone().unwrap_or_default(), empty];
    let messages: Vec<(usize, Vec<u8>)> = vec![
        (
            1,
            reapi::BatchUpdateBlobsRequest {
                requests: vec![item(b"content", 0), item(&shrunk, 1), tree],
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (0, reapi::FindMissingBlobsRequest { blob_digests: chunks.clone(), ..Default::default() }.encode_to_vec()),
        (
            2,
            reapi::BatchReadBlobsRequest {
                digests: chunks.clone(),
                acceptable_compressors: vec![1, 2],
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (3, reapi::GetTreeRequest { root_digest: root.clone(), page_size: 1, ..Default::default() }.encode_to_vec()),
        (4, reapi::SplitBlobRequest { blob_digest: digest.clone(), ..Default::default() }.encode_to_vec()),
        (
            5,
            reapi::SpliceBlobRequest {
                blob_digest: digest.clone(),
                chunk_digests: chunks.clone(),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (6, reapi::GetChunkMappingRequest { blob_digest: digest.clone(), ..Default::default() }.encode_to_vec()),
        (
            7,
            reapi::RegisterChunkMappingRequest {
                blob_digest: digest.clone(),
                chunk_digests: chunks,
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            9,
            reapi::UpdateActionResultRequest {
                action_digest: digest.clone(),
                action_result: Some(result),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            8,
            reapi::GetActionResultRequest {
                action_digest: digest.clone(),
                inline_stdout: true,
                inline_output_files: vec!["out".into()],
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            12,
            asset::PushBlobRequest {
                uris: uris.clone(),
                qualifiers: qualifiers.clone(),
                blob_digest: digest,
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            13,
            asset::PushDirectoryRequest { uris: uris.clone(), root_directory_digest: root, ..Default::default() }
                .encode_to_vec(),
        ),
        (10, asset::FetchBlobRequest { uris: uris.clone(), qualifiers, ..Default::default() }.encode_to_vec()),
        (11, asset::FetchDirectoryRequest { uris, ..Default::default() }.encode_to_vec()),
        (14, reapi::GetCapabilitiesRequest { instance_name: "main".into() }.encode_to_vec()),
        // `file_containing_symbol` of a reflection request.
        (15, [&[0x22, 28], &b"google.bytestream.ByteStream"[..]].concat()),
    ];
    let number = |method: usize| u8::try_from(method).unwrap_or(0);
    messages.into_iter().map(|(method, message)| [&[number(method)], &message[..]].concat()).collect()
}

/// The first byte is the method, the rest the whole body of the request, with its framing.
pub(super) fn framing(input: &[u8]) {
    let Some((method, body)) = input.split_first() else { return };
    let (service, method) = METHODS[usize::from(*method) % METHODS.len()];
    check(&ask(service, method, body.to_vec()), true);
}

pub(super) fn framing_seeds() -> Vec<Vec<u8>> {
    let seeds = message_seeds().into_iter();
    seeds.map(|seed| [&seed[..1], &framed(&seed[1..]), &framed(&[])].concat()).collect()
}

/// A name that is read from, queried, and written to.
pub(super) fn resource_name(input: &[u8]) {
    let name = String::from_utf8_lossy(input).into_owned();
    let service = "google.bytestream.ByteStream";
    let read = bytestream::ReadRequest { resource_name: name.clone(), ..Default::default() };
    let read = check(&ask(service, "Read", framed(&read.encode_to_vec())), false);
    let query = bytestream::QueryWriteStatusRequest { resource_name: name.clone() };
    let query = check(&ask(service, "QueryWriteStatus", framed(&query.encode_to_vec())), false);
    // What is not refused has a digest at its end, and no way out of its instance.
    for code in [read, query] {
        let bad_segment = name.split('/').any(|segment| segment == "..");
        assert!(!bad_segment || code != 0 || name.contains("uploads/"), "{name:?} gave {code}");
    }
    let write = bytestream::WriteRequest {
        resource_name: name,
        finish_write: true,
        data: b"content".to_vec(),
        write_offset: 0,
    };
    check(&ask(service, "Write", framed(&write.encode_to_vec())), false);
}

pub(super) fn name_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for function in DigestFunction::ALL {
        let digest = function.digest(b"content");
        let end = format!("{function}/{}/{}", digest.hex(), digest.size());
        let short = format!("{}/{}", digest.hex(), digest.size());
        seeds.push(format!("blobs/{end}"));
        seeds.push(format!("main/blobs/{short}"));
        seeds.push(format!("uploads/11111111-2222-3333-4444-555555555555/blobs/{short}/name/of/file"));
        seeds.push(format!("pr/1/uploads/u/compressed-blobs/zstd/{end}"));
    }
    seeds.into_iter().map(String::into_bytes).collect()
}

/// A stream of pieces: the name up to a line's end; then for each piece a byte of flags, a byte of length, and that many bytes. Flags: 1
/// finishes, 2 repeats the name, 4 shifts the offset.
pub(super) fn write(input: &[u8]) {
    written(input);
}

fn written(input: &[u8]) -> u16 {
    let (name, mut rest) = match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[][..]),
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let (mut body, mut offset, mut first) = (Vec::new(), 0_i64, true);
    while let [flags, length, more @ ..] = rest {
        let (data, after) = more.split_at(more.len().min(usize::from(*length)));
        let named = first || flags & 2 != 0;
        let request = bytestream::WriteRequest {
            resource_name: if named { name.clone() } else { String::new() },
            write_offset: offset + i64::from(flags & 4),
            finish_write: flags & 1 != 0,
            data: data.to_vec(),
        };
        body.extend(framed(&request.encode_to_vec()));
        offset += i64::try_from(data.len()).expect("pieces are short");
        (rest, first) = (after, false);
    }
    let code = check(&ask("google.bytestream.ByteStream", "Write", body), false);
    // Nothing but what its name says is in the cache.
    let blob = name.rsplit_once("blobs/").and_then(|(_, blob)| blob.split_once('/'));
    let size = blob.and_then(|(_, size)| size.split('/').next()?.parse::<u64>().ok());
    if let (Some((hash, _)), Some(size)) = (blob, size)
        && let Ok(digest) = Digest::from_hex(DigestFunction::Sha256, hash, size)
        && let Ok(Some(bytes)) = house().service.store().read(&digest)
    {
        assert_eq!(DigestFunction::Sha256.digest(&bytes), digest);
    }
    code
}

pub(super) fn write_seeds() -> Vec<Vec<u8>> {
    let content: Vec<u8> = (0..200).collect();
    let digest = DigestFunction::Sha256.digest(&content);
    let end = format!("{}/{}\n", digest.hex(), digest.size());
    let pieces = |bytes: &[u8]| {
        let count = bytes.len().div_ceil(90);
        let pieces = bytes.chunks(90).enumerate();
        let flags = |number| u8::from(number + 1 == count);
        pieces
            .flat_map(|(number, piece)| [&[flags(number), u8::try_from(piece.len()).unwrap_or(0)], piece].concat())
            .collect::<Vec<u8>>()
    };
    let shrunk = zstd::bulk::compress(&content, 1).unwrap_or_default();
    let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap_or_default();
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    let deflated =
        std::io::Write::write_all(&mut deflated, &content).and_then(|()| deflated.finish()).unwrap_or_default();
    vec![
        [format!("uploads/a/blobs/{end}").as_bytes(), &pieces(&content)].concat(),
        [format!("uploads/b/compressed-blobs/zstd/{end}").as_bytes(), &pieces(&shrunk)].concat(),
        [format!("uploads/c/compressed-blobs/deflate/{end}").as_bytes(), &pieces(&deflated)].concat(),
        [format!("uploads/d/compressed-blobs/zstd/{end}").as_bytes(), &pieces(&bomb)].concat(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_good_requests() {
        for seed in message_seeds() {
            let code = answered(&seed).unwrap();
            let method = METHODS[usize::from(seed[0])].1;
            // The blob that is spliced is there already, cut otherwise.
            let expected = if matches!(method, "SpliceBlob" | "RegisterChunkMapping") { 6 } else { 0 };
            assert_eq!(code, expected, "{method}");
        }
        let codes: Vec<u16> = write_seeds().iter().map(|seed| written(seed)).collect();
        // The bomb comes last. By then the blob is there, so that it is not even opened.
        assert_eq!(codes, [0; 4]);
    }
}
