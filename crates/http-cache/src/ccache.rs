//! ccache's HTTP storage below `/ccache`, in all its layouts: `subdirs` (`/ab/cdef…`), `flat` (`/abcdef…`) and `bazel`
//! (`/ac/` and 64 digits, of which the last 24 repeat the first). One key is one entry, whatever the layout
//! (<https://ccache.dev/manual/4.7.5.html#_http_storage_backend>).

use std::fmt::Write as _;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;

use crate::body::invalid;
use crate::caller::{Caller, State};
use crate::reply;

const PROTOCOL: &str = "ccache";
/// Bytes of a key.
const KEY: usize = 20;
/// Characters of a key in the layouts `subdirs` and `flat`: two bytes in base 16, the rest in base 32.
const MIXED: usize = 33;

pub(crate) fn routes() -> Router<State> {
    Router::new().route("/ccache/{*key}", get(load).put(store).delete(remove))
}

/// The key in hexadecimal, of a path in any layout.
fn key_of(path: &str) -> Option<String> {
    let path = if path.is_ascii() { path } else { return None };
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let digits = KEY * 2;
    if let Some(key) = path.strip_prefix("ac/") {
        let padded = key.len() == 64 && hex(key) && key[digits..] == key[..64 - digits];
        return padded.then(|| key[..digits].to_owned());
    }
    let key = path.replacen('/', "", 1);
    if key.len() == digits && hex(&key) {
        return Some(key);
    }
    let (start, rest) = key.split_at_checked(4).filter(|(start, _)| key.len() == MIXED && hex(start))?;
    let mut key = start.to_owned();
    // Five bits each, the highest first; one bit is left over.
    let (mut bits, mut count) = (0_u32, 0);
    for character in rest.chars() {
        bits = (bits << 5 | character.to_digit(32).filter(|_| !character.is_ascii_uppercase())?) & 0xffff;
        count += 5;
        if count >= 8 {
            count -= 8;
            // Writing to a string cannot fail.
            let _ = write!(key, "{:02x}", bits >> count & 0xff);
        }
    }
    Some(key)
}

async fn load(caller: Caller, headers: HeaderMap) -> Response {
    match key_of(&caller.key) {
        Some(key) => reply::get(&caller, PROTOCOL, &key, &headers).await,
        None => reply::missing(),
    }
}

async fn store(caller: Caller, body: Body) -> Response {
    match key_of(&caller.key) {
        Some(key) => reply::put(&caller, PROTOCOL, &key, body, StatusCode::CREATED).await,
        None => reply::failure(&invalid("this is no key of ccache")),
    }
}

async fn remove(caller: Caller) -> Response {
    match key_of(&caller.key) {
        Some(key) => reply::delete(&caller, PROTOCOL, &key).await,
        None => reply::missing(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_name_the_same_key() {
        // Written by ccache 4.7.5 for one entry, and computed for the layout that it writes in hexadecimal.
        let mixed = "64336dni29fdo2rmrkk1dq4pb630bfj7o";
        let key = key_of(mixed).unwrap();
        assert_eq!((key.len(), &key[..4]), (40, "6433"));
        for path in [format!("64/{}", &mixed[2..]), format!("ac/{key}{}", &key[..24]), key.clone()] {
            assert_eq!(key_of(&path).as_ref(), Some(&key), "{path}");
        }
        for path in ["", "ac/short", "../../etc/passwd", "01/23/456789abcdef0123456789abcdef", "%2e%2e"] {
            assert_eq!(key_of(path), None, "{path}");
        }
        assert_eq!(key_of(&format!("ac/{key}{}", "f".repeat(24))), None);
        assert_eq!(key_of(&format!("ac/{}", "é".repeat(32))), None);
        assert_eq!(key_of(&mixed.to_uppercase()), None);
        assert_eq!(key_of(&mixed.replace('n', "w")), None);
    }
}
