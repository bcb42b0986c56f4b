//! Addresses and times on the command line.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use netdump::message::PORT;

/// Where to listen: `ADDR:PORT`, `ADDR` or `:PORT`.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::from(([0; 4], port)));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, PORT));
    }
    text.parse().map_err(|_| "an address and port such as 0.0.0.0:20023 or [::]:20023 was expected".to_owned())
}

/// An address of the loopback, with a port.
pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "an address and port such as 127.0.0.1:9100 was expected".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("metrics are for this host only: give an address such as 127.0.0.1 or ::1".to_owned())
    }
}

/// The address of a server: a name or an address, perhaps with a port.
pub(crate) fn server_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = listen(text)
        && !text.starts_with(':')
    {
        return Ok(address);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| format!("\"{port}\" is no port"))?),
        None => (text, PORT),
    };
    let mut found = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| format!("{host} has no address"))
}

/// A time such as `500ms`, `30s`, `5m` or `2h`; seconds without a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err("a time such as 500ms, 30s, 5m or 2h was expected".to_owned()),
    };
    let seconds: f64 = number.parse().map_err(|_| "a time such as 500ms, 30s, 5m or 2h was expected".to_owned())?;
    match Duration::try_from_secs_f64(seconds * unit) {
        Ok(duration) if duration > Duration::ZERO && seconds * unit < 1e9 => Ok(duration),
        _ => Err("a time that is longer than 0 was expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_leave_out_the_port_or_the_address() {
        for (text, address) in [
            ("127.0.0.1:5", "127.0.0.1:5"),
            ("127.0.0.1", "127.0.0.1:20023"),
            (":5", "0.0.0.0:5"),
            ("[::1]:5", "[::1]:5"),
            ("[::1]", "[::1]:20023"),
            ("::", "[::]:20023"),
        ] {
            assert_eq!(listen(text), address.parse().map_err(|_| String::new()), "{text}");
        }
        assert!(listen("host").is_err());
        assert!(loopback("127.0.0.1:0").is_ok());
        assert!(loopback("192.0.2.1:80").is_err());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "s", "0", "-1s", "5y", "1e3", "9999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
