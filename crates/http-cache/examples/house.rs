//! A cache with all protocols on one port, and hash equivalence on another:
//! `cargo run -p buildnet-http-cache --example house -- --dir D --listen 127.0.0.1:9876 --equivalence 127.0.0.1:8686`.

use std::error::Error;
use std::path::PathBuf;

use axum::serve::ListenerExt;
use buildnet_cas::{Durability, Store, StoreOptions};
use buildnet_http_cache::hash_equivalence::{self, Equivalences};
use buildnet_reapi::{Access, CacheOptions, CacheService, Role};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut dir = PathBuf::from("cache");
    let mut listen = "127.0.0.1:9876".to_owned();
    let mut equivalence = "127.0.0.1:0".to_owned();
    let mut options = CacheOptions::default();
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        match name.as_str() {
            "--dir" => dir = value.into(),
            "--listen" => listen = value,
            "--equivalence" => equivalence = value,
            // What is allowed without a token.
            "--anonymous" => options.access = Access::parse("", Role::from_name(&value))?,
            _ => return Err(format!("unknown argument {name}").into()),
        }
    }
    let durable = StoreOptions { durability: Durability::Synced, ..StoreOptions::default() };
    let store = Store::open(&dir.join("store"), durable)?;
    let service = CacheService::open(store, &dir, options)?;
    let equivalences = Equivalences::open(&dir.join("hash-equivalence.sqlite"))?;
    let lines = TcpListener::bind(&equivalence).await?;
    let listener = TcpListener::bind(&listen).await?;
    println!("grpc and http on {}, hash equivalence on {}", listener.local_addr()?, lines.local_addr()?);
    let app = buildnet_reapi::router(service.clone())
        .merge(buildnet_http_cache::router_with(service.clone(), equivalences.clone()));
    tokio::spawn(hash_equivalence::serve(lines, service, equivalences));
    // Answers are small and wanted at once.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, app).await?)
}
