//! ccache's HTTP storage below `/ccache`, in all its layouts: `subdirs` (`/ab/cdef…`), `flat` (`/abcdef…`) and `bazel`
//! (`/ac/` and 64 digits, of which the last 24 repeat the first). One key is one entry, whatever the layout
//! (<https://ccache.dev/manual/4.7.5.html#_http_storage_backend>).

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;

use crate::body::invalid;
use crate::caller::{Caller, State};
use crate::reply;

const PROTOCOL: &str = "ccache";
/// Digits of a key.
const KEY: usize = 40;

pub(crate) fn routes() -> Router<State> {
    Router::new().route("/ccache/{*key}", get(load).put(store).delete(remove))
}

/// The key, of a path in any layout.
fn key_of(path: &str) -> Option<String> {
    let key = match path.strip_prefix("ac/") {
        Some(key) if key.len() == KEY + 24 && key.is_ascii() && key[KEY..] == key[..24] => key[..KEY].to_owned(),
        Some(_) => return None,
        None => path.replacen('/', "", 1),
    };
    let good = (16..=128).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then_some(key)
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
        let key = "0123456789abcdef0123456789abcdef01234567";
        for path in [key.to_owned(), format!("01/{}", &key[2..]), format!("ac/{key}{}", &key[..24])] {
            assert_eq!(key_of(&path).as_deref(), Some(key), "{path}");
        }
        for path in ["", "ac/short", "../../etc/passwd", "01/23/456789abcdef0123456789abcdef", "%2e%2e"] {
            assert_eq!(key_of(path), None, "{path}");
        }
        assert_eq!(key_of(&format!("ac/{}{}", key, "f".repeat(24))), None);
        assert_eq!(key_of(&format!("ac/{}", "é".repeat(32))), None);
    }
}
