//! Which user is at the other end of a loopback connection.
//!
//! The kernel lists TCP sockets with their owners in `/proc/net/tcp` and `tcp6` (`Documentation/networking/proc_net_tcp.rst`). So that
//! another user of the machine can neither have the daemon run commands nor pose as one, both ends look the other up.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// No machine has more socket table than this that a loopback peer is looked up in: 64 MiB.
const TABLE_LIMIT: u64 = 64 << 20;

/// State of a listening socket in the table, `TCP_LISTEN`.
const LISTEN: &str = "0A";

/// The user who owns the socket that is bound to `local` and connected to `remote`.
/// None where the kernel does not tell (other systems, other network namespaces).
pub fn owner_of_connection(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    find(|row| same(row.local, local) && same(row.remote, remote))
}

/// The user who owns the socket that listens on `address`, or on its port at every address.
pub fn owner_of_listener(address: SocketAddr) -> Option<u32> {
    find(|row| {
        row.state == LISTEN
            && row.local.port() == address.port()
            && (row.local.ip().is_unspecified() || same(row.local, address))
    })
}

struct Row<'a> {
    local: SocketAddr,
    remote: SocketAddr,
    state: &'a str,
}

fn find(wanted: impl Fn(&Row<'_>) -> bool) -> Option<u32> {
    ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(|table| {
        let table = BufReader::with_capacity(1 << 16, File::open(table).ok()?.take(TABLE_LIMIT));
        table.lines().skip(1).map_while(Result::ok).find_map(|line| {
            let (row, owner) = parse(&line)?;
            wanted(&row).then_some(owner)
        })
    })
}

/// Columns: slot, local, remote, state, queues, timer, retransmits, user, …
fn parse(line: &str) -> Option<(Row<'_>, u32)> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (endpoint(columns.next()?)?, endpoint(columns.next()?)?);
    let state = columns.next()?;
    let owner = columns.nth(3)?.parse().ok()?;
    Some((Row { local, remote, state }, owner))
}

/// An address as 32-bit words in the machine's byte order, a colon, and the port, all hexadecimal.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = [0; 16];
    let words = if address.len() % 8 == 0 { address.len() / 8 } else { 0 };
    for (index, chunk) in bytes.chunks_exact_mut(4).take(words).enumerate() {
        let word = u32::from_str_radix(address.get(index * 8..index * 8 + 8)?, 16).ok()?;
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    let address = match words {
        1 => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        4 => IpAddr::V6(Ipv6Addr::from(bytes)),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// An IPv4 peer of an IPv6 socket is written as a mapped address.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn rows_are_read() {
        let line = "   0: 0100007F:2694 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 51447 1";
        let (row, owner) = parse(line).unwrap();
        assert_eq!(row.local, "127.0.0.1:9876".parse().unwrap());
        assert_eq!(row.remote, "127.0.0.1:54321".parse().unwrap());
        assert_eq!((row.state, owner), ("01", 1000));
        assert!(parse("garbage").is_none());
        assert!(endpoint("0100007F0:1").is_none());
    }

    #[test]
    fn our_own_sockets_are_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let us = rustix::process::geteuid().as_raw();
        assert_eq!(owner_of_listener(address), Some(us));
        assert_eq!(owner_of_connection(client.local_addr().unwrap(), address), Some(us));
        drop((listener, client));
        assert_eq!(owner_of_listener("127.0.0.1:1".parse().unwrap()), None);
    }
}
