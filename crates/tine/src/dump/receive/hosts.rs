//! Names of clients, from a file such as `/etc/hosts`: a name server may be what has just panicked.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

/// The file; it is read anew for each dump, so that it may change.
pub(super) struct Hosts {
    path: PathBuf,
}

impl Hosts {
    pub(super) fn new(path: PathBuf) -> Hosts {
        Hosts { path }
    }

    /// The name of an address, without its domain.
    pub(super) fn name(&self, address: IpAddr) -> Option<String> {
        find(&fs::read_to_string(&self.path).ok()?, address)
    }
}

fn find(text: &str, wanted: IpAddr) -> Option<String> {
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        let name = words.next()?.split('.').next()?;
        (address.to_canonical() == wanted.to_canonical() && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_called_by_the_first_name_of_its_address_without_the_domain() {
        let hosts =
            "# comment\n127.0.0.1 localhost\n\n192.0.2.7\tbox.example.org box # the box\n2001:db8::1 six\nbad line\n";
        let name = |address: &str| find(hosts, address.parse().expect("it is an address"));
        assert_eq!(name("192.0.2.7").as_deref(), Some("box"));
        assert_eq!(name("2001:db8::1").as_deref(), Some("six"));
        assert_eq!(name("192.0.2.8"), None);
    }
}
