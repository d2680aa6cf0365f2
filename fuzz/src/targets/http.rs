//! The HTTP adapters, by their real routes: keys in paths, ranges, queries, headers of artifacts, bodies.

use axum::body::Body;
use axum::http::Request;

use crate::house::house;

pub(super) const WORDS: &[&str] = &[
    "GET ",
    "PUT ",
    "HEAD ",
    "POST ",
    "DELETE ",
    "PROPFIND ",
    "MKCOL ",
    "/ac/",
    "/cas/",
    "/ccache/",
    "/gradle/",
    "/v8/artifacts/",
    "/v1/cache/",
    "/sstate/",
    "/sccache/",
    "/i/",
    "%2F",
    "%2e%2e",
    "%00",
    "..",
    "?slug=",
    "teamId=",
    "Range: bytes=",
    "bytes=0-0",
    "bytes=-1",
    "bytes=5-",
    ",",
    "x-artifact-tag: ",
    "x-artifact-duration: ",
    "Content-Length: ",
    "Authorization: Basic ",
    "Authorization: Bearer ",
    "If-None-Match: *",
    "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73",
    "\n",
    "{\"hashes\":[",
    "null",
];

/// A request as text: method and path, headers, an empty line, the body. The server's own failures are not the answer to any.
pub(super) fn request(input: &[u8]) {
    answered(input);
}

fn answered(input: &[u8]) -> Option<u16> {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((input, &[][..]), |end| (&input[..end], &input[end + 2..]));
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let (method, path) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or(("GET", "/"));
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    // What is no request never reaches a handler.
    let Ok(request) = request.body(Body::from(body.to_vec())) else { return None };
    let get = request.method() == "GET";
    let answer = house().http(request);
    let refused = answer.status.as_u16() == 501 || answer.status.as_u16() == 507;
    assert!(
        refused || !answer.status.is_server_error(),
        "{} {:?}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    if let Some(length) = answer.headers.get("content-length").filter(|_| get) {
        assert_eq!(length.to_str().ok(), Some(answer.body.len().to_string().as_str()), "{}", answer.status);
    }
    Some(answer.status.as_u16())
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    const HASH: &str = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    [
        format!("PUT /cas/{HASH}\n\ncontent"),
        format!("GET /cas/{HASH}\nRange: bytes=1-3"),
        format!("HEAD /main/cas/{HASH}"),
        format!("PUT /ac/{HASH}\n\n"),
        format!("GET /ac/{HASH}"),
        "PUT /ccache/64/336dni29fdo2rmrkk1dq4pb630bfj7o\n\nobject".to_owned(),
        "GET /ccache/64336dni29fdo2rmrkk1dq4pb630bfj7o".to_owned(),
        format!("PUT /ccache/ac/{}{}\n\nobject", &HASH[..40], &HASH[..24]),
        "PUT /gradle/0123456789abcdef0123456789abcdef\n\nentry".to_owned(),
        "GET /i/pr%2F1/gradle/0123456789abcdef0123456789abcdef".to_owned(),
        "PUT /v8/artifacts/0123456789abcdef?teamId=team_1\nx-artifact-duration: 12\nx-artifact-tag: dGFn\n\nartifact"
            .to_owned(),
        "GET /v8/artifacts/0123456789abcdef?slug=a%2Fb\nRange: bytes=-4".to_owned(),
        "POST /v8/artifacts?slug=x\n\n{\"hashes\":[\"0123456789abcdef\"]}".to_owned(),
        "POST /v8/artifacts/events\n\n[{\"source\":\"LOCAL\",\"event\":\"HIT\",\"hash\":\"a\"}]".to_owned(),
        "PUT /v1/cache/0123456789\nContent-Length: 4\n\ntask".to_owned(),
        "GET /v1/cache/0123456789\nAuthorization: Bearer token".to_owned(),
        "PUT /sstate/universal/ab/cd/sstate%3Azlib%3A1.0_populate.tar.zst\n\narchive".to_owned(),
        "GET /sstate/universal/ab/cd/sstate%3Azlib%3A1.0_populate.tar.zst\nRange: bytes=3-".to_owned(),
        "PUT /sccache/a/b/c/abc\n\nobject".to_owned(),
        "PROPFIND /sccache/a/b/c/abc\nDepth: 0".to_owned(),
        "MKCOL /sccache/a/".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_good_requests() {
        for seed in seeds() {
            let status = answered(&seed).unwrap();
            let text = String::from_utf8_lossy(&seed);
            // What is looked up may not be there; what is stored is taken.
            let looks = text.starts_with("GET") || text.starts_with("HEAD") || text.starts_with("PROPFIND");
            assert!(status < 400 || looks && status == 404, "{status} for {text}");
        }
    }
}
