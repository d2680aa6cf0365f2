//! A REAPI cache on one port: `cargo run -p buildnet-reapi --example serve -- --dir D --listen 127.0.0.1:0`.

use std::error::Error;
use std::path::PathBuf;

use axum::serve::ListenerExt;
use buildnet_cas::{Durability, Store, StoreOptions};
use buildnet_reapi::{CacheOptions, CacheService, router};
use tokio::net::TcpListener;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut dir = PathBuf::from("cache");
    let mut listen = "127.0.0.1:9876".to_owned();
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        match name.as_str() {
            "--dir" => dir = value.into(),
            "--listen" => listen = value,
            _ => return Err(format!("unknown argument {name}").into()),
        }
    }
    let options = StoreOptions { durability: Durability::Synced, ..StoreOptions::default() };
    let store = Store::open(&dir.join("store"), options)?;
    let service = CacheService::open(store, &dir, CacheOptions::default())?;
    let listener = TcpListener::bind(&listen).await?;
    println!("grpc://{}", listener.local_addr()?);
    // Answers are small and wanted at once.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router(service)).await?)
}
