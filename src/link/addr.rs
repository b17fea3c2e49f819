//! Addresses to dial, as people write them: "HOST:PORT", and "ID@HOST:PORT" for one node alone.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use uuid::Uuid;

use crate::base::NodeId;

/// Reads "HOST:PORT" or "ID@HOST:PORT" into one form. With an id, only the node that has it is accepted there.
///
/// # Errors
/// The fault, as a sentence for people.
pub fn read_target(text: &str) -> Result<(Option<NodeId>, String), String> {
    let Some((id, addr)) = text.trim().split_once('@') else { return Ok((None, read_addr(text)?)) };
    let id = Uuid::try_parse(id).ok().filter(|id| id.get_version_num() == 8);
    let Some(id) = id else {
        return Err("what stands before the @ is no node's id: `ready` and `peer_up` show them".to_owned());
    };
    Ok((Some(NodeId::from(&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))), read_addr(addr)?))
}

/// Reads "HOST:PORT" (IPv6 in brackets) into one form.
fn read_addr(addr: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        let addr: String = addr.chars().take(80).collect();
        Err(format!("`{}` {why}; an address is HOST:PORT", addr.escape_debug()))
    };
    if addr.contains("://") {
        return wrong("is a URL");
    }
    if addr.trim().contains([',', ';', ' ']) {
        return wrong("is more than one address, of which each is given by itself");
    }
    let Some((host, port)) = addr.trim().rsplit_once(':') else { return wrong("names no port") };
    let Some(port) = port.parse::<u16>().ok().filter(|port| *port > 0) else {
        return wrong("names no port from 1 to 65535");
    };
    let host = match host.strip_prefix('[') {
        Some(host) => match host.strip_suffix(']').and_then(read_ipv6) {
            Some(host) => format!("[{host}]"),
            None => return wrong("has no IPv6 address in its brackets"),
        },
        None if host.contains(':') => return wrong("holds an IPv6 address without brackets"),
        None => host.to_ascii_lowercase(),
    };
    // A host name has at most 253 characters (RFC 1035), none of them white space or a control.
    if host.is_empty() || host.len() > 253 || host.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return wrong("has no valid host");
    }
    Ok(format!("{host}:{port}"))
}

/// Reads an IPv6 address, perhaps with a zone (RFC 4007), into one form. The zone may be an interface's name, which only its own
/// system knows, or number.
fn read_ipv6(host: &str) -> Option<String> {
    let Some((ip, zone)) = host.split_once('%') else { return Some(host.parse::<Ipv6Addr>().ok()?.to_string()) };
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !"%[]/".contains(c);
    // No system has names of so many bytes.
    let fits = (1..=64).contains(&zone.len()) && zone.chars().all(is_plain);
    fits.then_some(format!("{}%{zone}", ip.parse::<Ipv6Addr>().ok()?))
}

/// Whether an address to dial is that of `own`, as far as its text tells; hello tells the rest.
pub fn is_own_addr(own: SocketAddr, addr: &str) -> bool {
    let host = match addr.rsplit_once(':') {
        Some((host, port)) if port.parse() == Ok(own.port()) => host.trim_matches(['[', ']']),
        _ => return false,
    };
    if let (Some((_, zone)), SocketAddr::V6(own)) = (host.split_once('%'), own)
        && zone.parse() != Ok(own.scope_id())
    {
        // The same address is another node's on another link; and of a zone's name the hello tells.
        return false;
    }
    let host = without_zone(host);
    match host.parse::<IpAddr>() {
        Ok(ip) => ip == own.ip() || (own.ip().is_unspecified() && ip.is_loopback()) || ip.is_unspecified(),
        Err(_) => host == "localhost" && (own.ip().is_loopback() || own.ip().is_unspecified()),
    }
}

/// The IP address in an address to dial, if it names one.
pub fn ip_of(addr: &str) -> Option<IpAddr> {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host).trim_matches(['[', ']']);
    without_zone(host).parse().ok()
}

fn without_zone(host: &str) -> &str {
    host.split_once('%').map_or(host, |(ip, _)| ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form() {
        for (given, read) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("LocalHost:1", "localhost:1"),
            ("[::1]:65535", "[::1]:65535"),
            ("[0:0::1]:80", "[::1]:80"),
            ("[fe80:0::1%eth0]:80", "[fe80::1%eth0]:80"),
            ("[fe80::1%2]:80", "[fe80::1%2]:80"),
        ] {
            assert_eq!(read_addr(given).as_deref(), Ok(read));
        }
        for given in [
            "",
            ":",
            "host",
            "host:",
            "host:0",
            "host:65536",
            ":80",
            "::1:80",
            "[::1:80",
            "[x]:80",
            "a b:80",
            "[::1%]:80",
            "[::1%a b]:80",
            "[::1%a%b]:80",
            "[x%a]:80",
            "http://a:80",
            "http://a",
            "a:80,b:80",
            "a:80;b:80",
            "a:80 b:80",
        ] {
            assert!(read_addr(given).is_err_and(|why| why.ends_with("an address is HOST:PORT")), "{given:?}");
        }
    }

    #[test]
    fn a_url_and_a_list_are_told_from_addresses() {
        for (given, word) in [("http://a:80", "URL"), ("tcp://[::1]:80/", "URL"), ("a:80,b:80", "more than one")] {
            assert!(read_target(given).is_err_and(|why| why.contains(word)), "{given}");
        }
    }

    #[test]
    fn an_id_before_the_address_is_a_nodes() {
        let id = "5d0c7a52-1b64-8e0f-8a3d-6e2f9b1c4d70";
        let read = |text: &str| read_target(text).map(|(id, addr)| (id.map(|id| id.to_string()), addr));
        assert_eq!(read(&format!(" {}@A:1 ", id.to_uppercase())), Ok((Some(id.to_owned()), "a:1".to_owned())));
        assert_eq!(read("a:1"), Ok((None, "a:1".to_owned())));
        for wrong in ["x@a:1", "5d0c7a52-1b64-4e0f-8a3d-6e2f9b1c4d70@a:1", "@a:1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn own_addresses_are_known_by_their_text() {
        let is_own = |own: &str, addr: &str| is_own_addr(own.parse().expect("an address"), addr);
        for (own, addr) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("127.0.0.1:5000", "localhost:5000"),
            ("0.0.0.0:5000", "127.0.0.1:5000"),
            ("10.0.0.1:5000", "0.0.0.0:5000"),
            ("[::]:5000", "[::1]:5000"),
            ("[fe80::1%2]:5000", "[fe80::1%2]:5000"),
        ] {
            assert!(is_own(own, addr), "{own} {addr}");
        }
        for (own, addr) in [
            ("127.0.0.1:5000", "127.0.0.1:5001"),
            ("10.0.0.1:5000", "localhost:5000"),
            ("10.0.0.1:5000", "x:5000"),
            ("[fe80::1%2]:5000", "[fe80::1%3]:5000"),
            ("[fe80::1%2]:5000", "[fe80::1%eth0]:5000"),
        ] {
            assert!(!is_own(own, addr), "{own} {addr}");
        }
        assert_eq!(ip_of("[fe80::1%eth0]:1"), "fe80::1".parse().ok());
    }
}
