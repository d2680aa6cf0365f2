//! The lines of hash equivalence, over TCP as BitBake sends them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use buildnet_http_cache::hash_equivalence::{Equivalences, serve};

use crate::house::house;

pub(super) const WORDS: &[&str] = &[
    "OEHASHEQUIV 1.1\n\n",
    "needs-headers: true\n",
    "{\"get\":",
    "{\"report\":",
    "{\"ping\":{}}\n",
    "{\"get-stream\":null}\n",
    "END\n",
    "{\"chunk-stream\":null}\n",
    "\"method\":",
    "\"taskhash\":",
    "\"outhash\":",
    "\"unihash\":",
    "\"all\":true",
    "\n",
    "{}",
    "[]",
    "null",
    "{\"gc-mark\":",
    "{\"gc-sweep\":",
    "{\"become-user\":",
    "{\"get-db-usage\":{}}\n",
    "\"",
    "\\u0000",
];

static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let house = house();
    let database = house.service.dir().join("fuzzed.sqlite");
    let equivalences = Equivalences::open(&database).expect("a new database opens");
    let listener = house.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    house.runtime.spawn(serve(listener, house.service.clone(), equivalences));
    address
});

/// One conversation, all said at once. The server ends it, and answers the next one.
pub(super) fn lines(input: &[u8]) {
    talk(input);
    let answer = talk(b"OEHASHEQUIV 1.1\n\n{\"ping\": {}}\n");
    assert!(String::from_utf8_lossy(&answer).contains("alive"), "after this input the server does not answer");
}

fn talk(input: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(*SERVER).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a socket has timeouts");
    // The server may hang up in the middle, which is its right.
    let _ = stream.write_all(input).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    match stream.take(16 << 20).read_to_end(&mut answer) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            panic!("the server neither answered nor hung up")
        }
        _ => answer,
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let hash = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    let start = "OEHASHEQUIV 1.1\n\n";
    [
        format!("{start}{{\"ping\":{{}}}}\n"),
        format!("{start}{{\"report\":{{\"method\":\"m\",\"taskhash\":\"{hash}\",\"outhash\":\"{hash}\",\"unihash\":\"{hash}\"}}}}\n"),
        format!("{start}{{\"get\":{{\"taskhash\":\"{hash}\",\"method\":\"m\",\"all\":true}}}}\n"),
        format!("{start}{{\"get-stream\":null}}\nm {hash}\nm other\nEND\n{{\"ping\":{{}}}}\n"),
        format!("{start}{{\"exists-stream\":null}}\n{hash}\nEND\n"),
        format!("{start}{{\"chunk-stream\":null}}\n{{\"pi\nng\":{{}}}}\n\n"),
        format!("{start}{{\"get-outhash\":{{\"method\":\"m\",\"outhash\":\"{hash}\",\"taskhash\":\"{hash}\",\"with_unihash\":true}}}}\n"),
        format!("{start}{{\"gc-mark\":{{\"mark\":\"x\",\"where\":{{\"method\":\"m\"}}}}}}\n{{\"gc-status\":{{}}}}\n{{\"gc-sweep\":{{\"mark\":\"x\"}}}}\n"),
        format!("{start}{{\"remove\":{{\"where\":{{\"method\":\"m\"}}}}}}\n{{\"get-stats\":{{}}}}\n"),
        "OEHASHEQUIV 1.1\nneeds-headers: true\n\n{\"ping\":{}}\n".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect()
}
